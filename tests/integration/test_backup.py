"""Definitions that come back from a backup, beside objects that are newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.integration.console import pod, scoped_secret

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture
def firm(found: Founder) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


def backup(console: Console, namespace: str, name: str) -> dict[str, Any]:
    """Return a definition as a backup has it: as stored, without what only this object has."""
    body = console.cluster.get("ssec", name, "-n", namespace)
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        body["metadata"].pop(field, None)
    return body


def test_a_restored_definition_does_not_take_the_slot_of_a_newer_one(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(scoped_secret(f"{web}/old", secretName="db", env={"KEY": canary.value("backup old")}))
    saved = backup(console, web, "old")
    console.cluster.kubectl("delete", "ssec", "old", "-n", web)
    console.apply(scoped_secret(f"{web}/new", secretName="db", env={"KEY": canary.value("backup new")}))
    company.settle(web)

    refusal = console.refusal(saved)

    assert Reason.SLOT_TAKEN in refusal
    assert f"{web}/new" in refusal
    assert not canary.find("kubectl", refusal)
    console.create(pod(f"{web}/job", "db"))
    assert console.seen(web, "job").visible == {"KEY": canary.value("backup new")}


def test_a_restored_definition_brings_its_values_back_and_not_its_status(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(scoped_secret(f"{web}/db", env={"KEY": canary.value("backup first")}))
    console.wait_current(web, "db")
    saved = backup(console, web, "db")
    saved["status"]["missingEntries"] = [{"kind": "Env", "name": "KEY"}]
    saved["status"]["conditions"][0] |= {"status": "False", "reason": "KeyLost"}
    console.apply(scoped_secret(f"{web}/db", env={"KEY": canary.value("backup second")}))
    console.wait_current(web, "db")

    saved["metadata"]["annotations"].pop(names.LAST_APPLIED_ANNOTATION, None)
    console.write("replace", bodies=[saved])
    console.wait_current(web, "db")

    status = console.cluster.get("ssec", "db", "-n", web)["status"]
    assert not status.get("missingEntries")
    company.settle(web)
    console.create(pod(f"{web}/job", "db"))
    assert console.seen(web, "job").visible == {"KEY": canary.value("backup first")}
