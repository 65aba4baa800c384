"""Data keys on a real API server: no way of writing loses one, and none shows as a difference."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets.crypto.data_keys import named_data_key
from tests.integration.console import pod, scoped_secret
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

KINDS_OF_APPLY = pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])


@pytest.fixture(scope="module")
def firm(found: Founder) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


def stored(console: Console, web: str, name: str) -> dict[str, Any]:
    body: dict[str, Any] = console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")
    return body


def spec(console: Console, web: str, name: str) -> dict[str, Any]:
    return dict(stored(console, web, name)["spec"])


def check_data_keys(body: dict[str, Any]) -> None:
    """Check that exactly the data keys are there that entries name."""
    entries = [*body.get("env", ()), *body.get("files", ())]
    named = {named_data_key(each["sealed"]) for each in entries if "sealed" in each}
    assert {each["id"] for each in body.get("dataKeys", ())} == named - {None}


def patch(console: Console, web: str, name: str, kind: str, document: Any) -> None:
    console.cluster.kubectl("patch", "ssec", name, "-n", web, f"--type={kind}", f"-p={json.dumps(document)}")


def replace_without(console: Console, web: str, name: str) -> None:
    """Replace the object by what `get` shows, without its data keys."""
    body = console.cluster.get("ssec", name, "-n", web)
    del body["spec"]["dataKeys"], body["metadata"]["resourceVersion"]
    console.write("replace", bodies=[body])


WRITES: dict[str, Callable[[Console, str, str], None]] = {
    "a JSON patch that removes the field": lambda console, web, name: patch(
        console, web, name, "json", [{"op": "remove", "path": "/spec/dataKeys"}]
    ),
    "a JSON patch that empties the field": lambda console, web, name: patch(
        console, web, name, "json", [{"op": "replace", "path": "/spec/dataKeys", "value": []}]
    ),
    "a merge patch that removes the field": lambda console, web, name: patch(
        console, web, name, "merge", {"spec": {"dataKeys": None}}
    ),
    "kubectl replace without the field": replace_without,
}


@pytest.mark.parametrize("way", WRITES)
def test_no_way_of_writing_loses_a_data_key(way: str, firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    name = f"lost-{list(WRITES).index(way)}"
    values = {"A": canary.value(f"{name} a"), "B": canary.value(f"{name} b")}
    console.apply(scoped_secret(f"{web}/{name}", env={**values, "B": canary.value(f"{name} old")}))
    console.apply(scoped_secret(f"{web}/{name}", env=values))
    before = spec(console, web, name)
    assert len(before["dataKeys"]) == 2

    WRITES[way](console, web, name)

    assert spec(console, web, name) == before
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    assert console.seen(web, name).visible == values


def test_two_managers_of_plain_text_share_an_object(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    values = {"ONE": canary.value("of one"), "OTHER": canary.value("of the other")}
    manifests = {each: scoped_secret(f"{web}/shared", env={each: value}) for each, value in values.items()}

    def apply(manager: str) -> None:
        console.apply(manifests[manager], flags=("--server-side", f"--field-manager={manager.lower()}"))

    apply("ONE")
    apply("OTHER")
    console.wait_current(web, "shared")
    before = stored(console, web, "shared")
    for manager in ("ONE", "OTHER", "ONE"):
        apply(manager)

    assert stored(console, web, "shared") == before
    assert len(before["spec"]["dataKeys"]) == 2
    # No manager owns what admission adds, so that no apply removes it.
    assert not [each for each in before["metadata"]["managedFields"] if "f:dataKeys" in json.dumps(each)]
    manifests["ONE"] = scoped_secret(f"{web}/shared", env={"ONE": canary.value("changed")})
    apply("ONE")
    after = spec(console, web, "shared")
    check_data_keys(after)
    other = next(each for each in before["spec"]["env"] if each["name"] == "OTHER")
    assert other in after["env"]
    company.settle(web)
    console.create(pod(f"{web}/shared", "shared"))
    assert console.seen(web, "shared").visible == {**values, "ONE": canary.value("changed")}


def sealed_manifest(console: Console, company: Company, web: str, name: str, **values: str) -> dict[str, Any]:
    """Return the object that `seal` prints."""
    place = ("--namespace", web, "--name", name, "--scope", "Project", "--organization", company.organization)
    body: dict[str, Any] = {}
    for variable, value in values.items():
        command = [sys.executable, "-m", "scoped_secrets", "seal", *place, "-o", "json"]
        printed = subprocess.run(
            [*command, "--env-from-file", f"{variable}=-"],
            env=RunningOperator.environment(console.cluster),
            input=value,
            capture_output=True,
            text=True,
            check=True,
        )
        document = json.loads(printed.stdout)
        if not body:
            body = document
            continue
        for field in ("env", "dataKeys"):
            body["spec"][field] += document["spec"][field]
    return body


@KINDS_OF_APPLY
def test_sealed_manifest_from_git_is_no_difference_and_takes_the_place_of_plain_text(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    name = f"git{'-'.join(flags)}"
    values = {"A": canary.value(f"{name} a"), "B": canary.value(f"{name} b")}
    plain, again = ({"A": canary.value(f"{name} {when}")} for when in ("plain", "again"))
    console.apply(scoped_secret(f"{web}/{name}", env=plain, project="web"), flags=flags)
    manifest = sealed_manifest(console, company, web, name, **values)

    console.apply(manifest, flags=flags)
    console.wait_current(web, name)
    before = stored(console, web, name)
    console.apply(manifest, flags=flags)
    compared = console.cluster.kubectl("diff", *flags, "-f", "-", input=json.dumps(manifest), check=False)

    assert stored(console, web, name) == before
    assert before["spec"]["env"] == manifest["spec"]["env"]
    assert before["spec"]["dataKeys"] == manifest["spec"]["dataKeys"]
    assert (compared.returncode, compared.stdout) == (0, "")
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    assert console.seen(web, name).visible == values
    # And back: what the manifest no longer has goes, with its data keys.
    console.apply(scoped_secret(f"{web}/{name}", env=again, project="web"), flags=flags)
    after = spec(console, web, name)
    check_data_keys(after)
    assert (len(after["env"]), len(after["dataKeys"])) == (1, 1)


def test_entry_without_its_data_key_or_from_another_object_is_denied(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    one = sealed_manifest(console, company, web, "one", A=canary.value("one"))
    missing = json.loads(json.dumps(one))
    data_key_id = missing["spec"].pop("dataKeys")[0]["id"]
    moved = json.loads(json.dumps(one))
    moved["metadata"]["name"] = "moved"

    for command in (("create",), ("apply",), ("apply", "--server-side")):
        message = console.refusal(missing, command=command)
        assert (
            f"`spec.env[0].sealed` needs the data key '{data_key_id}', which `spec.dataKeys` does not have" in message
        )
        assert "SealedForAnother" in console.refusal(moved, command=command)
