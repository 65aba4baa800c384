"""What a finished job leaves behind: no bundle, and no value in anything that people or programs can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.processes import wait_until
from tests.e2e.lab import definition, file, job_run, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

GONE_SECONDS = 30.0


def test_bundle_lives_as_long_as_its_job_and_values_appear_nowhere_else(lab: Lab):
    namespace = lab.organization().namespace("web")
    token, key = lab.value(), lab.value() + "\n"
    lab.define(definition(namespace, "app", env={"TOKEN": token}, files=[file("~/deploy.key", key)]))
    probe = Probe().variable("TOKEN", token).argument("word", "${secrets.app.TOKEN}", token)
    run = job_run(pod_run(namespace, "job", "app", probe.file("/root/deploy.key", key, "600").hold()))
    lab.start(run)
    lab.wait_until_held(run)

    while_it_runs = lab.cluster.get("secrets", "-n", namespace)["items"]
    found_while_it_runs = lab.sweep()
    lab.release(run)
    lab.finish(run)
    wait_until(lambda: not lab.bundle_secrets(namespace), "the bundle Secret to go", seconds=GONE_SECONDS)

    # The same search finds the values where they belong.
    assert len(lab.canary.bundles_with_values(while_it_runs)) == 1
    assert found_while_it_runs == []
    assert lab.sweep() == []


def test_a_pod_deleted_while_it_runs_takes_its_bundle_along(lab: Lab):
    namespace = lab.organization().namespace("web")
    token = lab.value()
    lab.define(definition(namespace, "app", env={"TOKEN": token}))
    run = pod_run(namespace, "deleted", "app", Probe().variable("TOKEN", token).hold())
    lab.start(run)
    lab.wait_until_held(run)
    before = lab.bundle_secrets(namespace)

    lab.cluster.kubectl("delete", "pod", "deleted", "-n", namespace)
    wait_until(lambda: not lab.bundle_secrets(namespace), "the bundle Secret to go", seconds=GONE_SECONDS)

    assert len(before) == 1
