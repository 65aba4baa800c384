"""Values from native Secrets: with the role for it and without, with the real ServiceAccount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, SOURCES, document, pod, scoped_secret
from tests.integration.native_secrets import key_of, native, wait_missing
from tests.support.installed import CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration


@pytest.fixture
def firm(found: Founder, console: Console) -> Iterator[tuple[Company, str]]:
    """A company and the namespace of its project, whose native Secrets hold values only as long as the test lasts."""
    company = found()
    web = company.namespace("web", "web")
    yield company, web
    # Their statuses change when the role goes: no other test shall see that.
    for namespace in company.namespaces:
        console.cluster.kubectl("delete", "ssec", "--all", "-n", namespace)
        console.cluster.kubectl("delete", "secret", "--ignore-not-found", "-n", namespace, *SOURCES)


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
def test_pod_with_a_vanished_source_waits_and_names_it(firm: tuple[Company, str], console: Console, canary: Canary):
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
def test_value_that_cannot_be_a_variable_is_reported_by_name(
    content: bytes, words: str, firm: tuple[Company, str], console: Console
):
    _, web = firm
    console.apply(native(web, "source", password=content))
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))

    wait_missing(console, web, "key 'password' of Secret 'source'", words)


def test_without_the_role_the_definition_names_the_missing_role(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("forbidden")))
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")}))

    wait_missing(console, web, "may not read Secret 'source'", "manifests/optional/value-from.yaml")
    company.settle(web)
    assert "(SourceMissing)" in console.refusal(pod(f"{web}/job", "db"))


def test_a_role_for_one_namespace_and_one_secret_is_enough_there_and_nowhere_else(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    api = company.namespace("api", "api")
    console.apply(*role_for(web, "source"))
    for namespace in (web, api):
        console.apply(native(namespace, "source", password=canary.value("one namespace")))
        console.apply(scoped_secret(f"{namespace}/db", env={"PASSWORD": key_of("source", "password")}))

    console.wait_condition(web, "db", "Ready", "True")
    wait_missing(console, api, f"may not read Secret 'source' of namespace '{api}'", "the Role in it")
    company.settle(web)
    console.create(pod(f"{web}/job", "db"))
    assert console.seen(web, "job").visible == {"PASSWORD": canary.value("one namespace")}
    assert "(SourceMissing)" in console.refusal(pod(f"{api}/job", "db"))


@pytest.mark.usefixtures("role")
def test_an_entry_can_move_to_a_native_secret_and_back(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("from there")))
    here = scoped_secret(f"{web}/db", env={"PASSWORD": canary.value("from here")})
    there = scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")})

    seen = {}
    for name, body in (("one", here), ("two", there), ("three", here)):
        console.apply(body)
        console.wait_current(web, "db")
        company.settle(web)
        console.create(pod(f"{web}/{name}", "db"))
        seen[name] = console.seen(web, name).visible["PASSWORD"]

    assert seen == {
        "one": canary.value("from here"),
        "two": canary.value("from there"),
        "three": canary.value("from here"),
    }


def test_apply_warns_while_the_role_is_missing(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    operator.wait_told_of_roles()
    operator.mount_material()
    body = scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")})

    def warning(*flags: str) -> str:
        return console.cluster.kubectl("apply", *flags, "-f", "-", input=document([body])).stderr

    # The admission server reads its material again every few seconds.
    wait_until(lambda: "Warning: " in warning("--dry-run=server"), "the person is warned", seconds=SECONDS)
    first, again = warning(), warning()

    assert "Warning: `spec.env[0].valueFrom` needs a role that the operator does not have" in first
    assert "manifests/optional/value-from.yaml" in first
    assert again == ""


@pytest.mark.usefixtures("role")
def test_apply_does_not_warn_when_the_role_exists(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    operator.wait_told_of_roles()
    body = document([scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password")})])

    def is_silent() -> bool:
        operator.mount_material()
        return not console.cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=body).stderr

    wait_until(is_silent, "nobody is warned", seconds=SECONDS)


@pytest.mark.parametrize("name", ["ssec-abc-0", "scoped-secrets-sealing-2", "scoped-secrets-admission"])
def test_bundles_and_operator_secrets_are_denied_as_sources(name: str, firm: tuple[Company, str], console: Console):
    _, web = firm

    message = console.refusal(scoped_secret(f"{web}/db", env={"PASSWORD": key_of(name, "key")}))

    assert "ReservedName: `spec.env[0].valueFrom`" in message


@pytest.mark.usefixtures("role")
def test_service_account_token_is_denied_as_a_source(firm: tuple[Company, str], console: Console):
    _, web = firm
    body = native(web, "token", "kubernetes.io/service-account-token")
    body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    console.apply(body)
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("token", "token")}))

    wait_missing(console, web, "Secret 'token' holds credentials")


def role_for(namespace: str, secret: str) -> list[dict[str, Any]]:
    """Return the Role for one Secret of one namespace, and its binding, as the manifest's comment has them."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "scoped-secrets-value-from", "namespace": namespace}
    _, _, account_namespace, account = CONTROLLER_USER.split(":")
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": account_namespace}],
        },
    ]
