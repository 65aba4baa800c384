"""The plain manifests on a node, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.run_directory import REPOSITORY
from tests.e2e.machine import CRDS, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

VALUE = "manifests-example-value"


@pytest.fixture
def applied(machine: Machine) -> Iterator[Machine]:
    """What the manifests install, removed at the end."""
    kubectl = machine.cluster.kubectl
    kubectl("apply", "-f", str(REPOSITORY / "crds"))
    kubectl("apply", "-k", str(REPOSITORY / "manifests"))
    yield machine
    kubectl("delete", "-k", str(REPOSITORY / "manifests"), "--ignore-not-found", timeout=120)
    machine.remove_kept()


def test_the_manifests_serve_jobs_and_can_be_applied_again_and_deleted(applied: Machine):
    machine = applied
    for component in ("controller", "admission"):
        rollout = ("rollout", "status", f"deployment/scoped-secrets-{component}", "-n", SYSTEM, "--timeout=120s")
        machine.cluster.kubectl(*rollout, timeout=150)
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)

    again = machine.cluster.kubectl("apply", "-k", str(REPOSITORY / "manifests")).stdout.splitlines()

    changed = [line for line in again if not line.endswith(" unchanged")]
    # Of a budget kubectl always says so, because its selector can only be replaced as a whole.
    assert [line for line in changed if not line.startswith("poddisruptionbudget.policy/")] == []
    budgets = machine.cluster.get("poddisruptionbudgets", "-n", SYSTEM)["items"]
    assert {budget["metadata"]["generation"] for budget in budgets} == {1}
    machine.run_job(namespace, VALUE)
    # Definitions outlive the operator, and do not keep it from going.
    machine.cluster.kubectl("delete", "-k", str(REPOSITORY / "manifests"), timeout=120)
    assert machine.webhooks() == []
    machine.cluster.kubectl("delete", "namespace", namespace, timeout=60)
    machine.cluster.kubectl("delete", "crd", *CRDS, timeout=60)
