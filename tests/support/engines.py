"""Pods as CI engines create them, from ``tests/admission/data/engine_pods.yaml``."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scoped_secrets import names
from scoped_secrets.api.trusted_issuers import parse_trusted_issuers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scoped_secrets.core.policy.issuers import TrustedIssuer

_FILE = Path(__file__).parents[1] / "admission" / "data" / "engine_pods.yaml"


@dataclass(frozen=True)
class Engine:
    """One engine, with a pod of it and what its preset states about the pod."""

    name: str
    creator: str
    through: str | None
    """The kind of the workload for which Kubernetes creates the pod; ``None`` when the engine creates it itself."""
    owners: tuple[Mapping[str, Any], ...]
    states: Mapping[str, str]
    _issuer: Mapping[str, Any]
    _metadata: Mapping[str, Any]
    _containers: tuple[str, ...]

    def configuration(self) -> dict[str, Any]:
        """Return the issuer as an administrator writes it."""
        _, _, namespace, name = self.creator.split(":")
        return {"creators": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}], **self._issuer}

    def issuer(self) -> TrustedIssuer:
        """Return the issuer as admission has it."""
        (issuer,) = parse_trusted_issuers(json.dumps({"trustedIssuers": [self.configuration()]}))
        return issuer

    def pod(self, namespace: str, secrets: str, **annotations: str) -> dict[str, Any]:
        """Return the pod, opted in."""
        metadata = copy.deepcopy(dict(self._metadata))
        metadata["namespace"] = namespace
        metadata["labels"][names.INJECT_LABEL] = names.INJECT_VALUE
        metadata["annotations"] |= {names.SECRETS_ANNOTATION: secrets, **annotations}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": name, "image": "busybox"} for name in self._containers],
            },
        }


def engines() -> dict[str, Engine]:
    """Return every engine by the name of its preset."""
    return {
        name: Engine(
            name=name,
            creator=given["creator"],
            through=given.get("through"),
            owners=tuple(given.get("owners", ())),
            states=given["states"],
            _issuer=given["issuer"],
            _metadata=given["metadata"],
            _containers=tuple(given["containers"]),
        )
        for name, given in yaml.safe_load(_FILE.read_text()).items()
    }
