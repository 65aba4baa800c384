"""Values from native Secrets that jobs can go without."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, SOURCES, pod, scoped_secret
from tests.integration.native_secrets import key_of, native, wait_missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

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


def wait_missing_entries(console: Console, namespace: str, *expected: tuple[str, str]) -> None:
    """Wait until the status lists just these entries, by kind and name."""

    def are_listed() -> bool:
        status = console.cluster.get("ssec", "db", "-n", namespace).get("status", {})
        listed = [(entry["kind"], entry["name"]) for entry in status.get("missingEntries", ())]
        return "observedGeneration" in status and listed == [*expected]

    wait_until(are_listed, f"status.missingEntries is {expected}", seconds=SECONDS)


def requeue_all(console: Console, namespace: str) -> None:
    """Have the controller look at the definition now, and not only after half a minute."""
    console.cluster.kubectl(
        "label", "ssec", "db", "-n", namespace, "--overwrite", f"looked={len(console.items('pods', namespace))}"
    )


@pytest.mark.usefixtures("role")
def test_job_runs_without_a_missing_optional_entry_and_the_next_one_gets_it(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    env: dict[str, Any] = {"PASSWORD": key_of("source", "password", optional=True), "KEY": canary.value("key")}
    files = {"/data/key": key_of("source", "file", optional=True)}
    console.apply(scoped_secret(f"{web}/db", env=env, files=files))
    wait_missing_entries(console, web, ("Env", "PASSWORD"), ("File", "/data/key"))
    ready = console.wait_condition(web, "db", "Ready", "True")
    company.settle(web)

    console.create(pod(f"{web}/without", "db"))
    without = console.seen(web, "without")
    console.apply(native(web, "source", password=canary.value("late"), file=canary.value("late file")))
    requeue_all(console, web)
    wait_missing_entries(console, web)
    company.settle(web)
    console.create(pod(f"{web}/with", "db"))
    complete = console.seen(web, "with")

    assert "without variable 'PASSWORD' and 1 more optional entries" in ready["message"]
    assert without.visible == {"KEY": canary.value("key")}
    assert "/data/key" not in without.files
    assert missing_in(console, web, "without") == ["/data/key", "PASSWORD"]
    assert complete.visible == {"KEY": canary.value("key"), "PASSWORD": canary.value("late")}
    assert complete.files["/data/key"] == canary.value("late file")
    assert missing_in(console, web, "with") == []


@pytest.mark.usefixtures("role")
def test_a_missing_key_leaves_out_its_entry_alone(firm: tuple[Company, str], console: Console, canary: Canary):
    company, web = firm
    console.apply(native(web, "source", user=canary.value("user")))
    fields = {"optional": True}
    env = {"USER_NAME": key_of("source", "user", **fields), "PASSWORD": key_of("source", "password", **fields)}
    console.apply(scoped_secret(f"{web}/db", env=env))
    wait_missing_entries(console, web, ("Env", "PASSWORD"))
    company.settle(web)

    console.create(pod(f"{web}/job", "db"))

    assert console.seen(web, "job").visible == {"USER_NAME": canary.value("user")}
    expression = {"name": "job", "image": "busybox", "args": ["${secrets.db.PASSWORD}"]}
    message = console.refusal(pod(f"{web}/expression", "db", containers=[expression]))
    assert "SourceMissing: container 'job' uses variable 'PASSWORD' of bundle 'db', which is optional" in message


@pytest.mark.usefixtures("role")
def test_pod_with_a_vanished_optional_source_waits_and_the_next_one_runs_without(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(native(web, "source", password=canary.value("gone")))
    env: dict[str, Any] = {"PASSWORD": key_of("source", "password", optional=True), "KEY": canary.value("still there")}
    console.apply(scoped_secret(f"{web}/db", env=env))
    wait_missing_entries(console, web)
    company.settle(web)
    console.cluster.kubectl("delete", "secret", "source", "-n", web)

    console.create(pod(f"{web}/waits", "db"))
    event = console.wait_event(web, "waits", "SourceMissing")
    wait_missing_entries(console, web, ("Env", "PASSWORD"))
    company.settle(web)
    console.create(pod(f"{web}/next", "db"))

    assert "or create the pod again, which then goes without this optional entry" in event["message"]
    assert console.seen(web, "next").visible == {"KEY": canary.value("still there")}
    console.apply(native(web, "source", password=canary.value("back again")))
    assert console.seen(web, "waits").visible == {
        "KEY": canary.value("still there"),
        "PASSWORD": canary.value("back again"),
    }


def test_unreadable_source_is_not_missing(firm: tuple[Company, str], console: Console):
    company, web = firm
    console.apply(scoped_secret(f"{web}/db", env={"PASSWORD": key_of("source", "password", optional=True)}))

    wait_missing(console, web, "may not read Secret 'source'", "manifests/optional/value-from.yaml")

    company.settle(web)
    assert "(SourceMissing)" in console.refusal(pod(f"{web}/job", "db"))


def missing_in(console: Console, namespace: str, name: str) -> list[str]:
    """Return what a pod's annotation says that it goes without."""
    body = console.cluster.get("pod", name, "-n", namespace)
    missing: list[str] = json.loads(body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]).get("missing", [])
    return missing
