"""Copies of ScopedSecrets: who may make one, what a job gets from it, and what proves that admission allowed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.integration.people import person
from tests.support.installed import CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

SPECS_POLICY = "scoped-secrets-specs"


@dataclass(frozen=True)
class Office:
    """A company with two projects, and two people in both namespaces: who governs, and who develops."""

    company: Company
    web: str
    shop: str
    governor: str
    developer: str

    @property
    def console(self) -> Console:
        """An administrator's kubectl."""
        return self.company.console

    def copy(self, name: str, source: str, user: str, **spec: Any) -> str:
        """Create a copy in the second project as a user, and return what the API server refuses it with."""
        namespace, _, source_name = source.partition("/")
        given = {"copyFrom": {"namespace": namespace, "name": source_name}, **spec}
        body = scoped_secret(f"{self.shop}/{name}", **given)
        return self.console.cluster.kubectl("create", "-f", "-", input=json.dumps(body), user=user, check=False).stderr

    def stored(self, name: str) -> dict[str, Any]:
        """Return a definition of the second project."""
        return self.console.cluster.get("ssec", name, "-n", self.shop)


@pytest.fixture(scope="module")
def office(found: Founder) -> Office:
    company = found()
    web, shop = company.namespace("web", "web"), company.namespace("shop", "shop")
    return Office(
        company, web, shop, person(company, "governor", "admin", web, shop), person(company, "dev", "edit", web, shop)
    )


@pytest.fixture
def halted(office: Office, operator: InstalledOperator) -> Iterator[InstalledOperator]:
    """The operator without controllers, so that copies stay as they are requested until it is started again."""
    del office
    operator.stop_controllers()
    yield operator
    operator.start()


def test_a_job_of_another_project_gets_the_values_of_a_copy(
    office: Office, canary: Canary, operator: InstalledOperator
):
    del operator
    console = office.console
    key, plain = canary.value("copied"), {"value": "eu-west-1", "sensitive": False}
    files = {"/data/key": {"content": canary.value("file"), "mode": "0400"}}
    console.apply(scoped_secret(f"{office.web}/aws", env={"KEY": key, "REGION": plain}, files=files))
    console.wait_current(office.web, "aws")

    assert office.copy("aws", f"{office.web}/aws", office.governor, description="a copy") == ""
    console.wait_current(office.shop, "aws")
    console.create(pod(f"{office.shop}/job", "aws"))

    seen = console.seen(office.shop, "job")
    assert (seen.env["KEY"], seen.env["REGION"]) == (key, "eu-west-1")
    assert seen.files["/data/key"] == canary.value("file")
    spec, source = office.stored("aws")["spec"], console.cluster.get("ssec", "aws", "-n", office.web)["spec"]
    assert "copyFrom" not in spec
    assert spec["description"] == "a copy"
    assert spec["files"][0]["mode"] == "0400"
    assert spec["env"][1] == source["env"][1]
    texts = {each["sealed"] for each in (*spec["env"], *spec["files"]) if "sealed" in each}
    assert len(texts) == 2
    assert not texts & {each.get("sealed") for each in (*source["env"], *source["files"])}


def test_a_copy_has_fingerprints_so_that_applying_the_same_value_changes_nothing(
    office: Office, canary: Canary, operator: InstalledOperator
):
    del operator
    console, value = office.console, {"KEY": canary.value("fingerprint")}
    console.apply(scoped_secret(f"{office.web}/marked", env=value))
    assert office.copy("marked", f"{office.web}/marked", office.governor) == ""
    console.wait_current(office.shop, "marked")
    before = office.stored("marked")["spec"]["env"]

    console.apply(scoped_secret(f"{office.shop}/marked", env=value), flags=("--server-side",))

    assert office.stored("marked")["spec"]["env"] == before


def test_an_editor_may_not_copy_and_learns_nothing_about_what_exists(
    office: Office, canary: Canary, operator: InstalledOperator
):
    del operator
    office.console.apply(scoped_secret(f"{office.web}/secret", env={"KEY": canary.value("refused")}))
    home = office.company.home

    answers = [
        office.copy("taken", source, office.developer)
        for source in (f"{office.web}/secret", f"{office.web}/absent", f"{home}/absent", "kube-system/absent")
    ]

    for answer in answers:
        assert "CopyDenied: `spec.copyFrom` needs the verb `copy` on ScopedSecret '" in answer
        assert "ask an administrator of namespace '" in answer
    assert answers[0].replace("/secret'", "/absent'") == answers[1]
    assert not office.console.exists("ssec", office.shop, "taken")


def test_a_source_that_does_not_exist_is_told_to_those_who_may_copy(office: Office, operator: InstalledOperator):
    del operator
    refusal = office.copy("nothing", f"{office.web}/absent", office.governor)

    assert f"`spec.copyFrom` names ScopedSecret '{office.web}/absent', which does not exist" in refusal


def test_a_request_is_neither_added_nor_changed_later(office: Office, canary: Canary, operator: InstalledOperator):
    del operator
    console = office.console
    console.apply(scoped_secret(f"{office.web}/later", env={"KEY": canary.value("later")}))
    console.apply(scoped_secret(f"{office.shop}/plain", description="has no entries"))
    request = {"namespace": office.web, "name": "later"}

    command = ("patch", "ssec", "plain", "-n", office.shop, "--type=merge", "-p")
    result = console.cluster.kubectl(*command, json.dumps({"spec": {"copyFrom": request}}), check=False)

    assert "copyFrom: Invalid value" in result.stderr
    assert "must stay as it was created, and cannot be added later" in result.stderr
    with_entries = scoped_secret(f"{office.shop}/both", env={"KEY": canary.value("both")}, copyFrom=request)
    assert "must be left out where `env`, `files` or `dataKeys` are given" in console.refusal(with_entries)


def test_a_request_that_did_not_pass_admission_copies_nothing(
    office: Office, canary: Canary, operator: InstalledOperator
):
    console = office.console
    console.apply(scoped_secret(f"{office.web}/guarded", env={"KEY": canary.value("bypass")}))
    request = {"namespace": office.web, "name": "guarded"}
    source = console.cluster.get("ssec", "guarded", "-n", office.web)["metadata"]
    forged = f"{source['uid']}@{source['generation']}.{1_700_000_000}.{'a' * 32}"
    with operator.webhooks_off():
        for name, grant in (("bare", {}), ("forged", {"grant": forged})):
            console.cluster.kubectl(
                "create", "-f", "-", input=json.dumps(scoped_secret(f"{office.shop}/{name}", copyFrom=request | grant))
            )

    for name in ("bare", "forged"):
        ready = console.wait_condition(office.shop, name, "Ready", "False")
        assert ready["reason"] == names.Reason.COPY_FAILED
        assert "has no valid grant of admission" in ready["message"]
        console.wait_event(office.shop, name, names.Reason.COPY_FAILED)
        assert "env" not in office.stored(name)["spec"]
        body = pod(f"{office.shop}/{name}", name)
        refused = (names.Reason.COPY_PENDING, names.Reason.COPY_FAILED)
        assert any(reason in console.refusal(body) for reason in refused)


def test_a_grant_is_of_no_use_in_another_object_or_at_another_time(
    office: Office, canary: Canary, halted: InstalledOperator
):
    console = office.console
    console.apply(scoped_secret(f"{office.web}/granted", env={"KEY": canary.value("granted")}))
    assert office.copy("granted", f"{office.web}/granted", office.governor) == ""
    request = office.stored("granted")["spec"]["copyFrom"]
    assert request["grant"]
    with halted.webhooks_off():
        body = scoped_secret(f"{office.shop}/stolen", copyFrom=request)
        console.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
    halted.start()

    ready = console.wait_condition(office.shop, "stolen", "Ready", "False")

    wait_until(
        lambda: console.conditions(office.stored("stolen"))["Ready"]["reason"] == names.Reason.COPY_FAILED,
        "the controller refuses the grant",
        seconds=SECONDS,
    )
    assert ready["status"] == "False"
    assert "env" not in office.stored("stolen")["spec"]
    console.wait_current(office.shop, "granted")


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_a_source_that_changes_midway_is_not_copied(
    office: Office, canary: Canary, halted: InstalledOperator, change: str
):
    console = office.console
    source = scoped_secret(f"{office.web}/{change}", env={"KEY": canary.value(change)})
    console.apply(source)
    assert office.copy(change, f"{office.web}/{change}", office.governor) == ""
    if change == "deleted":
        console.cluster.kubectl("delete", "ssec", change, "-n", office.web)
    else:
        console.apply(scoped_secret(f"{office.web}/{change}", env={"KEY": canary.value("other")}))
    halted.start()

    console.wait_event(office.shop, change, names.Reason.COPY_FAILED)
    wait_until(
        lambda: console.conditions(office.stored(change)).get("Ready", {}).get("reason") == names.Reason.COPY_FAILED,
        "the status tells of the failure",
        seconds=SECONDS,
    )

    message = console.conditions(office.stored(change))["Ready"]["message"]
    assert {"deleted": "does not exist any more", "changed": "changed after this object"}[change] in message
    assert "env" not in office.stored(change)["spec"]


def test_a_stolen_token_of_the_controller_changes_definitions_only_as_requested(
    office: Office, canary: Canary, halted: InstalledOperator
):
    del halted
    console = office.console
    console.apply(
        scoped_secret(f"{office.web}/theirs", env={"KEY": canary.value("theirs")}),
        scoped_secret(f"{office.web}/asked", env={"KEY": canary.value("asked")}),
    )
    console.cluster.kubectl("annotate", "ssec", "asked", "-n", office.web, f"{names.RESEAL_ANNOTATION}=now")
    assert office.copy("pending", f"{office.web}/theirs", office.governor) == ""

    def patch(namespace: str, name: str, *operations: dict[str, Any]) -> str:
        # kubectl reads before it patches, which the controller's roles do not allow.
        command = ("patch", "ssec", name, "-n", namespace, "--type=json", "-p", json.dumps(operations))
        actor: dict[str, Any] = {"user": CONTROLLER_USER, "groups": ("system:masters",)}
        return console.cluster.kubectl(*command, check=False, **actor).stderr

    entry = {"name": "MORE", "value": "x", "sensitive": False}
    done = {"op": "remove", "path": "/metadata/annotations/scopedsecrets.dev~1reseal"}
    copied = {"op": "remove", "path": "/spec/copyFrom"}
    attempts = {
        "an entry without a request": patch(office.web, "theirs", {"op": "add", "path": "/spec/env/-", "value": entry}),
        "a label": patch(office.web, "theirs", {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}),
        "a field": patch(office.web, "theirs", {"op": "add", "path": "/spec/final", "value": True}),
        "an entry with a reseal": patch(
            office.web, "asked", done, {"op": "add", "path": "/spec/env/-", "value": entry}
        ),
        "plain text with a reseal": patch(
            office.web, "asked", done, {"op": "replace", "path": "/spec/env/0", "value": entry}
        ),
        "attaching with a copy": patch(
            office.shop, "pending", copied, {"op": "add", "path": "/spec/attach", "value": "Always"}
        ),
        "a label with a copy": patch(
            office.shop, "pending", copied, {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
        ),
    }

    for attempt, refusal in attempts.items():
        assert f"'{SPECS_POLICY}'" in refusal, attempt
