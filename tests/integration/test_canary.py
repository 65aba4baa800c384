"""No value of any test here stands anywhere but in bundle Secrets. These tests run last."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from scoped_secrets import names
from tests.integration.console import SOURCES, pod, scoped_secret
from tests.support.canary import Canary, list_everything
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER
from tests.support.webhook_recorder import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

DISGUISES = {
    "raw": lambda value: value,
    "base64 at 0": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 at 1": lambda value: base64.b64encode(b"x" + value.encode()).decode(),
    "base64 at 2": lambda value: base64.b64encode(b"xy" + value.encode() + b"z").decode(),
    "base64 of base64 at 0, 0": lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "JSON escapes": lambda value: "".join(f"\\u{ord(character):04x}" for character in value),
    "URL-encoded": lambda value: "".join(f"%{ord(character):02X}" for character in value),
}


@pytest.fixture
def planted() -> Canary:
    """A canary of its own: what is planted here is no leak of the tests before."""
    return Canary()


@pytest.mark.parametrize("form", DISGUISES)
def test_a_disguised_value_is_found(form: str, planted: Canary):
    text = f"before {DISGUISES[form](planted.value('one'))} after"

    assert form in planted.forms_in(text.encode())


@pytest.mark.parametrize("write", [json.dumps, repr, quote, str.encode, lambda text: json.dumps(json.dumps(text))])
def test_an_awkward_value_is_found_however_it_is_written(write: Any, planted: Canary):
    text = write(planted.awkward("one"))

    assert planted.find("here", text)


def test_the_begin_and_the_end_of_a_value_are_found(planted: Canary):
    value = planted.value("one")

    assert planted.find("begin", value[: len(planted.mark)])
    assert planted.find("end", value[-len(planted.mark) :])
    assert not planted.find("elsewhere", Canary().value("one"))


def test_the_sweep_finds_a_value_in_each_place(
    planted: Canary, console: Console, own_control_plane: ControlPlane, company: Company, tmp_path: Path
):
    web = company.namespace("web", "web")
    value = planted.value("planted")
    label = planted.mark
    console.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "event", "namespace": web},
            "involvedObject": {"kind": "Pod", "namespace": web, "name": "job"},
            "message": f"the value is {value}",
        },
        configuration(f"{web}/annotation", annotations={"note": value}),
        configuration(f"{web}/managed-fields", labels={label: "x"}),
        {**configuration(f"{web}/data"), "data": {"file": base64.b64encode(value.encode()).decode()}},
        # Its name is that of a bundle, and it is none: no pod owns it.
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{names.BUNDLE_PREFIX}impostor-0", "namespace": web},
            "stringData": {"file": value},
        },
    )
    plain = pod(f"{web}/status")
    del plain["metadata"]["labels"]
    console.create(plain)
    patch = json.dumps({"status": {"message": value}})
    console.cluster.kubectl("patch", "pod", "status", "-n", web, "--subresource=status", "--type=merge", "-p", patch)
    console.cluster.kubectl("get", "configmap", label, "-n", web, check=False)
    log = tmp_path / "operator.log"
    log.write_text(f"nothing\n{{'body': '{value}'}}\n")
    operations = json.dumps([{"op": "test", "path": "/spec/env/0/value", "value": value}])
    response = {"response": {"patch": base64.b64encode(operations.encode()).decode()}}
    answer = Answer("/mutate/scopedsecrets", 200, json.dumps(response).encode())

    found = planted.sweep(
        own_control_plane,
        logs=[log, own_control_plane.logs()["audit"]],
        answers={answer.path: answer.searchable(), "/metrics": f'x{{value="{value}"}} 1'.encode()},
    )

    places = [finding.place for finding in found]
    for place in (
        f"Event/{web}/event .message",
        f"ConfigMap/{web}/annotation .metadata.annotations.{names.GROUP}/note",
        f"ConfigMap/{web}/data .data.file",
        f"Secret/{web}/{names.BUNDLE_PREFIX}impostor-0 .data.file",
        f"Pod/{web}/status .status.message",
        f"{log}:2",
        "/mutate/scopedsecrets",
        "/metrics",
    ):
        assert place in places
    assert any(place.startswith(f"ConfigMap/{web}/managed-fields .metadata.managedFields") for place in places)
    assert any(place.startswith(str(own_control_plane.logs()["audit"])) for place in places)


def test_no_value_of_any_test_is_anywhere_but_in_bundles(
    canary: Canary, console: Console, own_control_plane: ControlPlane, company: Company, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    definition = scoped_secret(
        f"{web}/aws", env={"KEY": canary.value("sweep")}, files={"/data/file": canary.awkward("sweep")}
    )
    console.apply(definition)
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    # Answers to somebody who asks without being the API server, and to somebody who asks wrongly.
    for path in ("/mutate/scopedsecrets", "/validate/scopedsecrets"):
        operator.recorder.relay(path, json.dumps(definition).encode(), {"Content-Type": "application/json"})
        operator.recorder.relay(path, json.dumps(review(definition)).encode(), {"Content-Type": "application/json"})

    probes = {
        f"{process.program.name} {path}": process.probe(path)[1]
        for process in operator.processes()
        for path in ("/healthz", "/readyz")
    }
    scrapes = {f"{process.program.name} /metrics": process.metrics().encode() for process in operator.processes()}
    answers = {
        f"answer {number} of {answer.path}": answer.searchable()
        for number, answer in enumerate(operator.recorder.answers)
    }
    logs = [*operator.logs, *own_control_plane.logs().values()]
    found = canary.sweep(own_control_plane, logs=logs, answers=answers | probes | scrapes)

    assert [str(finding) for finding in found] == []
    assert f"Secret/{web}" in " ".join(canary.bundles_with_values(list_everything(own_control_plane)))
    assert all(log.stat().st_size for log in operator.logs)
    # What was searched tells of what happened here.
    told = b"".join(scrapes.values()).decode()
    assert 'webhook="scopedsecrets.mutate.scopedsecrets.dev"' in told
    assert "scoped_secrets_bundle_secrets_created_total" in told
    assert {"/mutate/scopedsecrets", "/mutate/pods"} <= {answer.path for answer in operator.recorder.answers}


def test_the_operator_was_never_refused_by_its_roles(operator: InstalledOperator, audit: AuditLog):
    calls = [call for user in (CONTROLLER_USER, ADMISSION_USER) for call in audit.calls(user)]

    assert {call.user for call in calls} == {CONTROLLER_USER, ADMISSION_USER}
    refused = {(call.user, call.verb, call.resource) for call in calls if call.status in (401, 403)}
    # An API server that has just started refuses for a moment what it has not read the roles of.
    assert refused - {(call.user, call.verb, call.resource) for call in calls if call.is_success} == set()


def test_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name(
    operator: InstalledOperator, audit: AuditLog
):
    secret_calls = [
        call
        for user in (CONTROLLER_USER, ADMISSION_USER)
        for call in audit.calls(user)
        if call.resource.partition("/")[0] == "secrets"
        and call.verb not in ("create", "delete")
        and (call.user, call.verb, call.name in SOURCES) != (CONTROLLER_USER, "get", True)
    ]

    assert {call.namespace for call in secret_calls} <= {names.DEFAULT_NAMESPACE}
    # Sealing keys are found by their label, in the namespace of the operator alone.
    assert {call.verb for call in secret_calls} <= {"get", "list", "patch"}


def configuration(location: str, **metadata: Any) -> dict[str, Any]:
    """Return an object of no importance."""
    namespace, name = location.split("/")
    for field in ("annotations",):
        if field in metadata:
            metadata[field] = {f"{names.GROUP}/{key}": text for key, text in metadata[field].items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, **metadata}}


def review(body: dict[str, Any]) -> dict[str, Any]:
    """Return an AdmissionReview about the creation of a ScopedSecret."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": secrets.token_hex(8),
            "kind": {"group": names.GROUP, "version": names.VERSION, "kind": body["kind"]},
            "namespace": body["metadata"]["namespace"],
            "name": body["metadata"]["name"],
            "operation": "CREATE",
            "userInfo": {"username": "nobody"},
            "object": body,
        },
    }
