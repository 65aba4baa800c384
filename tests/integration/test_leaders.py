"""Two controllers, of which one leads, and what happens when it dies in the middle of its work."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import named_secrets, pod, scoped_secret
from tests.support.installed import CONTROLLER_USER

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

WORKERS = 16
PODS = 60
# The Lease runs out after 15 s, and the standby looks every 2 s.
TAKE_OVER_SECONDS = 45.0


def test_when_the_leader_is_killed_every_pod_gets_its_bundle_exactly_once(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("leaders")}))
    console.wait_condition(web, "aws", "Ready", "True")
    company.settle(web)
    (leader,) = operator.controllers
    standby = operator.start_controller()
    leases_before = holder(console)
    begin = audit.mark()
    first, second = ([pod(f"{web}/job-{index}", "aws") for index in half] for half in (range(30), range(30, PODS)))

    with start_creating(console, first) as creating:
        wait_until(
            lambda: sum(call.resource == "secrets" for call in audit.writes(CONTROLLER_USER, begin)) >= 5,
            "the leader is at work",
            seconds=20,
            programs=[leader.program],
        )
        leader.program.kill()
        assert creating.wait(60) == 0
    done_at_death = sum(call.resource == "secrets" for call in audit.writes(CONTROLLER_USER, begin))
    console.create(*second)

    jobs = [f"job-{index}" for index in range(PODS)]
    wait_until(lambda: len(console.bundles(web)) >= PODS, "a bundle for each pod", seconds=TAKE_OVER_SECONDS)
    views = console.delivered(web, *jobs)
    assert done_at_death < PODS, "the leader was through before it was killed"
    assert all(view["job"].visible == {"KEY": canary.value("leaders")} for view in views.values())
    assert holder(console) != leases_before
    assert standby.program.is_running
    bodies = console.items("pods", web)
    wanted = {secret for body in bodies.values() for secret in named_secrets(body)}
    writes = Counter(
        (call.verb, call.resource, call.name) for call in audit.writes(CONTROLLER_USER, begin) if call.namespace == web
    )
    created = {
        name: times for (verb, resource, name), times in writes.items() if (verb, resource) == ("create", "secrets")
    }
    assert created.keys() == wanted
    # A Secret whose pod was still gated when the leader died is replaced: no kubelet has read it.
    replaced = {name for (verb, resource, name) in writes if (verb, resource) == ("delete", "secrets")}
    assert {name for name, times in created.items() if times > 1} == replaced
    assert len(replaced) <= WORKERS
    assert all(times == 1 + (name in replaced) for name, times in created.items())
    assert all(times == 1 for (verb, *_), times in writes.items() if verb != "create")
    # The successor found every status as it should be.
    assert {(verb, resource) for verb, resource, _ in writes} <= {
        ("create", "secrets"),
        ("delete", "secrets"),
        ("patch", "pods"),
    }


def test_a_standby_writes_nothing(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("standby")}))
    company.settle(web)
    leader = operator.controllers[0]
    if len(operator.controllers) < 2:
        operator.start_controller()
    begin = audit.mark()

    console.create(*(pod(f"{web}/job-{index}", "aws") for index in range(10)))

    console.delivered(web, *(f"job-{index}" for index in range(10)))
    # A second writer would have met a conflict, which is a call too. Both read their keys again from time to time.
    calls = [call for call in audit.calls(CONTROLLER_USER, begin) if call.resource == "secrets"]
    creations = Counter(call.name for call in calls if call.verb not in {"get", "list"})
    assert sorted(creations.values()) == [1] * 10
    assert leader.program.is_running


def holder(console: Console) -> str:
    """Return who holds the Lease."""
    lease = console.cluster.get("lease", names.LEASE_NAME, "-n", names.DEFAULT_NAMESPACE)
    return str(lease["spec"]["holderIdentity"])


def start_creating(console: Console, bodies: list[dict[str, object]]) -> subprocess.Popen[str]:
    """Begin to create objects with kubectl, one after the other."""
    cluster = console.cluster
    creating = subprocess.Popen(
        [cluster._kubectl, "create", "-f", "-"],
        env=cluster._environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert creating.stdin is not None
    creating.stdin.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}))
    creating.stdin.close()
    return creating
