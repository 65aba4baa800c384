"""Mistakes in how a pod opts in are told where somebody reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.e2e.lab import definition, job_run, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> str:
    namespace = lab.organization().namespace("web")
    lab.define(definition(namespace, "app", env={"TOKEN": lab.value()}))
    lab.wait_until_known(pod_run(namespace, "known", "app", Probe()))
    return namespace


def relabelled(run: Run, value: str) -> Run:
    run.pod_body["metadata"]["labels"][names.INJECT_LABEL] = value
    return run


def test_pod_of_a_job_with_another_value_of_the_label_gets_an_event(lab: Lab, namespace: str):
    run = job_run(relabelled(pod_run(namespace, "true", "app", Probe().no_variable("TOKEN")), "True"))
    lab.create(run)
    lab.finish(run)

    assert "write 'true'" in lab.wait_for_event(run, Reason.NOT_INJECTED)


def test_pod_that_opted_out_gets_nothing_and_no_event(lab: Lab, namespace: str):
    run = relabelled(pod_run(namespace, "out", "app", Probe().no_variable("TOKEN")), "false")
    lab.create(run)
    lab.finish(run)

    assert lab.events(namespace, "out") == {}


def test_unknown_annotation_of_a_job_is_an_event_with_the_nearest_name(lab: Lab, namespace: str):
    probe = Probe().no_variable("TOKEN")
    run = job_run(pod_run(namespace, "misspelt", "", probe, annotations={"secret": "app"}))
    lab.create(run)
    lab.finish(run)

    message = lab.wait_for_event(run, Reason.UNKNOWN_ANNOTATION)
    assert f"{names.GROUP}/secret has no meaning on a pod; {names.SECRETS_ANNOTATION} may be meant" in message


def test_variable_that_env_from_may_have_too_is_an_event(lab: Lab, namespace: str):
    lab.cluster.kubectl("create", "configmap", "settings", "-n", namespace, "--from-literal=TOKEN=config")
    value = lab.value()
    lab.define(definition(namespace, "both", env={"TOKEN": value}))
    source = {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    run = pod_run(namespace, "both", "both", Probe().variable("TOKEN", value), main=source)
    lab.start(run)
    lab.finish(run)

    assert "ConfigMap 'settings'" in lab.wait_for_event(run, Reason.VARIABLE_OVERRIDDEN)


def test_expression_in_a_probe_is_denied(lab: Lab, namespace: str):
    probe = {"readinessProbe": {"exec": {"command": ["test", "${secrets.app.TOKEN}"]}}}
    accepted, said = lab.try_create(pod_run(namespace, "probe", "app", Probe(), main=probe))

    assert not accepted
    assert "/spec/containers/0/readinessProbe/exec/command/1" in said
