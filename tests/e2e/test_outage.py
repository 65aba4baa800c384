"""Without the controller jobs wait; they never run without their secrets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.node_image import CI_USER
from tests.cluster.processes import wait_until
from tests.e2e.lab import RUN_LABEL, container_statuses, definition, file, job_run, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

DOWN_SECONDS = 20.0
GONE_SECONDS = 60.0


def test_jobs_wait_while_the_controller_is_down_and_then_run_right(lab: Lab):
    namespace = lab.organization().namespace("web")
    token, key = lab.value(), lab.value() + "\n"
    lab.define(definition(namespace, "app", env={"TOKEN": token}, files=[file("/etc/app/deploy.key", key)]))

    def probe(mode: str = "600", owner: str = "0:0") -> Probe:
        return Probe().variable("TOKEN", token).file("/etc/app/deploy.key", key, mode, owner)

    earlier = pod_run(namespace, "earlier", "app", probe().hold())
    (node,) = lab.cluster.get("nodes")["items"]
    waiting = [
        pod_run(namespace, "placed", "app", probe(), nodeName=node["metadata"]["name"]),
        pod_run(namespace, "bare", "app", probe(), containers={"init": (probe(), {})}),
        job_run(pod_run(namespace, "job", "app", probe())),
        pod_run(namespace, "user", "app", probe("644", "0:0"), securityContext={"runAsUser": CI_USER}),
    ]
    lab.start(earlier)
    lab.wait_until_held(earlier)

    lab.operator.controllers[0].program.kill()
    stopped = time.monotonic()
    try:
        lab.release(earlier)
        lab.start(*waiting)

        def has_been_down() -> bool:
            assert_wait(lab.pods(*waiting))
            return time.monotonic() - stopped >= DOWN_SECONDS

        wait_until(has_been_down, "the end of the outage", seconds=DOWN_SECONDS + 10)
        assert {pod_name: state_of(pod) for pod_name, pod in named(lab.pods(*waiting)).items()} == {
            "bare": "SchedulingGated",
            "job": "SchedulingGated",
            "user": "SchedulingGated",
            # Its author chose the node, on which it waits for its volume.
            "placed": "True",
        }
        lab.finish(earlier)
        left = lab.bundle_secrets(namespace)
    finally:
        lab.operator.start()

    assert len(left) == 1, "only the earlier pod had a bundle"
    lab.finish(*waiting)
    for pod in lab.pods(*waiting):
        assert all(status["restartCount"] == 0 for status in container_statuses(pod))
    wait_until(lambda: not lab.bundle_secrets(namespace), "the bundle Secrets to go", seconds=GONE_SECONDS)


def named(pods: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return pods by the names of their runs."""
    return {pod["metadata"]["labels"][RUN_LABEL]: pod for pod in pods}


def state_of(pod: Mapping[str, Any]) -> str:
    """Return why a pod is not scheduled, or that it is."""
    (scheduled,) = (each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled")
    return str(scheduled.get("reason") or scheduled["status"])


def assert_wait(pods: Iterable[Mapping[str, Any]]) -> None:
    """Check that pods have not begun and have not failed."""
    for pod in pods:
        assert pod["status"]["phase"] == "Pending"
        states: list[dict[str, Any]] = [status["state"] for status in container_statuses(pod)]
        assert all(list(state) == ["waiting"] for state in states)
