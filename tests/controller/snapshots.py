"""Pods as admission stores them, for tests: the real decision applied to a body, under a genuine name."""

from __future__ import annotations

import uuid
from copy import deepcopy
from itertools import count
from typing import TYPE_CHECKING, Any

import jsonpatch
from tests.support.builders import NOW, pod_body

from scoped_secrets.controller.pods import PodRecord, Pods
from scoped_secrets.core.decide import DecisionSettings, Granted, decide
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.crypto.bundle_names import is_genuine, make_base
from scoped_secrets.crypto.fingerprints import FingerprintKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scoped_secrets.core.cluster_snapshot import ClusterSnapshot

KEY = FingerprintKey(bytes(range(32)))
_versions = count(1000)


def inventory_of_pods() -> Pods:
    """Return an empty inventory of pods with the test's key."""
    return Pods(lambda namespace, identity, base: is_genuine(KEY, namespace, identity, base))


def record_of(body: Mapping[str, Any]) -> PodRecord:
    """Return the record of a pod that opted in, as an empty inventory makes it."""
    record = inventory_of_pods().put(body, 0.0)
    assert record is not None
    return record


def admitted(
    body: dict[str, Any], snapshot: ClusterSnapshot, review: str | None = None, key: FingerprintKey = KEY
) -> dict[str, Any]:
    """Return a pod's body after admission in a snapshot that grants it."""
    pod = parse_pod(body)
    base = make_base(key, pod.namespace, pod.identity, review or str(uuid.uuid4()))
    decision = decide(pod, snapshot, base, DecisionSettings(), NOW)
    assert isinstance(decision, Granted), decision
    patched: dict[str, Any] = jsonpatch.apply_patch(deepcopy(body), list(decision.injection.operations))
    return patched


def stored(body: dict[str, Any], *, uid: str | None = None, **given: Any) -> dict[str, Any]:
    """Return a pod's body as the API server stores it.

    Args:
        body: The body after admission.
        uid: The pod's identity; a new one by default.
        given: Fields of the status, ``phase`` by default ``Pending``, and ``created`` and ``deleting`` of the metadata.
    """
    body = deepcopy(body)
    metadata = body["metadata"]
    metadata["uid"] = uid or str(uuid.uuid4())
    metadata["resourceVersion"] = str(next(_versions))
    metadata["creationTimestamp"] = given.pop("created", "2026-06-01T12:00:00Z")
    if given.pop("deleting", False):
        metadata["deletionTimestamp"] = "2026-06-01T12:00:30Z"
    body["status"] = {"phase": "Pending", **given}
    return body


def job(secrets: str | None = "registry", **fields: Any) -> dict[str, Any]:
    """Return a pod's body that asks for a bundle."""
    return pod_body(secrets, **fields)
