"""What a person would write instead of using the operator: the injected pod, with a Secret made by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.bench.objects import PODS, RUN_LABEL, collection, pod

if TYPE_CHECKING:
    from tests.bench.stage import Stage

_PREFIX = "hand-made"


class HandMade:
    """Makes pods like the injected one, each with a Secret of its own."""

    def __init__(self, bundle: dict[str, Any], injected: dict[str, Any]) -> None:
        """Take the body of a bundle Secret, and the spec of an injected pod."""
        self._bundle = bundle
        # Its Secret exists before it, so that nothing holds it back.
        self._spec = {key: value for key, value in injected.items() if key != "schedulingGates"}
        [volume] = [volume for volume in self._spec["volumes"] if volume["name"] == names.VOLUME_NAME]
        [self._injected_name] = {source["secret"]["name"] for source in volume["projected"]["sources"]}

    @classmethod
    async def like(cls, stage: Stage, bundle: dict[str, Any], image: str) -> HandMade:
        """Return what makes pods as admission would."""
        answer = await stage.bare.create(collection("pods", PODS), pod("model", image=image), dryRun="All")
        return cls(bundle, json.loads(answer)["spec"])

    def secret(self, name: str) -> dict[str, Any]:
        """Return the Secret of a pod or job."""
        return {**self._bundle, "metadata": {**self._bundle["metadata"], "name": f"{_PREFIX}-{name}"}}

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod."""
        spec = json.loads(json.dumps(self._spec).replace(self._injected_name, f"{_PREFIX}-{name}"))
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {RUN_LABEL: "true"}},
            "spec": spec,
        }
