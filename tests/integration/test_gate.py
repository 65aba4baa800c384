"""Pods are gated only while the policy exists that limits what the controller may patch of a pod."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.support.installed import GUARD_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# The admission server looks once a minute.
CHECK_SECONDS = 90.0
WARNING = "pods are not gated"


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """An organization whose project has a bundle, and the project's namespace."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("gated")}))
    company.settle(web)
    return company, web


@contextmanager
def without(console: Console, kind: str) -> Iterator[None]:
    """Take the policy or its binding away."""
    console.cluster.kubectl("delete", kind, names.GATE_POLICY)
    try:
        yield
    finally:
        console.cluster.kubectl("apply", "-f", str(GUARD_MANIFEST))


def gates(console: Console, body: dict[str, object]) -> bool:
    """Tell whether a pod would be gated, by a dry run."""
    return names.BUNDLE_GATE in console.write("create", "--dry-run=server", "-o", "json", bodies=[body])


def gating(operator: InstalledOperator) -> str:
    """Return the value of the gauge."""
    assert operator.admission is not None
    (line,) = [
        each for each in operator.admission.metrics().splitlines() if each.startswith("scoped_secrets_admission_gating")
    ]
    return line.rpartition(" ")[2]


@pytest.mark.parametrize("kind", ["validatingadmissionpolicy", "validatingadmissionpolicybinding"])
def test_an_admission_server_that_starts_without_policy_or_binding_gates_no_pod(
    firm: tuple[Company, str], console: Console, canary: Canary, operator: InstalledOperator, kind: str
):
    _, web = firm
    assert operator.admission is not None
    with without(console, kind):
        operator.admission.program.kill()
        operator.start()
        assert not gates(console, pod(f"{web}/free", "aws"))
        assert gating(operator) == "0.0"
        console.create(pod(f"{web}/{kind}", "aws"))
        assert console.seen(web, kind).visible == {"KEY": canary.value("gated")}

    # It looks again soon, because an installation that has just begun has the policy in a moment.
    wait_until(lambda: gates(console, pod(f"{web}/bound", "aws")), "pods are gated again", seconds=SECONDS)
    assert gating(operator) == "1.0"
    assert operator.admission.program.log.read_text().count(WARNING) == 1


def test_a_policy_that_goes_ends_gating_and_pods_that_are_gated_still_lose_their_gate(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    assert operator.admission is not None
    wait_until(lambda: gates(console, pod(f"{web}/first", "aws")), "pods are gated", seconds=SECONDS)
    operator.stop_controllers()
    console.create(pod(f"{web}/waiting", "aws"))
    assert console.cluster.get("pod", "waiting", "-n", web)["spec"]["schedulingGates"] == [{"name": names.BUNDLE_GATE}]

    with without(console, "validatingadmissionpolicy"):
        wait_until(lambda: not gates(console, pod(f"{web}/later", "aws")), "no pod is gated", seconds=CHECK_SECONDS)
        operator.start()
        console.seen(web, "waiting")

        def is_free() -> bool:
            return "schedulingGates" not in console.cluster.get("pod", "waiting", "-n", web)["spec"]

        wait_until(is_free, "the gate is removed", seconds=SECONDS)
    wait_until(lambda: gates(console, pod(f"{web}/again", "aws")), "pods are gated again", seconds=SECONDS)
