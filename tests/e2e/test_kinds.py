"""However a pod comes to be, its container finds the same variables and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.lab import (
    FINISHED_SECONDS,
    cron_job_run,
    definition,
    file,
    generated_run,
    job_run,
    pod_run,
)
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    """Runs of one pod: bare, with a generated name, from a Job, and from a CronJob's Job."""
    namespace = lab.organization().namespace("web")
    token, key = lab.value(), lab.value() + "\n"
    lab.define(definition(namespace, "app", env={"TOKEN": token}, files=[file("/etc/app/deploy.key", key)]))

    def pod(name: str) -> Run:
        probe = Probe().variable("TOKEN", token).file("/etc/app/deploy.key", key, "600")
        return pod_run(namespace, name, "app", probe)

    runs = {
        "bare": pod("bare"),
        "generated": generated_run(pod("generated")),
        "job": job_run(pod("job")),
        "cron": cron_job_run(pod("cron")),
    }
    lab.start(*runs.values())
    lab.cluster.kubectl("create", "job", "cron-now", "--from=cronjob/cron", "-n", namespace)
    return runs


def test_a_bare_pod_gets_its_secrets(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["bare"])


def test_a_pod_with_a_generated_name_gets_its_secrets(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["generated"])

    assert lab.pod(runs["generated"])["metadata"]["name"].startswith("generated-")


@pytest.mark.parametrize(("run", "job"), [("job", "job"), ("cron", "cron-now")])
def test_the_pod_of_a_job_gets_its_secrets_and_the_job_completes(lab: Lab, runs: dict[str, Run], run: str, job: str):
    lab.finish(runs[run])

    wait = ("wait", f"job/{job}", "-n", runs[run].namespace, "--for=condition=Complete")
    lab.cluster.kubectl(*wait, f"--timeout={FINISHED_SECONDS:.0f}s", timeout=FINISHED_SECONDS + 10)


@pytest.mark.parametrize("name", ["bare", "generated", "job", "cron"])
def test_the_pod_records_the_user_who_acted(name: str, lab: Lab, runs: dict[str, Run]):
    whoami = json.loads(lab.cluster.kubectl("auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]["username"]

    claims = json.loads(lab.pod(runs[name])["metadata"]["annotations"][names.CLAIMS_ANNOTATION])

    assert claims["creator"] == whoami
    assert ("owner" in claims) == (name in {"job", "cron"})


def test_a_job_whose_bundle_is_missing_waits_for_it_without_a_pod(lab: Lab):
    namespace = lab.organization().namespace("web")
    token = lab.value()
    probe = Probe().variable("TOKEN", token)
    run = job_run(pod_run(namespace, "early", "app", probe))
    refused = ("events", "-n", namespace, "--field-selector", "reason=FailedCreate,involvedObject.name=early")

    lab.create(run)
    wait_until(lambda: bool(lab.cluster.get(*refused)["items"]), "the refusal of the pod", seconds=FINISHED_SECONDS)
    message = lab.cluster.get(*refused)["items"][0]["message"]
    pods = lab.pods(run)
    lab.define(definition(namespace, "app", env={"TOKEN": token}))

    assert names.Reason.NOT_FOUND in message
    assert "bundle 'app'" in message
    assert pods == []
    lab.finish(run)
