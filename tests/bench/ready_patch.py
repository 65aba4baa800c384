"""The patch that our webhook gives the benches' pod, and the same for the floors.

The floors' pods and patch have other words of the same length wherever ours have the operator's prefixes. So both have
the same size, and nothing of the operator takes the floors' pods for its own.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.bench.objects import PODS, collection, other_words, pod
from tests.cluster.errors import StartError

if TYPE_CHECKING:
    from tests.bench.api import Bare

_PATH = "/mutate/pods"


async def take_patch(bare: Bare, address: str) -> bytes:
    """Return the operations with which our webhook at an address answers, in its own bytes."""
    defaulted = json.loads(await bare.create(collection("pods", PODS), pod("ready", "none"), dryRun="All"))
    opted_in = pod("ready")["metadata"]
    metadata = {key: opted_in[key] for key in ("name", "labels", "annotations")} | {"namespace": PODS}
    request = {
        "uid": "00000000-0000-0000-0000-000000000000",
        "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": PODS,
        "name": "ready",
        "userInfo": {"username": "administrator", "groups": ["system:masters", "system:authenticated"]},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": defaulted["spec"]},
        "dryRun": True,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    async with bare.session.post(f"{address}{_PATH}", json=review, ssl=False) as response:
        answer = json.loads(await response.read())["response"]
    if not answer["allowed"]:
        raise StartError(f"our webhook denies the bench's pod: {answer['status']['message']}")
    return base64.b64decode(answer["patch"])


def floor_patch(patch: bytes) -> bytes:
    """Return the patch for the floors' pods."""
    floor = other_words(patch.decode()).encode()
    if len(floor) != len(patch):
        raise StartError(f"the floor's patch has {len(floor)} bytes, and ours {len(patch)}")
    return floor


def difference(ours: dict[str, Any], floor: dict[str, Any]) -> str:
    """Return what a floor's pod has not in common with ours, "" when both were patched alike."""
    if names.RESOLUTION_ANNOTATION not in ours["metadata"]["annotations"]:
        return "our pod is not injected"
    spec = json.loads(other_words(json.dumps(ours["spec"])))
    own, others = _bundle(spec), _bundle(floor["spec"])
    if json.loads(json.dumps(spec).replace(own or "-", others or "-")) != floor["spec"]:
        return "the specs differ"
    annotations = json.loads(other_words(json.dumps(ours["metadata"]["annotations"])))
    if {key: len(text) for key, text in annotations.items()} != {
        key: len(text) for key, text in floor["metadata"]["annotations"].items()
    }:
        return "the annotations differ in length"
    return ""


def _bundle(spec: dict[str, Any]) -> str | None:
    """Return the name of the Secret in the volume that the patch adds."""
    for volume in spec.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            if "secret" in source:
                name: str = source["secret"]["name"]
                return name
    return None
