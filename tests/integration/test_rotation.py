"""Values that grow old: fingerprints in the status, reminders, and definitions that expire."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture
def firm(found: Founder) -> tuple[Company, str]:
    """A company and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


def in_seconds(seconds: float) -> str:
    """Return a time soon to come."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def entries(console: Console, web: str, generation: int) -> dict[str, dict[str, Any]]:
    """Wait for the status of a generation, and return its entries by name."""

    def status() -> dict[str, Any]:
        found: dict[str, Any] = console.cluster.get("ssec", "aws", "-n", web).get("status", {})
        return found

    wait_until(lambda: status().get("observedGeneration") == generation, "the status", seconds=SECONDS)
    return {entry["name"]: entry for entry in status()["entries"]}


def test_status_lists_fingerprint_and_age_of_each_sealed_value(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    env: dict[str, str | dict[str, Any]] = {
        "ONE": canary.value("first"),
        "TWO": canary.value("same"),
        "REGION": {"value": "eu", "sensitive": False},
    }
    manifest = scoped_secret(f"{web}/aws", env=env, files={"/data/key": canary.value("same")})
    console.apply(manifest)

    told = entries(console, web, 1)

    assert told.keys() == {"ONE", "TWO", "/data/key"}
    assert {entry["kind"] for entry in told.values()} == {"Env", "File"}
    assert all(re.fullmatch("[0-9a-f]{10}", entry["fingerprint"]) for entry in told.values())
    # Equal values cannot be told by their fingerprints.
    assert len({entry["fingerprint"] for entry in told.values()}) == 3
    created = console.cluster.get("ssec", "aws", "-n", web)["metadata"]["creationTimestamp"]
    assert {entry["changedTime"] for entry in told.values()} == {created}

    console.apply(manifest)
    console.apply(scoped_secret(f"{web}/aws", env={**env, "ONE": canary.value("second")}))
    later = entries(console, web, 2)

    assert later.keys() == {"ONE", "TWO"}
    assert later["TWO"] == told["TWO"]
    assert later["ONE"]["fingerprint"] != told["ONE"]["fingerprint"]
    assert later["ONE"]["changedTime"] >= told["ONE"]["changedTime"]


def test_a_rotation_that_is_not_due_is_shown(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    console.apply(
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("young")}, rotation={"intervalDays": 90, "remindDays": 7})
    )

    condition = console.wait_condition(web, "aws", "RotationDue", "False")

    stored = console.cluster.get("ssec", "aws", "-n", web)
    remind = datetime.fromisoformat(stored["metadata"]["creationTimestamp"]) + timedelta(days=83)
    assert condition["reason"] == "UpToDate"
    assert condition["message"] == f"every value is new enough until {remind.isoformat().replace('+00:00', 'Z')}"
    assert console.conditions(stored)["Ready"]["status"] == "True"


def test_an_old_value_is_due_at_once_when_a_rotation_is_asked_for(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    """The status remembers since when the value is there; a test cannot wait for a day, so it changes the memory."""
    company, web = firm
    manifest = scoped_secret(f"{web}/aws", env={"KEY": canary.value("old")})
    console.apply(manifest)
    told = entries(console, web, 1)["KEY"]
    old = (datetime.now(UTC) - timedelta(days=89)).strftime("%Y-%m-%dT%H:%M:%SZ")
    console.set_status(web, "aws", {"entries": [{**told, "changedTime": old}]})

    manifest["spec"]["rotation"] = {"intervalDays": 90, "remindDays": 7}
    console.apply(manifest)

    condition = console.wait_condition(web, "aws", "RotationDue", "True")
    assert condition["reason"] == "RotationDue"
    assert f"variable 'KEY' has had its value since {old}" in condition["message"]
    assert console.wait_event(web, "aws", "RotationDue")["message"] == condition["message"]
    company.settle(web)
    console.create(pod(f"{web}/late", "aws"))
    assert console.seen(web, "late").visible["KEY"] == canary.value("old")

    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("new")}, rotation={"intervalDays": 90}))
    console.wait_condition(web, "aws", "RotationDue", "False")
    assert len(console.events(web, "aws", "RotationDue")) == 1


def test_an_expired_definition_denies_the_next_pod_and_leaves_the_present_one_alone(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    env = {"KEY": canary.value("expires")}
    console.apply(scoped_secret(f"{web}/aws", env=env))
    company.settle(web)
    console.create(pod(f"{web}/present", "aws"))
    assert console.seen(web, "present").visible == env
    (bundle,) = named_secrets(console.cluster.get("pod", "present", "-n", web))
    before = console.cluster.get("secret", bundle, "-n", web)
    manifest = scoped_secret(f"{web}/aws", env=env, expireTime=in_seconds(4))

    console.apply(manifest)

    assert console.wait_condition(web, "aws", "Expired", "True")["reason"] == "Expired"
    assert console.wait_condition(web, "aws", "Ready", "False")["reason"] == "Expired"
    assert f"Expired: bundle 'aws': definition '{web}/aws' has expired" in console.refusal(pod(f"{web}/next", "aws"))
    assert console.cluster.get("secret", bundle, "-n", web) == before
    console.wait_event(web, "aws", "Expired")
    stored = console.cluster.get("ssec", "aws", "-n", web)
    # Others may still be changed, and the same manifest may be applied again.
    console.apply(manifest)
    assert console.cluster.get("ssec", "aws", "-n", web) == stored

    console.apply(scoped_secret(f"{web}/aws", env=env, expireTime=in_seconds(3600)))
    console.wait_condition(web, "aws", "Ready", "True")
    company.settle(web)
    console.create(pod(f"{web}/next", "aws"))
    assert console.seen(web, "next").visible == env
    assert len(console.events(web, "aws", "Expired")) == 1


def test_expire_time_in_the_past_is_denied(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    past = scoped_secret(f"{web}/aws", env={"KEY": canary.value("past")}, expireTime=in_seconds(-1))

    message = console.refusal(past)

    assert "`spec.expireTime` must be in the future; give a later time, or leave it out" in message
    assert not console.exists("ssec", web, "aws")
