"""A value that was applied cannot be read back, whichever way it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def firm(found: Founder) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


def definition(web: str, name: str, canary: Canary) -> dict[str, Any]:
    return scoped_secret(
        f"{web}/{name}",
        env={"KEY": canary.value(f"{name} key"), "AWKWARD": canary.awkward(f"{name} awkward")},
        files={"/data/file": canary.awkward(f"{name} file")},
    )


def apply_client_side(console: Console, body: dict[str, Any]) -> None:
    console.apply(body)


def apply_server_side(console: Console, body: dict[str, Any]) -> None:
    console.apply(body, flags=("--server-side",))


def create(console: Console, body: dict[str, Any]) -> None:
    console.create(body)


def create_with_a_copy(console: Console, body: dict[str, Any]) -> None:
    console.write("create", "--save-config", bodies=[body])


def replace(console: Console, body: dict[str, Any]) -> None:
    console.create(without_values(body))
    console.write("replace", bodies=[body])


def merge_patch(console: Console, body: dict[str, Any]) -> None:
    console.create(without_values(body))
    patch(console, body, "merge", {"spec": {key: body["spec"][key] for key in ("env", "files")}})


def json_patch(console: Console, body: dict[str, Any]) -> None:
    console.apply(without_values(body))
    spec = body["spec"]
    values = [("env/0", "value"), ("env/1", "value"), ("files/0", "content")]
    operations = []
    for pointer, member in values:
        group, index = pointer.split("/")
        operations += [
            {"op": "remove", "path": f"/spec/{pointer}/sealed"},
            {"op": "add", "path": f"/spec/{pointer}/{member}", "value": spec[group][int(index)][member]},
        ]
    patch(console, body, "json", operations)


WAYS: dict[str, Callable[[Console, dict[str, Any]], None]] = {
    "kubectl apply": apply_client_side,
    "kubectl apply --server-side": apply_server_side,
    "kubectl create": create,
    "kubectl create --save-config": create_with_a_copy,
    "kubectl replace": replace,
    "kubectl patch --type=merge": merge_patch,
    "kubectl patch --type=json": json_patch,
}


@pytest.mark.parametrize("way", WAYS)
def test_stored_objects_contain_no_value_and_jobs_get_all_values(
    way: str, firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    name = way.removeprefix("kubectl ").replace(" --", "-").replace("=", "-")

    WAYS[way](console, definition(web, name, canary))

    printed = console.cluster.kubectl("get", "ssec", name, "-n", web, "-o", "yaml", "--show-managed-fields").stdout
    assert not canary.find("kubectl get -o yaml", printed)
    assert not canary.find_in_objects([console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")])
    spec = console.cluster.get("ssec", name, "-n", web)["spec"]
    entries = [*spec["env"], *spec["files"]]
    assert all(entry["sealed"].startswith("v2:") for entry in entries)
    # One write, one data key.
    assert len(spec["dataKeys"]) == 1
    assert not any({"value", "content", "contentBase64"} & entry.keys() for entry in entries)
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    view = console.seen(web, name)
    assert view.visible == {"KEY": canary.value(f"{name} key"), "AWKWARD": canary.awkward(f"{name} awkward")}
    assert view.files["/data/file"] == canary.awkward(f"{name} file")


@pytest.mark.parametrize("flags", [(), ("--server-side",)])
def test_applying_the_same_again_changes_nothing(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    name = "again-server-side" if flags else "again-client-side"
    body = definition(web, name, canary)
    console.apply(body, flags=flags)
    console.wait_condition(web, name, "Ready", "True")
    first = console.cluster.get("ssec", name, "-n", web)
    # The API server sorts managers by the second of their last write: that of the status must not be that of the next.
    status_written = max(
        datetime.fromisoformat(manager["time"])
        for manager in console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")["metadata"][
            "managedFields"
        ]
    )
    wait_until(
        lambda: datetime.now(UTC) - status_written > timedelta(seconds=1), "a second has gone by", seconds=SECONDS
    )

    console.apply(body, flags=flags)
    console.apply(body, flags=flags)

    assert console.cluster.get("ssec", name, "-n", web) == first
    assert first["metadata"]["generation"] == 1


@pytest.mark.parametrize("flags", [(), ("--server-side",)])
def test_changing_one_value_seals_only_that_value(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    name = "change-server-side" if flags else "change-client-side"
    body = definition(web, name, canary)
    console.apply(body, flags=flags)
    before = console.cluster.get("ssec", name, "-n", web)["spec"]

    body["spec"]["env"][0]["value"] = canary.value(f"{name} changed")
    console.apply(body, flags=flags)

    after = console.cluster.get("ssec", name, "-n", web)["spec"]
    assert after["env"][0]["sealed"] != before["env"][0]["sealed"]
    assert after["env"][1:] == before["env"][1:]
    assert after["files"] == before["files"]
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    assert console.seen(web, name).env["KEY"] == canary.value(f"{name} changed")


def test_an_entry_can_be_removed_and_come_back(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    whole = definition(web, "removed", canary)
    part = definition(web, "removed", canary)
    del part["spec"]["env"][0]
    console.apply(whole)
    console.apply(part)
    company.settle(web)
    console.create(pod(f"{web}/without", "removed"))
    console.apply(whole)
    company.settle(web)
    console.create(pod(f"{web}/with", "removed"))

    views = console.delivered(web, "without", "with")

    assert "KEY" not in views["without"]["job"].env
    assert views["with"]["job"].env["KEY"] == canary.value("removed key")


def test_plain_configuration_stays_readable(firm: tuple[Company, str], console: Console):
    _, web = firm
    plain = {"value": "eu-west-1", "sensitive": False}
    console.apply(scoped_secret(f"{web}/plain", env={"REGION": plain}))

    stored = console.cluster.get("ssec", "plain", "-n", web)

    assert stored["spec"]["env"] == [{"name": "REGION", **plain}]


def test_a_sealed_text_copied_to_another_object_is_refused(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    console.apply(scoped_secret(f"{web}/original", env={"KEY": canary.value("original")}))
    sealed = console.cluster.get("ssec", "original", "-n", web)["spec"]["env"][0]["sealed"]

    other_object = console.refusal(scoped_secret(f"{web}/copy", env={"KEY": {"sealed": sealed}}))
    other_entry = console.refusal(
        scoped_secret(f"{web}/original", env={"COPY": {"sealed": sealed}}), command=("replace",)
    )

    for message in (other_object, other_entry):
        assert "SealedForAnother: `spec.env[0].sealed` was sealed for another" in message


def test_a_refused_value_is_not_repeated(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    secret = canary.value("refused")
    wrong = [
        scoped_secret(f"{web}/wrong", env={"KEY": {"value": secret, "sealed": "v1:abc"}}),
        scoped_secret(f"{web}/wrong", env={"KEY": {"sealed": secret}}),
        scoped_secret(f"{web}/wrong", env={"KEY": {"value": secret * 1000}}),
        scoped_secret(f"{web}/wrong", env={"KEY": {"value": f"{secret}\0"}}),
        scoped_secret(f"{web}/wrong", env={"LD_PRELOAD": secret}),
        scoped_secret(f"{web}/wrong", files={"/data/file": {"contentBase64": secret}}),
        scoped_secret(f"{web}/wrong", "Organization", env={"KEY": secret}),
    ]

    for body in wrong:
        message = console.refusal(body)
        assert not canary.find("kubectl's error", message), message


def without_values(body: dict[str, Any]) -> dict[str, Any]:
    """Return the same definition with other values."""
    spec = dict(body["spec"])
    spec["env"] = [{"name": entry["name"], "value": "to be replaced"} for entry in spec["env"]]
    spec["files"] = [{"path": entry["path"], "content": "to be replaced"} for entry in spec["files"]]
    return {**body, "spec": spec}


def patch(console: Console, body: dict[str, Any], kind: str, document: Any) -> None:
    location = (body["metadata"]["name"], "-n", body["metadata"]["namespace"])
    console.cluster.kubectl("patch", "ssec", *location, f"--type={kind}", "-p", json.dumps(document))
