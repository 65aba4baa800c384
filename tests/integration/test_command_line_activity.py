"""`audit` and `report --unused` as processes: what the cluster tells, with its source, and what it cannot tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.integration.people import done, kubeconfig, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def firm(firm: Company, console: Console, canary: Canary) -> Company:
    """The organization, with a secret of its project that was created, changed, governed and used."""
    web = firm.web
    console.apply(scoped_secret(f"{web}/aws", env={"A": canary.value("audit a")}))
    console.apply(scoped_secret(f"{web}/other", env={"B": canary.value("audit b")}))
    for name in ("aws", "other"):
        console.wait_current(web, name)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    return firm


@pytest.fixture(scope="module")
def viewer(firm: Company) -> Path:
    """A person who may read ScopedSecrets of the namespace and nothing else."""
    web, user = firm.web, f"names-only-{firm.organization}"
    kubectl = firm.console.cluster.kubectl
    resource = f"--resource={names.SCOPED_SECRET_PLURAL}.{names.GROUP}"
    kubectl("create", "role", "names", "-n", web, "--verb=get,list", resource)
    kubectl("create", "rolebinding", "names", "-n", web, "--role=names", f"--user={user}")
    return kubeconfig(firm, user, namespace=web)


def test_audit_lists_changes_and_uses_with_their_source_the_newest_first(
    web: str, governor: Path, console: Console, canary: Canary
):
    done("set", "aws", "C=@-", kubeconfig=governor, stdin=canary.value("audit c"))
    done("cordon", "aws", "--reason", "leak", kubeconfig=governor)
    console.wait_current(web, "aws")

    def is_governed() -> bool:
        return bool(console.items("spol", web)["cordon-aws"].get("status", {}).get("matched"))

    wait_until(is_governed, "the policy says what it governs", seconds=SECONDS)
    refusal = console.refusal(pod(f"{web}/denied", "aws"))
    assert "cordon-aws" in refusal

    document = json.loads(done("audit", "aws", "--since", "1h", "-o", "json", kubeconfig=governor))
    records: list[dict[str, Any]] = document["records"]

    assert [each["time"] for each in records] == sorted((each["time"] for each in records), reverse=True)
    seen = {(each["action"], each["object"], each["source"]) for each in records}
    secret = f"{names.SCOPED_SECRET_KIND} {web}/aws"
    assert ("created", secret, "metadata.creationTimestamp") in seen
    assert ("value changed", secret, "status.entries") in seen
    assert ("used", f"Pod {web}/job", "pod") in seen
    assert ("created", f"{names.SECRET_POLICY_KIND} {web}/cordon-aws", "metadata.creationTimestamp") in seen
    assert {each["detail"] for each in records if each["action"] == "value changed"} == {"variable 'A'", "variable 'C'"}
    (used,) = (each for each in records if each["action"] == "used")
    assert used["by"].startswith("user ")
    assert any(
        each["by"] == f"program {names.PERSON_FIELD_MANAGER}" and each["source"] == "metadata.managedFields"
        for each in records
    )
    assert not any(each["object"].endswith("/other") for each in records)
    assert any("audit log of the API server" in text for text in document["notKnown"])
    assert any("events live for an hour" in text for text in document["notKnown"])
    assert canary.find("audit", json.dumps(document)) == []


def test_audit_of_a_namespace_is_a_table_with_events(web: str, governor: Path, console: Console, canary: Canary):
    soon = (datetime.now(UTC) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
    console.apply(scoped_secret(f"{web}/ended", env={"A": canary.value("ended")}, expireTime=soon))
    console.wait_event(web, "ended", "Expired")
    result = run("audit", kubeconfig=governor)

    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["TIME", "ACTION", "OBJECT", "BY", "DETAIL", "SOURCE"]
    assert {row.split()[-1] for row in rows} >= {"metadata.creationTimestamp", "status.entries", "pod", "event"}
    assert f"{web}/other" in result.stdout
    assert "Not known: who sent a request" in result.stderr
    assert canary.find("table", result.stdout + result.stderr) == []


def test_person_who_may_read_names_only_is_told_what_could_not_be_read(web: str, viewer: Path):
    result = run("audit", "aws", kubeconfig=viewer)

    assert result.returncode == 0, result.stderr
    assert f"{names.SCOPED_SECRET_KIND} {web}/aws" in result.stdout
    for what in ("SecretPolicies", "events", "pods"):
        assert f"the {what} of namespace '{web}'" in result.stderr


@pytest.mark.parametrize("since", ["1", "h", "24 hours"])
def test_time_of_another_form_is_refused(governor: Path, since: str):
    result = run("audit", "--since", since, kubeconfig=governor)
    assert (result.returncode, "--since must be a time such as 30m, 24h or 7d" in result.stderr) == (2, True)


def test_report_calls_nothing_unused_that_it_cannot_know(web: str, governor: Path, viewer: Path):
    """Complaint 16: a secret whose pods cannot be read is not called unused."""
    flags = ("report", "--unused", "0d", "-o", "json")
    known = run(*flags, kubeconfig=governor)
    unknown = run(*flags, kubeconfig=viewer)

    found = {each["secret"]: each["detail"] for each in json.loads(known.stdout)["findings"]}
    assert f"{web}/aws" not in found
    assert found[f"{web}/other"].startswith("no pod that you may read has it now")
    assert "earlier uses are not known" in known.stderr
    assert json.loads(unknown.stdout)["findings"] == []
    assert "whether a secret is unused at all" in unknown.stderr
