"""A new value reaches the next job and never the running one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.lab import definition, file, job_run, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

KNOWN_SECONDS = 30.0
PATH = "/etc/app/token"


def test_a_running_job_keeps_its_value_and_the_next_one_gets_the_new(lab: Lab):
    namespace = lab.organization().namespace("web")
    old, new = lab.value(), lab.value()

    def rotated(value: str) -> dict[str, object]:
        return definition(namespace, "app", env={"TOKEN": value}, files=[file(PATH, value)])

    lab.define(rotated(old))
    # Asked for before and after the change.
    present = job_run(pod_run(namespace, "present", "app", holds(holds(Probe(), old).hold(), old)))
    following = job_run(pod_run(namespace, "following", "app", holds(Probe(), new)))
    lab.start(present)
    lab.wait_until_held(present)

    lab.define(rotated(new))
    wait_until(lambda: pins(lab, following) == {2}, "admission to know the new value", seconds=KNOWN_SECONDS)
    lab.start(following)
    lab.finish(following)
    lab.release(present)

    lab.finish(present)


def holds(probe: Probe, value: str) -> Probe:
    """Expect the value in a variable and in a file."""
    return probe.variable("TOKEN", value).file(PATH, value, "600")


def pins(lab: Lab, run: Run) -> set[int]:
    """Return the generations that admission would give a run's pod now."""
    asked = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    pod = json.loads(lab.cluster.kubectl(*asked, input=json.dumps(run.pod_body)).stdout)
    resolution = json.loads(pod["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
    return {int(bundle["pin"].rpartition("@")[2]) for bundle in resolution["bundles"]}
