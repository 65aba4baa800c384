"""An API server that fails in every way: none of it brings a value anywhere, and in the end each job has its own."""

from __future__ import annotations

import base64
import json
import os
import signal
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.conftest import VALUE_FROM_ROLE
from tests.integration.console import decoded, named_secrets, pod, scoped_secret
from tests.integration.native_secrets import key_of, native
from tests.support.fault_proxy import Answer, Cut, Fault, FaultProxy, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# Longer than our client waits for an answer.
SECONDS = 90.0
FILE_BYTES = 300_000

BUNDLE_FAULTS: dict[str, Answer | Cut] = {
    "already-exists": refusal(409, "AlreadyExists"),
    "quota-conflict": refusal(409, "Conflict"),
    "invalid": refusal(422, "Invalid"),
    "bad-request": refusal(400, "BadRequest"),
    "forbidden": refusal(403, "Forbidden"),
    "too-many": refusal(429, "TooManyRequests", Retry_After="1"),
    "internal": refusal(500, "InternalError"),
    "unavailable": refusal(503, "{body}"),
    "no-json": Answer(201, "{body} and no JSON"),
    # An answer that no API server gives: what reads it raises KeyError.
    "no-metadata": Answer(201, '{"kind": "Secret", "stringData": "{body}"}'),
    "a-list": Answer(201, '["{body}"]'),
    "cut-request": Cut.IN_REQUEST,
    "cut-response": Cut.IN_RESPONSE,
    "cut-answer": Cut.BEFORE_RESPONSE,
    "no-answer": Cut.NEVER,
}
STATUS_FAULTS: dict[str, Answer | Cut] = {
    "status-conflict": refusal(409, "Conflict"),
    "status-invalid": refusal(422, "Invalid"),
    "status-internal": refusal(500, "InternalError"),
    "status-cut": Cut.IN_RESPONSE,
}
# The API server's answer to `get` is the Secret, so these repeat what stands in it.
SOURCE_FAULTS = {
    "source-no-json": Answer(200, "{value} and no JSON"),
    "source-internal": Answer(500, '{"kind": "Status", "reason": "{value}", "message": "{value}"}'),
    "source-list": Answer(200, '["{value}"]'),
    "source-text": Answer(200, '{"kind": "Secret", "metadata": {"name": "source"}, "data": {"key": "{value}!"}}'),
}


@dataclass(slots=True)
class Story:
    """What was tried.

    Attributes:
        company: Where; the namespace of each fault has its name as a suffix.
        values: What the job of each namespace must get, by data key.
        faults: What was served, by name.
    """

    company: Company
    values: dict[str, dict[str, str]]
    faults: dict[str, Fault]

    def namespace(self, name: str) -> str:
        return f"{self.company.organization}-{name}"


@pytest.fixture(scope="module")
def proxy(
    installed: InstalledOperator, own_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultProxy]:
    """The proxy, with the one running controller behind it; everybody else goes to the API server directly."""
    installed.start()
    installed.stop_controllers()
    original: Path = installed._kubeconfigs[names.CONTROLLER_ACCOUNT]
    path = tmp_path_factory.mktemp("faults") / "kubeconfig"
    with FaultProxy(own_control_plane.server, own_control_plane.certificate_authority) as running:
        installed._kubeconfigs[names.CONTROLLER_ACCOUNT] = running.kubeconfig(original, path)
        try:
            installed.start_controller("--resync-seconds", "10")
            yield running
        finally:
            installed._kubeconfigs[names.CONTROLLER_ACCOUNT] = original
            installed.stop_controllers()
    installed.start()


@pytest.fixture(scope="module")
def story(found: Founder, console: Console, canary: Canary, proxy: FaultProxy) -> Iterator[Story]:
    """All faults at once, each in a namespace of its own: some take as long as a client's patience."""
    company = found()
    file = {"contentBase64": base64.b64encode(canary.data(FILE_BYTES)).decode()}
    console.apply(
        scoped_secret(f"{company.home}/aws", "Organization", env={"KEY": canary.value("faults")}, files={"/f": file})
    )
    told = Story(company, {}, {})
    console.cluster.kubectl("apply", "-f", str(VALUE_FROM_ROLE))
    for name, what in BUNDLE_FAULTS.items():
        namespace = company.namespace(name, name)
        times = 1 if what is Cut.NEVER else 2
        told.faults[name] = Fault("POST", f"/api/v1/namespaces/{namespace}/secrets", what, times)
    for name, what in STATUS_FAULTS.items():
        path = f"/apis/{names.API_VERSION}/namespaces/{company.home}/scopedsecrets/{name}/status"
        told.faults[name] = Fault("PATCH", path, what)
    for name, answer in SOURCE_FAULTS.items():
        namespace = company.namespace(name, name)
        value = canary.value(name)
        console.apply(native(namespace, "source", key=value))
        console.apply(scoped_secret(f"{namespace}/aws", env={"KEY": key_of("source", "key")}))
        console.wait_condition(namespace, "aws", "Ready", "True")
        served = Answer(answer.status, answer.text.replace("{value}", value))
        told.faults[name] = Fault("GET", f"/api/v1/namespaces/{namespace}/secrets/source", served)
    events = company.namespace("events", "events")
    told.faults["events"] = Fault("POST", f"/api/v1/namespaces/{events}/events", refusal(422, "Invalid"))
    told.faults["events-bundle"] = Fault("POST", f"/api/v1/namespaces/{events}/secrets", refusal(422, "Invalid"))
    company.settle()
    proxy.faults += told.faults.values()
    for name in STATUS_FAULTS:
        console.apply(scoped_secret(f"{company.home}/{name}", "Organization", env={"KEY": canary.value(name)}))
    jobs = [*BUNDLE_FAULTS, *SOURCE_FAULTS, "events"]
    console.create(*(pod(f"{told.namespace(name)}/job", "aws") for name in jobs))
    told.values = {name: {"aws.KEY": canary.value(name if name in SOURCE_FAULTS else "faults")} for name in jobs}
    yield told
    console.cluster.kubectl("delete", "-f", str(VALUE_FROM_ROLE))
    for name in SOURCE_FAULTS:
        console.cluster.kubectl("delete", "secret", "source", "-n", told.namespace(name))


@pytest.mark.parametrize("fault", [*BUNDLE_FAULTS, *SOURCE_FAULTS, "events"])
def test_the_job_gets_its_secrets_when_the_fault_ends(fault: str, story: Story, console: Console):
    namespace = story.namespace(fault)
    wanted = named_secrets(console.cluster.get("pod", "job", "-n", namespace))

    def is_there() -> bool:
        return wanted <= console.items("secrets", namespace).keys()

    wait_until(is_there, f"the bundle after {fault}", seconds=SECONDS)

    (name,) = wanted
    found = decoded(console.cluster.get("secret", name, "-n", namespace))
    assert {key: found[key] for key in story.values[fault]} == story.values[fault]
    assert story.faults[fault].served > 0


@pytest.mark.parametrize("fault", STATUS_FAULTS)
def test_the_status_is_written_when_the_fault_ends(fault: str, story: Story, console: Console):
    console.wait_condition(story.company.home, fault, "Ready", "True")

    assert story.faults[fault].served > 0


def test_rejection_that_repeats_the_object_is_logged_without_it(story: Story, console: Console, canary: Canary):
    event = console.wait_event(story.namespace("invalid"), "job", "BundleFailed")

    assert "refused the job's Secret" in event["message"]
    assert not canary.find("the event", json.dumps(event))


def test_after_all_faults_no_value_is_anywhere_but_in_bundles(
    story: Story, canary: Canary, console: Console, own_control_plane: ControlPlane, operator: InstalledOperator
):
    """Logs at DEBUG with standard output and error of both processes, events, statuses, annotations, the audit log."""
    sources = [story.namespace(name) for name in SOURCE_FAULTS]
    for namespace in sources:
        console.cluster.kubectl("delete", "secret", "source", "-n", namespace)
    log = operator.controllers[-1].program.log.read_text()
    try:
        found = canary.sweep(own_control_plane, logs=[*operator.logs, *own_control_plane.logs().values()])
    finally:
        for name, namespace in zip(SOURCE_FAULTS, sources, strict=True):
            console.apply(native(namespace, "source", key=canary.value(name)))

    assert [str(finding) for finding in found] == []
    # What went wrong is told, in words that are ours.
    assert "reconcile failed and is requeued" in log
    assert "error=KeyError" in log
    for status in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.TOO_MANY_REQUESTS):
        assert f"secrets: {status}" in log
    assert "the API server does not answer" in log


def test_every_fault_was_served(story: Story):
    assert {name for name, fault in story.faults.items() if not fault.served} == set()


def test_a_crash_leaves_neither_a_core_file_nor_a_value_in_the_log(
    story: Story, canary: Canary, operator: InstalledOperator
):
    controller = operator.controllers[-1].program
    os.kill(controller.pid, signal.SIGABRT)
    ended = os.waitid(os.P_PID, controller.pid, os.WEXITED | os.WNOWAIT)
    controller.wait_for_end()

    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGABRT)
    assert canary.find_in_log(controller.log) == []
