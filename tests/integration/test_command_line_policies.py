"""`share`, `cordon`, `uncordon` and `rotate` as processes against the real API server with admission and controller."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret, secret_policy
from tests.integration.people import done, kubeconfig, person, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def firm(firm: Company) -> Company:
    """The organization, with the namespace of another project."""
    firm.namespace("api", "api")
    return firm


@pytest.fixture(scope="module")
def administrator(firm: Company) -> Path:
    """A person with the role `admin` in every namespace of the company, and nothing elsewhere."""
    return kubeconfig(firm, person(firm, "governor", "admin", *firm.namespaces), namespace=firm.home)


def test_share_gives_an_organizations_secret_to_projects_without_its_value(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    """Complaint 14: who may use a secret changes without the value."""
    api = f"{firm.organization}-api"
    console.apply(scoped_secret(f"{firm.home}/registry", "Organization", env={"A": canary.value("registry")}))
    before = console.items("ssec", firm.home)["registry"]["spec"]
    words = (names.Reason.POLICY_DENIED, f"policy '{firm.home}/share-registry'")

    printed = done("share", "registry", "--project", "web", kubeconfig=administrator)
    assert f"SecretPolicy '{firm.home}/share-registry' written" in printed
    assert "rule 'shared' allows jobs of organization" in printed
    firm.settle(web)
    assert console.is_refused(pod(f"{api}/no", "registry"), *words, "`projects` does not match")
    console.create(pod(f"{web}/yes", "registry"))

    done("share", "registry", "--none", kubeconfig=administrator)
    firm.settle(web)
    assert console.is_refused(pod(f"{web}/none", "registry"), *words, "allows no job")

    done("share", "registry", "--all", kubeconfig=administrator)
    firm.settle(web)
    console.create(pod(f"{api}/all", "registry"))
    assert console.items("ssec", firm.home)["registry"]["spec"] == before


def test_share_denies_sessions_and_leaves_access_as_it_is(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    console.apply(scoped_secret(f"{web}/quiet", env={"A": canary.value("quiet")}))
    done("share", "quiet", "-n", web, "--deny-exec", "--deny-debug", kubeconfig=administrator)
    spec = console.items("spol", web)["share-quiet"]["spec"]
    assert spec["interactive"] == {"exec": "Deny", "ephemeralContainers": "Deny"}
    firm.settle(web)
    console.create(pod(f"{web}/quiet", "quiet"))

    console.apply(secret_policy(f"{web}/limits", "quiet", rules=[{"name": "other", "serviceAccounts": ["other"]}]))
    done("share", "quiet", "-n", web, "--allow-exec", "--deny-attach", kubeconfig=administrator)
    spec = console.items("spol", web)["share-quiet"]["spec"]
    assert spec["interactive"] == {"exec": "Allow", "attach": "Deny", "ephemeralContainers": "Deny"}
    firm.settle(web)
    # The policy about sessions lets no job in that another policy keeps out.
    assert console.is_refused(pod(f"{web}/quiet-2", "quiet"), f"policy '{web}/limits'", "`serviceAccounts`")


def test_without_the_labels_of_the_namespace_share_and_cordon_write_no_policy(
    firm: Company, console: Console, canary: Canary
):
    console.apply(scoped_secret(f"{firm.web}/unlabeled", env={"A": canary.value("unlabeled")}))
    user, kubectl = person(firm, "policies-only", f"{names.DISTRIBUTION}-view", firm.web), console.cluster.kubectl
    resource = f"--resource={names.SECRET_POLICY_PLURAL}.{names.GROUP}"
    kubectl("create", "role", user, "-n", firm.web, "--verb=create,update,delete", resource)
    kubectl("create", "rolebinding", f"{user}-writes", "-n", firm.web, f"--role={user}", f"--user={user}")
    path = kubeconfig(firm, user, namespace=firm.web)

    for verb, code in ((("share", "unlabeled", "--all"), 2), (("cordon", "unlabeled"), 1)):
        result = run(*verb, kubeconfig=path)
        assert result.returncode == code
        assert f"you may not read the labels of namespace '{firm.web}'" in result.stderr
        assert result.stderr.count("\n") == 1
    assert console.items("spol", firm.web).keys().isdisjoint({"share-unlabeled", "cordon-unlabeled"})


def test_without_the_right_to_write_policies_share_and_cordon_say_so(
    web: str, developer: Path, console: Console, canary: Canary
):
    console.apply(scoped_secret(f"{web}/mine", env={"A": canary.value("mine")}))
    for verb in (("share", "mine", "--all"), ("cordon", "mine")):
        result = run(*verb, kubeconfig=developer)
        assert result.returncode == 1
        assert f"you may not write SecretPolicies in namespace '{web}'" in result.stderr
        assert result.stderr.count("\n") == 1
    assert console.items("spol", web).keys().isdisjoint({"share-mine", "cordon-mine"})


def test_share_refuses_what_would_govern_other_projects_and_what_another_person_wrote(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    console.apply(scoped_secret(f"{firm.home}/central", env={"A": canary.value("central")}, project="web"))
    central = run("share", "central", "--none", kubeconfig=administrator)
    assert central.returncode == 2
    assert "would also govern the definitions of this name of other projects" in central.stderr

    console.apply(scoped_secret(f"{web}/governed", env={"A": canary.value("governed")}))
    console.apply(secret_policy(f"{web}/share-governed", "governed", rules=[{"name": "theirs"}]))
    governed = run("share", "governed", "-n", web, "--none", kubeconfig=administrator)
    assert governed.returncode == 1
    assert "was not written by this command" in governed.stderr
    assert console.items("spol", web)["share-governed"]["spec"]["rules"] == [{"name": "theirs"}]


def test_cordon_denies_new_uses_with_the_reason_and_running_jobs_keep_the_bundle(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    """Complaint 17: in a breach, every new use is denied at once."""
    console.apply(scoped_secret(f"{web}/leaked", env={"A": canary.value("leaked")}))
    console.wait_current(web, "leaked")
    console.create(pod(f"{web}/running", "leaked"))
    console.seen(web, "running")

    printed = done("cordon", "leaked", "-n", web, "--reason", "leaked in a log!", kubeconfig=administrator)

    assert f"ScopedSecret '{web}/leaked' cordoned" in printed
    assert f"Still held by: {web}/running" in printed
    words = (f"policy '{web}/cordon-leaked', rule 'cordoned-leaked-in-a-log'",)
    wait_until(lambda: console.is_refused(pod(f"{web}/new", "leaked"), *words), "new uses are denied", seconds=SECONDS)
    assert console.seen(web, "running").env["A"] == canary.value("leaked")

    assert "uncordoned" in done("uncordon", "leaked", "-n", web, kubeconfig=administrator)
    assert "is not cordoned" in done("uncordon", "leaked", "-n", web, kubeconfig=administrator)
    firm.settle(web)
    console.create(pod(f"{web}/new", "leaked"))


def test_rotate_replaces_a_value_by_a_random_one_that_no_output_shows(
    web: str, developer: Path, console: Console, canary: Canary
):
    """Complaint 9: a value that is long enough, and that no one has to mask because no one sees it."""
    env = {"A": canary.value("rotate a"), "B": canary.value("rotate b")}
    console.apply(scoped_secret(f"{web}/rotated", env=env))
    before = console.items("ssec", web)["rotated"]["spec"]["env"]

    result = run("rotate", "rotated", "A", "--generate", "length=40,alphabet=hex", kubeconfig=developer)

    assert result.returncode == 0, result.stderr
    after = console.items("ssec", web)["rotated"]["spec"]["env"]
    assert after[1] == before[1]
    console.wait_current(web, "rotated")
    console.create(pod(f"{web}/rotated", "rotated"))
    value = console.seen(web, "rotated").env["A"]
    assert len(value) == 40
    assert set(value) <= set("0123456789abcdef")
    assert value not in result.stdout + result.stderr

    missing = run("rotate", "rotated", "C", "--generate", "", kubeconfig=developer)
    assert missing.returncode == 2
    assert "has no entry 'C'" in missing.stderr


def test_rotate_keeps_the_former_value_for_the_stated_time(web: str, developer: Path, console: Console, canary: Canary):
    first = canary.value("kept first")
    console.apply(scoped_secret(f"{web}/kept", env={"A": first}))

    def rotated() -> str:
        flags = ("--generate", "length=40", "--keep-previous", "24h")
        printed = done("rotate", "kept", "A", *flags, "-n", web, kubeconfig=developer)
        console.wait_current(web, "kept")
        return printed

    def seen(name: str) -> dict[str, str]:
        console.create(pod(f"{web}/{name}", "kept"))
        return dict(console.seen(web, name).visible)

    assert "jobs get the former value as A_PREVIOUS" in rotated()
    once = seen("kept-1")
    assert once.keys() == {"A", "A_PREVIOUS"}
    assert once["A_PREVIOUS"] == first != once["A"]
    rotated()
    twice = seen("kept-2")
    assert twice["A_PREVIOUS"] == once["A"] != twice["A"]
    assert "sealed until" in done("get", "kept", "-n", web, kubeconfig=developer)

    # Its time is over: new jobs run without it.
    over = [{"op": "replace", "path": "/spec/env/1/expireTime", "value": "2026-01-01T00:00:00Z"}]
    console.cluster.kubectl("patch", "ssec", "kept", "-n", web, "--type=json", "-p", json.dumps(over))
    console.wait_current(web, "kept")
    assert seen("kept-3") == {"A": twice["A"]}
    assert "A_PREVIOUS" not in done("get", "--effective", "-p", "web", kubeconfig=developer)
