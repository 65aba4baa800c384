"""Values from native Secrets: with the role for it and without, with the real ServiceAccount."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, SOURCES, pod, scoped_secret
from tests.support.installed import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

ROLE: Path = ROOT / "manifests" / "optional" / "value-from.yaml"


@pytest.fixture
def firm(found: Founder, console: Console) -> Iterator[tuple[Company, str]]:
    """A company and the namespace of its project, whose native Secrets hold values only as long as the test lasts."""
    company = found()
    web = company.namespace("web", "web")
    yield company, web
    console.cluster.kubectl("delete", "secret", "--ignore-not-found", "-n", web, *SOURCES)


@pytest.fixture
def role(console: Console) -> Iterator[None]:
    """The optional role, for one test."""
    console.cluster.kubectl("apply", "-f", str(ROLE))
    yield
    console.cluster.kubectl("delete", "--ignore-not-found", "-f", str(ROLE))


def native(namespace: str, name: str, kind: str = "Opaque", **data: str | bytes) -> dict[str, Any]:
    """Return a native Secret as a synchroniser writes it."""
    encoded = {key: base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for key, v in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": kind,
        "data": encoded,
    }


def key_of(secret: str, key: str) -> dict[str, Any]:
    """Return the field of an entry that takes its value from there."""
    return {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def wait_missing(console: Console, namespace: str, *words: str) -> None:
    """Wait until the definition says what it misses."""

    def says_so() -> bool:
        ready = console.conditions(console.cluster.get("ssec", "db", "-n", namespace)).get("Ready", {})
        return ready.get("reason") == "SourceMissing" and all(word in ready["message"] for word in words)

    wait_until(says_so, f"a condition with {words}", seconds=SECONDS)


@pytest.mark.usefixtures("role")
def test_values_come_from_native_secrets_and_a_new_value_reaches_the_next_pod(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("first"), file=canary.value("file")))
    env, files = {"PASSWORD": key_of("source", "password")}, {"/data/key": key_of("source", "file")}
    console.apply(scoped_secret(f"{web}/db", env=env, files=files))
    console.wait_condition(web, "db", "Ready", "True")
    company.settle(web)

    console.create(pod(f"{web}/one", "db"))
    one = console.seen(web, "one")
    console.apply(native(web, "source", password=canary.value("second"), file=canary.value("file")))
    console.create(pod(f"{web}/two", "db"))

    assert one.visible["PASSWORD"] == canary.value("first")
    assert console.seen(web, "two").visible["PASSWORD"] == canary.value("second")
    assert console.seen(web, "one").visible["PASSWORD"] == canary.value("first")
    assert canary.value("file") in [*console.seen(web, "two").files.values()]


@pytest.mark.usefixtures("role")
def test_a_missing_secret_or_key_refuses_pods_until_it_is_there(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))
    wait_missing(console, web, "Secret 'source'", "create it")
    company.settle(web)
    assert "(SourceMissing)" in console.refusal(pod(f"{web}/early", "db"))

    console.apply(native(web, "source", other="x"))
    wait_missing(console, web, "key 'password' of Secret 'source'", "add it")
    console.apply(native(web, "source", password=canary.value("late")))
    console.wait_condition(web, "db", "Ready", "True")
    company.settle(web)

    console.create(pod(f"{web}/later", "db"))
    assert console.seen(web, "later").visible["PASSWORD"] == canary.value("late")


@pytest.mark.usefixtures("role")
def test_a_pod_whose_source_disappears_waits_and_says_for_what(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("gone")))
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))
    console.wait_condition(web, "db", "Ready", "True")
    company.settle(web)
    console.cluster.kubectl("delete", "secret", "source", "-n", web)

    console.create(pod(f"{web}/waits", "db"))

    event = console.wait_event(web, "waits", "SourceMissing")
    assert (event["type"], f"definition '{web}/db': Secret 'source'" in event["message"]) == ("Warning", True)
    assert not console.bundles(web)
    wait_missing(console, web, "Secret 'source'")
    console.apply(native(web, "source", password=canary.value("back")))
    assert console.seen(web, "waits").visible["PASSWORD"] == canary.value("back")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a" * (32 * 1024 + 1), "at most 32 KiB"), (b"a\0b", "UTF-8 without NUL"), (b"\xff", "UTF-8 without NUL")],
    ids=["too large", "NUL", "no UTF-8"],
)
@pytest.mark.usefixtures("role")
def test_what_cannot_be_a_variable_is_told_by_name(
    content: bytes, words: str, firm: tuple[Company, str], console: Console
):
    _, web = firm
    console.apply(native(web, "source", password=content))
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))

    wait_missing(console, web, "key 'password' of Secret 'source'", words)


def test_without_the_role_the_definition_says_which_one_is_missing(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("forbidden")))
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))

    wait_missing(console, web, "may not read Secret 'source'", "manifests/optional/value-from.yaml")
    company.settle(web)
    assert "(SourceMissing)" in console.refusal(pod(f"{web}/job", "db"))


@pytest.mark.parametrize("name", ["ssec-abc-0", "scoped-secrets-sealing-2", "scoped-secrets-admission"])
def test_bundles_and_the_operators_own_secrets_are_refused_by_name(
    name: str, firm: tuple[Company, str], console: Console
):
    _, web = firm

    message = console.refusal(scoped_secret(f"{web}/db", env={"PASSWORD": key_of(name, "key")}))

    assert "ReservedName: `spec.env[0].valueFrom`" in message


@pytest.mark.usefixtures("role")
def test_a_token_of_a_service_account_is_no_source(firm: tuple[Company, str], console: Console):
    _, web = firm
    body = native(web, "token", "kubernetes.io/service-account-token")
    body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    console.apply(body)
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("token", "token")}))

    wait_missing(console, web, "Secret 'token' holds credentials")
