"""Labels and annotations with our prefix stay as admission left them, whichever way someone changes a stored pod."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret

if TYPE_CHECKING:
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

POLICY: Final = "scoped-secrets-pods"
CHANGES: Final[dict[str, dict[str, Any]]] = {
    "the opt-in is removed": {"labels": {names.INJECT_LABEL: None}},
    "the opt-in is changed": {"labels": {names.INJECT_LABEL: "false"}},
    "the resolution is changed": {"annotations": {names.RESOLUTION_ANNOTATION: "{}"}},
    "the claims are removed": {"annotations": {names.CLAIMS_ANNOTATION: None}},
    "all annotations are removed": {"annotations": None},
    "the bundles are changed": {"annotations": {names.SECRETS_ANNOTATION: "other"}},
    "an unknown annotation is added": {"annotations": {f"{names.GROUP}/other": ""}},
}


@pytest.fixture(scope="module")
def web(found: Founder, console: Console, canary: Canary) -> str:
    """A namespace with a pod that has a bundle, and one that did not opt in."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("metadata")}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    plain = pod(f"{web}/plain")
    del plain["metadata"]["labels"]
    console.create(plain)
    return web


@pytest.fixture(autouse=True)
def running(operator: InstalledOperator) -> None:
    """The operator runs in each test."""


def patch(console: Console, namespace: str, name: str, metadata: dict[str, Any], *flags: str) -> str:
    """Change the metadata of a pod, and return why it was refused; "" when it was not."""
    command = ("patch", "pod", name, "-n", namespace, "--type=merge", "-p", json.dumps({"metadata": metadata}), *flags)
    result = console.cluster.kubectl(*command, check=False)
    return "" if result.returncode == 0 else result.stderr


@pytest.mark.parametrize("flags", [(), ("--subresource=status",)], ids=["pod", "status"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_label_or_annotation_of_ours_does_not_change(change: str, flags: tuple[str, ...], web: str, console: Console):
    before = console.cluster.get("pod", "job", "-n", web)["metadata"]

    refusal = patch(console, web, "job", CHANGES[change], *flags)

    assert f"'{POLICY}'" in refusal
    assert f"{names.GROUP}/" in refusal
    after = console.cluster.get("pod", "job", "-n", web)["metadata"]
    assert (after["labels"], after["annotations"]) == (before["labels"], before["annotations"])


def test_a_stored_pod_is_not_opted_in_later(web: str, console: Console):
    refusal = patch(console, web, "plain", {"labels": {names.INJECT_LABEL: names.INJECT_VALUE}})

    assert f"'{POLICY}'" in refusal
    assert "delete the pod and create it again" in refusal


def test_a_binding_does_not_bring_annotations_of_ours(web: str, console: Console):
    console.create(pod(f"{web}/unbound", "aws"))
    target = {"kind": "Node", "name": "somewhere"}
    binding = {"apiVersion": "v1", "kind": "Binding", "target": target}

    def bind(resource: str, annotations: dict[str, str]) -> str:
        metadata = {"name": "unbound", "namespace": web, "annotations": annotations}
        path = f"/api/v1/namespaces/{web}/{resource}"
        body = json.dumps(binding | {"metadata": metadata})
        result = console.cluster.kubectl("create", "--raw", path, "-f", "-", input=body, check=False)
        return result.stderr if result.returncode else ""

    for resource in ("bindings", "pods/unbound/binding"):
        assert f"'{POLICY}'" in bind(resource, {names.RESOLUTION_ANNOTATION: "{}"})
    assert bind("pods/unbound/binding", {"example.com/note": "1"}) == ""
    assert console.cluster.get("pod", "unbound", "-n", web)["metadata"]["annotations"]["example.com/note"] == "1"


def test_others_change_what_is_theirs(web: str, console: Console):
    names_before = named_secrets(console.cluster.get("pod", "job", "-n", web))

    for flags in ((), ("--subresource=status",)):
        assert patch(console, web, "job", {"labels": {"app": "x"}, "annotations": {"note": "1"}}, *flags) == ""
    status = json.dumps({"status": {"phase": "Running"}})
    command = ("patch", "pod", "job", "-n", web, "--subresource=status", "--type=merge", "-p", status)
    assert console.cluster.kubectl(*command, check=False).returncode == 0
    assert patch(console, web, "job", {"labels": {"app": None}, "finalizers": ["example.com/keep"]}) == ""
    assert patch(console, web, "job", {"finalizers": None}) == ""
    assert named_secrets(console.cluster.get("pod", "job", "-n", web)) == names_before


def test_the_policy_has_no_type_errors(console: Console, operator: InstalledOperator):
    def checked() -> dict[str, Any]:
        status: dict[str, Any] = console.cluster.get("validatingadmissionpolicy", POLICY).get("status", {})
        return status

    wait_until(lambda: "typeChecking" in checked(), "the types are checked", seconds=SECONDS)
    assert checked()["typeChecking"] == {}
