"""No value of any test here stands anywhere but in bundle Secrets.

These tests run last. The checks at the end look at the traces of their own process. Every process makes the same checks
after its last test, because pytest-xdist runs these tests in one of its workers only (`final_checks` in conftest.py).
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from scoped_secrets import names
from tests.integration.console import pod
from tests.integration.final_checks import (
    check_no_value_is_anywhere_but_in_bundles,
    check_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name,
    check_the_operator_was_never_refused_by_its_roles,
)
from tests.support.canary import Canary
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
    planted: Canary,
    console: Console,
    own_control_plane: ControlPlane,
    company: Company,
    installed: InstalledOperator,
    tmp_path: Path,
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
    )
    # Its name is that of a bundle, and it is none: no pod owns it.
    impostor = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{names.BUNDLE_PREFIX}impostor-0", "namespace": web},
        "stringData": {"file": value},
    }
    with installed.guard_off():
        console.create(impostor)
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
    canary: Canary, console: Console, companies: list[Company], company: Company, operator: InstalledOperator
):
    check_no_value_is_anywhere_but_in_bundles(canary, console, company, companies, operator)


def test_the_operator_was_never_refused_by_its_roles(operator: InstalledOperator, audit: AuditLog):
    check_the_operator_was_never_refused_by_its_roles(audit)


def test_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name(
    operator: InstalledOperator, audit: AuditLog
):
    check_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name(audit)


def configuration(location: str, **metadata: Any) -> dict[str, Any]:
    """Return an object of no importance."""
    namespace, name = location.split("/")
    for field in ("annotations",):
        if field in metadata:
            metadata[field] = {f"{names.GROUP}/{key}": text for key, text in metadata[field].items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, **metadata}}
