"""What the pod does not say: the user and the home directory of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.cluster.node_image import CI_IMAGE, CI_USER
from tests.e2e.lab import definition, file, job_run, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

HOME = "/home/ci"
IMAGE_OF_A_USER = {"image": CI_IMAGE}


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    organization = lab.organization()
    namespace = organization.namespace("web")
    stated = organization.namespace("stated", run_as_user=str(CI_USER), home=HOME)
    value = lab.value()
    lab.define(*(definition(each, "npm", files=[file("~/.npmrc", value)]) for each in (namespace, stated)))
    annotations = {"run-as-user": str(CI_USER), "home": HOME}
    readable = Probe().file(f"{HOME}/.npmrc", value, "644").no_file("/root/.npmrc")
    runs = [
        # The folder /root has mode 0700: the user does not even see the file.
        pod_run(namespace, "unstated", "npm", Probe().no_file("/root/.npmrc"), main=IMAGE_OF_A_USER),
        job_run(pod_run(namespace, "job", "npm", Probe().no_file("/root/.npmrc"), main=IMAGE_OF_A_USER)),
        pod_run(namespace, "pod-states", "npm", readable, annotations=annotations, main=IMAGE_OF_A_USER),
        pod_run(stated, "namespace-states", "npm", readable, main=IMAGE_OF_A_USER),
        job_run(pod_run(stated, "job-of-namespace", "npm", readable, main=IMAGE_OF_A_USER)),
    ]
    lab.start(*(run for run in runs if run.namespace == namespace))
    lab.start(*(run for run in runs if run.namespace == stated))
    return {run.name: run for run in runs}


@pytest.mark.parametrize("name", ["unstated", "job"])
def test_unstated_user_and_home_are_an_event_with_the_lines_that_settle_them(lab: Lab, runs: dict[str, Run], name: str):
    lab.finish(runs[name])

    message = lab.wait_for_event(runs[name], Reason.USER_UNKNOWN)
    assert "container 'main'" in message
    assert f'{names.RUN_AS_USER_ANNOTATION}: "1000"' in message
    assert f"{names.HOME_ANNOTATION}: /home/ci" in message


def test_person_who_applies_the_pod_is_warned(lab: Lab, runs: dict[str, Run]):
    accepted, said = lab.try_create(runs["unstated"])

    assert not accepted or "Warning: container 'main' states neither `runAsUser` nor `runAsNonRoot`" in said
    run = pod_run(runs["unstated"].namespace, "another", "npm", Probe(), main=IMAGE_OF_A_USER)
    accepted, said = lab.try_create(run)
    assert accepted
    assert "Warning: container 'main' states neither `runAsUser` nor `runAsNonRoot`" in said


@pytest.mark.parametrize("name", ["pod-states", "namespace-states", "job-of-namespace"])
def test_stated_user_finds_its_file_without_any_event(lab: Lab, runs: dict[str, Run], name: str):
    lab.finish(runs[name])

    assert lab.events(runs[name].namespace, lab.pod(runs[name])["metadata"]["name"]) == {}
