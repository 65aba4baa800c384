"""Which pods have an owner that creates them again."""

from __future__ import annotations

from typing import Any

import pytest

from scoped_secrets import names
from scoped_secrets.controller.sweeping import recreating_owner


def owned(api_version: str, kind: str, *, is_controller: bool = True) -> dict[str, Any]:
    reference = {"apiVersion": api_version, "kind": kind, "name": "x", "uid": "owner", "controller": is_controller}
    return {"metadata": {"ownerReferences": [reference]}}


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("v1", "ReplicationController"),
    ],
)
def test_a_workload_of_kubernetes_creates_its_pods_again(api_version: str, kind: str):
    assert recreating_owner(owned(api_version, kind)) == "owner"


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {}},
        owned("v1", "Node"),
        owned("tekton.dev/v1", "TaskRun"),
        owned("example.com/v1", "ReplicaSet"),
        owned("apps/v1", "ReplicaSet", is_controller=False),
        {"metadata": owned("apps/v1", "ReplicaSet")["metadata"] | {"annotations": {names.MIRROR_ANNOTATION: "x"}}},
    ],
    ids=["no owner", "node", "engine", "another group", "no controller", "mirror pod"],
)
def test_other_pods_stay(body: dict[str, Any]):
    assert recreating_owner(body) is None
