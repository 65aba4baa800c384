"""Dry runs of every verb that writes, as processes: nothing is stored, and what is printed is for Git."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.integration.console import pod, scoped_secret
from tests.integration.people import done, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

KEPT = "kept"
COMMANDS = {
    "set": ("set", KEPT, "A=@-"),
    "unset": ("unset", KEPT, "B"),
    "rotate": ("rotate", KEPT, "A", "--generate", "length=40"),
    "rotate with the previous value": ("rotate", KEPT, "A", "--generate", "length=40", "--keep-previous", "24h"),
    "share": ("share", KEPT, "--project", "web"),
    "cordon": ("cordon", KEPT, "--reason", "leak"),
    "cordon of many": ("cordon", "-l", "vendor=ci"),
    "uncordon": ("uncordon", "stopped"),
    "delete": ("delete", KEPT),
}


@pytest.fixture(scope="module")
def firm(firm: Company, console: Console, canary: Canary) -> Company:
    """The organization, with two secrets of its project."""
    web = firm.web
    for name in (KEPT, "stopped"):
        env = {key: canary.value(f"dry {name} {key}") for key in "AB"}
        console.apply(scoped_secret(f"{web}/{name}", env=env, labels={"vendor": "ci"}))
        console.wait_current(web, name)
    return firm


@pytest.fixture(scope="module")
def governor(governor: Path) -> Path:
    """A person with the role `admin` in the project's namespace, who has cordoned one secret."""
    done("cordon", "stopped", kubeconfig=governor)
    return governor


def stored(console: Console, namespace: str) -> dict[str, object]:
    """Return the definitions and policies of a namespace, without their statuses."""
    return {
        f"{kind}/{name}": body["spec"]
        for kind in ("ssec", "spol")
        for name, body in console.items(kind, namespace).items()
    }


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_dry_run_stores_nothing_and_prints_the_object_without_a_value(
    command: tuple[str, ...], web: str, governor: Path, console: Console, canary: Canary
):
    before = stored(console, web)
    given: dict[str, Any] = {"kubeconfig": governor, "stdin": canary.value("dry new")}

    told = {kind: run(*command, f"--dry-run={kind}", **given) for kind in ("client", "server")}
    named = done(*command, "--dry-run=client", "-o", "name", **given)
    documents = [
        *yaml.safe_load_all(done(*command, "--dry-run=client", "-o", "yaml", **given)),
        json.loads(done(*command, "--dry-run=server", "-o", "json", **given)),
    ]

    for kind, result in told.items():
        assert result.returncode == 0, result.stderr
        assert f"({kind} dry run)" in result.stdout
        assert canary.find(kind, result.stdout + result.stderr) == []
    assert all(line.partition("/")[0].endswith(f".{names.GROUP}") for line in named.splitlines())
    assert all(each["kind"] in (names.SCOPED_SECRET_KIND, names.SECRET_POLICY_KIND, "List") for each in documents)
    assert canary.find("documents", json.dumps(documents)) == []
    assert stored(console, web) == before


def test_client_dry_run_of_set_is_a_manifest_that_git_can_hold_and_a_job_gets_its_value(
    web: str, governor: Path, console: Console, canary: Canary
):
    value = canary.value("from git")
    document = yaml.safe_load(
        done("set", KEPT, "C=@-", "--dry-run=client", "-o", "yaml", kubeconfig=governor, stdin=value)
    )

    assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert document["metadata"].keys() == {"name", "namespace", "labels"}
    assert canary.find("document", json.dumps(document)) == []
    console.apply(document)
    console.wait_current(web, KEPT)
    console.create(pod(f"{web}/git", KEPT))
    seen = console.seen(web, "git")
    assert (seen.env["C"], seen.env["A"]) == (value, canary.value(f"dry {KEPT} A"))


def test_breach_stops_every_secret_of_a_vendor_at_once(
    firm: Company, web: str, governor: Path, console: Console, canary: Canary
):
    """Complaint 17: a breach is answered by labels, and the inventory says who holds what."""
    for name in ("one", "two"):
        env = {"A": canary.value(f"breach {name}")}
        console.apply(scoped_secret(f"{web}/{name}", env=env, labels={"vendor": "breached"}))
        console.wait_current(web, name)
    console.create(pod(f"{web}/holder", "one"))
    console.seen(web, "holder")

    inventory = json.loads(done("report", "-l", "vendor=breached", "-o", "json", "--stale", "0d", kubeconfig=governor))
    printed = done("cordon", "-l", "vendor=breached", "--reason", "breach", kubeconfig=governor)

    assert {each["secret"] for each in inventory["findings"]} == {f"{web}/one", f"{web}/two"}
    assert printed.count(" cordoned: policy ") == 2
    assert f"Still held by: {web}/holder" in printed
    rules = {name: body["spec"]["rules"][0]["name"] for name, body in console.items("spol", web).items()}
    assert (rules["cordon-one"], rules["cordon-two"]) == ("cordoned-breach", "cordoned-breach")
    assert done("uncordon", "-l", "vendor=breached", kubeconfig=governor).count(" uncordoned") == 2
    assert "cordon-one" not in console.items("spol", web)
    nothing = run("cordon", "-l", "vendor=none", kubeconfig=governor)
    assert (nothing.returncode, "has the labels 'vendor=none'" in nothing.stderr) == (1, True)
    assert run("cordon", kubeconfig=governor).returncode == 2
