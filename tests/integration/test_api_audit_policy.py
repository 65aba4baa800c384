"""The example of an audit policy for the API server: with it, no value gets into the API server's audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.cluster.assets import find_assets
from tests.cluster.control_plane import ControlPlane
from tests.conftest import ENVIRONMENT
from tests.integration.console import Console, named_secrets, pod, scoped_secret
from tests.support.builders import scope_labels
from tests.support.canary import Canary
from tests.support.installed import InstalledOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[2] / "operator" / "docs" / "audit-policy.yaml"


def policy() -> dict[str, Any]:
    """Return the example's rules about our kinds and Secrets, before one that writes every other body."""
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    ours = [rule for rule in document["rules"] if "resources" in rule]
    assert ours == document["rules"][: len(ours)]
    return document | {"rules": [*ours, {"level": "RequestResponse"}]}


@pytest.fixture(scope="module")
def plane(no_personal_cluster: None) -> Iterator[ControlPlane]:
    """A control plane whose audit log follows the example, and otherwise holds all bodies."""
    with ControlPlane.start(find_assets(ENVIRONMENT), audit=True, audit_policy=policy()) as plane:
        yield plane


@pytest.fixture
def console(plane: ControlPlane, tmp_path: Path) -> Iterator[Console]:
    """A cluster with the operator."""
    operator = InstalledOperator(plane, tmp_path)
    try:
        operator.install()
        operator.start()
        yield Console(plane)
    finally:
        operator.uninstall()


def test_no_value_gets_into_the_audit_log_with_the_example(plane: ControlPlane, console: Console):
    canary = Canary()
    web = plane.create_namespace("web", scope_labels("acme", "web"))
    kubectl = plane.kubectl
    definition = scoped_secret(
        f"{web}/aws", env={"KEY": canary.value("apply")}, files={"/data/file": canary.awkward("file")}
    )
    console.apply(definition)
    console.apply(definition, flags=("--server-side", "--force-conflicts"))
    patch = json.dumps({"spec": {"env": [{"name": "KEY", "value": canary.value("patch")}]}})
    kubectl("patch", "ssec", "aws", "-n", web, "--type=merge", "-p", patch)
    operations = json.dumps([{"op": "add", "path": "/spec/env/-", "value": {"name": "B", "value": canary.value("op")}}])
    kubectl("patch", "ssec", "aws", "-n", web, "--type=json", "-p", operations)
    kubectl("apply", "--dry-run=server", "-f", "-", input=json.dumps(definition))
    native = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own", "namespace": web}}
    console.apply(native | {"stringData": {"KEY": canary.value("native")}})
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    kubectl("get", "secrets,ssec", "-n", web, "-o", "yaml")
    kubectl("delete", "ssec", "aws", "-n", web)
    kubectl("delete", "secret", "own", "-n", web)
    # What no rule of the example is about is written whole, so that the search is known to look at bodies.
    seen = Canary()
    configuration = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen", "namespace": web}}
    console.create(configuration | {"data": {"KEY": seen.value("seen")}})
    log = plane.logs()["audit"]

    assert [str(finding) for finding in canary.find_in_log(log)] == []
    assert seen.find_in_log(log)
    entries = [entry for entry in plane.audit_entries() if "objectRef" in entry]
    ours = [
        entry
        for entry in entries
        if entry["objectRef"].get("apiGroup") == names.GROUP or entry["objectRef"]["resource"] == "secrets"
    ]
    resources = {
        "/".join(filter(None, (entry["objectRef"]["resource"], entry["objectRef"].get("subresource"))))
        for entry in ours
    }
    assert {"scopedsecrets", "scopedsecrets/status", "secrets"} <= resources
    assert {entry["level"] for entry in ours} == {"Metadata"}
    assert {"create", "patch", "get", "list", "delete"} <= {entry["verb"] for entry in ours}
    assert named_secrets(plane.get("pod", "job", "-n", web)) <= {entry["objectRef"].get("name") for entry in ours}
