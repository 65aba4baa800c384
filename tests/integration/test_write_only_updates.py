"""What becomes of each kind of entry when a definition is applied anew, and of plain text that nothing seals."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.integration.console import pod, scoped_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

Fields = dict[str, Any]
KINDS_OF_APPLY = pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])


@pytest.fixture(scope="module")
def firm(found: Founder) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


def plain(value: str, member: str = "value") -> Fields:
    """Return the fields of plain configuration."""
    return {member: value, "sensitive": False}


def from_secret(key: str) -> Fields:
    """Return the field of an entry that takes its value from a native Secret."""
    return {"valueFrom": {"secretKeyRef": {"name": "source", "key": key}}}


def encoded(content: bytes) -> Fields:
    """Return the field of a file of any bytes."""
    return {"contentBase64": base64.b64encode(content).decode()}


@KINDS_OF_APPLY
def test_new_value_of_every_entry_kind_is_sealed_and_delivered(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    name = f"values{'-'.join(flags)}"
    binary = canary.data(3000) + bytes(range(256))
    env: dict[str, tuple[Fields, Fields]] = {
        "SAME": ({"value": canary.awkward("same")}, {"value": canary.awkward("same")}),
        "VALUE": ({"value": canary.value("before")}, {"value": canary.awkward("after")}),
        "PLAIN": (plain("readable"), {"value": canary.value("now secret")}),
        "ELSEWHERE": (from_secret("a"), {"value": canary.value("now here")}),
    }
    files: dict[str, tuple[Fields, Fields]] = {
        "/data/same": (encoded(binary), encoded(binary)),
        "/data/text": ({"content": canary.value("text before")}, {"content": canary.awkward("text after")}),
        "/data/text-to-bytes": ({"content": canary.value("text")}, encoded(binary)),
        "/data/bytes-to-text": (encoded(binary), {"content": canary.awkward("text at last")}),
        "/data/bytes": (encoded(canary.data(100)), encoded(binary)),
        "/data/plain": (plain("readable", "content"), encoded(binary)),
        "/data/elsewhere": (from_secret("b"), {"content": canary.value("file now here")}),
    }
    console.apply(version(f"{web}/{name}", env, files, 0), flags=flags)
    before = entries(console, web, name)

    console.apply(version(f"{web}/{name}", env, files, 1), flags=flags)

    after = entries(console, web, name)
    assert all(entry.keys() == {"sealed"} for entry in after.values())
    assert {key for key in after if after[key] == before[key]} == {"SAME", "/data/same"}
    assert not canary.find_in_objects([console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")])
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    view = console.seen(web, name)
    assert view.visible == {key: fields["value"] for key, (_, fields) in env.items()}
    assert {key: view.files[key].encode(errors="surrogateescape") for key in files} == {
        key: content_of(fields) for key, (_, fields) in files.items()
    }


@KINDS_OF_APPLY
def test_other_source_replaces_a_sealed_value(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    name = f"places{'-'.join(flags)}"
    env = {
        "TO_PLAIN": ({"value": canary.value("to plain")}, plain("readable")),
        "TO_ELSEWHERE": ({"value": canary.value("to elsewhere")}, from_secret("a")),
        "OTHER_KEY": (from_secret("a"), from_secret("b")),
    }
    files = {
        "/data/to-plain": (encoded(canary.data(100)), plain("readable", "content")),
        "/data/to-elsewhere": ({"content": canary.value("file to elsewhere")}, from_secret("a")),
        "/data/other-key": (from_secret("a"), from_secret("b")),
    }
    console.apply(version(f"{web}/{name}", env, files, 0), flags=flags)

    console.apply(version(f"{web}/{name}", env, files, 1), flags=flags)

    written = {key: fields for key, (_, fields) in {**env, **files}.items()}
    assert entries(console, web, name) == written
    assert not canary.find_in_objects([console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")])


@KINDS_OF_APPLY
def test_removed_and_restored_entry_is_sealed_again(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    name = f"back{'-'.join(flags)}"
    env = {"KEY": canary.value("back"), "OTHER": canary.value("other")}
    whole = scoped_secret(f"{web}/{name}", env=env)
    console.apply(whole, flags=flags)
    first = entries(console, web, name)

    console.apply(scoped_secret(f"{web}/{name}", env={"OTHER": env["OTHER"]}), flags=flags)
    without = entries(console, web, name)
    console.apply(whole, flags=flags)

    assert without.keys() == {"OTHER"}
    again = entries(console, web, name)
    assert again["KEY"]["sealed"] != first["KEY"]["sealed"]
    assert again["OTHER"] == first["OTHER"]


def test_forced_server_side_apply_takes_over_fields(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    env = {"KEY": canary.value("first owner"), "OTHER": canary.value("untouched")}
    console.apply(scoped_secret(f"{web}/owned", env={**env, "REGION": plain("eu-west-1")}))
    before = entries(console, web, "owned")
    env["KEY"] = canary.value("second owner")
    # Only what is stored has an owner: plain configuration, not a value that was sealed.
    body = scoped_secret(f"{web}/owned", env={**env, "REGION": plain("eu-north-1")})

    message = console.refusal(body, command=("apply", "--server-side", "--field-manager=another"))
    unchanged = entries(console, web, "owned")
    console.apply(body, flags=("--server-side", "--field-manager=another", "--force-conflicts"))

    assert '.spec.env[name="REGION"].value' in message
    assert '[name="KEY"]' not in message
    assert not canary.find("kubectl apply", message)
    assert unchanged == before
    after = entries(console, web, "owned")
    assert after["KEY"]["sealed"] != before["KEY"]["sealed"]
    assert after["OTHER"] == before["OTHER"]
    assert not canary.find_in_objects([console.cluster.get("ssec", "owned", "-n", web, "--show-managed-fields")])
    company.settle(web)
    console.create(pod(f"{web}/owned", "owned"))
    assert console.seen(web, "owned").visible == {**env, "REGION": "eu-north-1"}


def test_plain_entry_that_becomes_sensitive_is_sealed(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    value = "eu-west-1, a value that this test alone has"
    console.apply(scoped_secret(f"{web}/grown", env={"REGION": plain(value)}))

    patch(console, web, "grown", {"op": "replace", "path": "/spec/env/0/sensitive", "value": True})

    printed = console.cluster.kubectl("get", "ssec", "grown", "-n", web, "-o", "yaml", "--show-managed-fields").stdout
    assert value not in printed
    assert entries(console, web, "grown")["REGION"].keys() == {"sealed", "sensitive"}
    company.settle(web)
    console.create(pod(f"{web}/grown", "grown"))
    assert console.seen(web, "grown").visible == {"REGION": value}


@pytest.mark.parametrize("operation", ["add", "replace"])
def test_a_sealed_value_cannot_be_made_readable(
    operation: str, firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    name = f"shut-{operation}"
    console.apply(scoped_secret(f"{web}/{name}", env={"KEY": canary.value(name)}))
    before = entries(console, web, name)
    change = [{"op": operation, "path": "/spec/env/0/sensitive", "value": False}]
    location = ("ssec", name, "-n", web)

    result = console.cluster.kubectl("patch", *location, "--type=json", "-p", json.dumps(change), check=False)
    shorter = console.refusal(
        scoped_secret(f"{web}/{name}", env={"KEY": {"sensitive": False}}),
        command=("apply", "--server-side", "--force-conflicts"),
    )

    for message in (result.stderr, shorter):
        assert "must be true with `sealed` and `valueFrom`" in message
        assert not canary.find("kubectl", message)
    assert entries(console, web, name) == before


def test_without_the_mutating_webhook_plain_text_is_refused_and_the_rest_is_stored(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator, canary: Canary
):
    _, web = firm
    console.apply(scoped_secret(f"{web}/sealed", env={"KEY": canary.value("sealed before")}))
    secret = scoped_secret(f"{web}/unsealed", env={"KEY": canary.value("unsealed")})
    file = scoped_secret(f"{web}/unsealed", files={"/data/file": encoded(canary.data(100))})
    readable = scoped_secret(f"{web}/configuration", env={"REGION": plain("eu-west-1")})
    copy = json.loads(json.dumps(readable))
    copy["metadata"]["name"] = "unsealed"
    copy["metadata"]["annotations"] = {names.LAST_APPLIED_ANNOTATION: json.dumps(secret)}
    changed = scoped_secret(f"{web}/sealed", env={"KEY": canary.value("unsealed change")})
    path = f"/apis/{names.API_VERSION}/namespaces/{web}/{names.SCOPED_SECRET_PLURAL}"
    before = entries(console, web, "sealed")

    with operator.webhooks_off("mutatingwebhookconfiguration"):
        refusals = {
            "create": console.refusal(secret),
            "apply": console.refusal(secret, command=("apply",)),
            "apply --server-side": console.refusal(secret, command=("apply", "--server-side")),
            "a change": console.refusal(changed, command=("replace",)),
            "a file": console.refusal(file),
        }
        # As it is: other commands of kubectl write the annotation anew, from the object.
        created = console.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(copy), check=False)
        console.apply(readable)

    for way, message in refusals.items():
        assert "PlaintextRefused: `spec." in message, way
        assert "check that the mutating webhook is installed" in message, way
    assert f"PlaintextRefused: annotation {names.LAST_APPLIED_ANNOTATION}" in created.stderr
    assert not canary.find("kubectl", created.stderr + "".join(refusals.values()))
    assert not console.exists("ssec", web, "unsealed")
    assert entries(console, web, "sealed") == before
    assert entries(console, web, "configuration")["REGION"] == plain("eu-west-1")


def version(
    location: str,
    env: Mapping[str, tuple[Fields, Fields]],
    files: Mapping[str, tuple[Fields, Fields]],
    number: int,
) -> dict[str, Any]:
    """Return the first or the second state of a definition."""
    return scoped_secret(
        location,
        env={name: fields[number] for name, fields in env.items()},
        files={path: fields[number] for path, fields in files.items()},
    )


def entries(console: Console, namespace: str, name: str) -> dict[str, Fields]:
    """Return the stored entries by name or path, without it."""
    spec = console.cluster.get("ssec", name, "-n", namespace)["spec"]
    listed = [*spec.get("env", ()), *spec.get("files", ())]
    return {entry.pop("name", None) or entry.pop("path"): entry for entry in listed}


def content_of(fields: Fields) -> bytes:
    """Return the bytes that a file shall have."""
    text: str | None = fields.get("content")
    return base64.b64decode(fields["contentBase64"]) if text is None else text.encode()


def patch(console: Console, namespace: str, name: str, *operations: Mapping[str, Any]) -> None:
    """Apply a JSON patch that must succeed."""
    console.cluster.kubectl("patch", "ssec", name, "-n", namespace, "--type=json", "-p", json.dumps(operations))
