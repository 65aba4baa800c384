"""The examples do what their first lines say: each is applied as it lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS
from tests.support.installed import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.console import Console
    from tests.support.container_view import View
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
NAMESPACES = ("acme", "web", "web-production")


def example(begin: str) -> Path:
    """Return the example whose name begins with a number."""
    (found,) = [path for path in EXAMPLES if path.name.startswith(begin)]
    return found


def apply(console: Console, path: Path) -> None:
    """Apply an example; what is refused because a namespace is still new is applied again."""
    apply = ("apply", "-f", str(path))
    what = f"{path.name} is applied"
    wait_until(lambda: console.cluster.kubectl(*apply, check=False).returncode == 0, what, seconds=SECONDS)


@pytest.fixture(scope="module")
def applied(console: Console, installed: InstalledOperator) -> Iterator[None]:
    """Namespaces, definitions and policies, in the order of their numbers."""
    installed.start()
    try:
        for number in ("01", "02", "03"):
            apply(console, example(number))
        for namespace, name in (
            ("acme", "aws"),
            ("acme", "registry"),
            ("web", "aws-staging"),
            ("web-production", "aws"),
        ):
            console.wait_condition(namespace, name, "Ready", "True")
        yield
    finally:
        console.cluster.kubectl("delete", "namespace", "--ignore-not-found", *NAMESPACES)


def job_sees(console: Console, namespace: str, job: str) -> View:
    """Wait for the pod of a Job and for its bundle, and return what its container would see."""
    selector = ("-l", f"job-name={job}")
    wait_until(lambda: console.items("pods", namespace, *selector) != {}, f"a pod of {job}", seconds=SECONDS)
    (pod,) = console.items("pods", namespace, *selector)
    return console.seen(namespace, pod)


@pytest.mark.usefixtures("applied")
def test_jobs_get_the_narrowest_definition_and_the_attached_bundles(console: Console):
    apply(console, example("04"))

    for namespace, job, account in (
        ("web", "staging", "web-staging"),
        ("web-production", "production", "web-production"),
    ):
        seen = job_sees(console, namespace, job).visible
        # The region is merged from the organization's definition, the user comes with the one that is attached.
        assert seen["AWS_ACCESS_KEY_ID"] == account
        assert (seen["AWS_REGION"], seen["REGISTRY_USER"]) == ("eu-west-1", "acme-ci")


@pytest.mark.usefixtures("applied")
def test_the_intruder_is_refused_with_the_policy_that_denies(console: Console):
    apply(console, example("05"))

    event = console.wait_event("web-production", "intruder", "FailedCreate")
    assert "PolicyDenied" in event["message"]
    assert "'acme/production'" in event["message"]
    assert console.items("pods", "web-production", "-l", "job-name=intruder") == {}


@pytest.mark.usefixtures("applied")
def test_token_status_reports_its_age_and_expiry(console: Console):
    apply(console, example("06"))

    console.wait_condition("web", "deploy-token", "Ready", "True")
    console.wait_condition("web", "deploy-token", "RotationDue", "False")
    console.wait_condition("web", "deploy-token", "Expired", "False")


@pytest.mark.usefixtures("applied", "role")
def test_the_password_is_taken_from_the_native_secret(console: Console):
    apply(console, example("07"))

    console.wait_condition("web", "database", "Ready", "True")


def test_no_example_is_without_a_test():
    assert [path.name[:2] for path in EXAMPLES] == ["01", "02", "03", "04", "05", "06", "07"]


def test_a_definition_of_the_readme_is_one_of_the_examples():
    """What the README shows, shortened, is applied here in full."""
    text = (ROOT / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    shown = [document for document in yaml.safe_load_all(text) if document["kind"] == names.SCOPED_SECRET_KIND]
    existing = [
        document
        for path in EXAMPLES
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == names.SCOPED_SECRET_KIND
    ]

    assert shown
    for definition in shown:
        assert any(is_part_of(definition, other) for other in existing), definition["metadata"]["name"]


def is_part_of(shown: dict[str, Any], existing: dict[str, Any]) -> bool:
    """Tell whether a definition has the same place and fields, and entries of the same names."""
    fields = ("scope", "environment", "override")
    entries = {entry["name"] for entry in shown["spec"].get("env", ())}
    files = {entry["path"] for entry in shown["spec"].get("files", ())}
    return (
        shown["metadata"] == {key: existing["metadata"].get(key) for key in shown["metadata"]}
        and all(shown["spec"].get(field) == existing["spec"].get(field) for field in fields)
        and entries <= {entry["name"] for entry in existing["spec"].get("env", ())}
        and files <= {entry["path"] for entry in existing["spec"].get("files", ())}
    )
