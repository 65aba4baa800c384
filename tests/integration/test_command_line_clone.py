"""`clone` and `rename` as processes against the real API server: as a governor, a developer and a viewer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cli.terminal import Terminal
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, secret_policy, workload
from tests.integration.people import done, kubeconfig, person, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Staff:
    """A company with two projects, and the kubeconfigs of its people, who see both projects' namespaces."""

    company: Company
    web: str
    shop: str
    governor: Path
    developer: Path
    viewer: Path

    @property
    def console(self) -> Console:
        """An administrator's kubectl."""
        return self.company.console

    def stored(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a definition."""
        return self.console.cluster.get("ssec", name, "-n", namespace)

    def create(self, name: str, value: str, *flags: str) -> None:
        """Store a secret with one value in the first project."""
        done("create", name, "-e", "KEY=@-", "-n", self.web, *flags, kubeconfig=self.governor, stdin=value)
        self.console.wait_current(self.web, name)

    def value_in_job(self, namespace: str, bundle: str) -> str:
        """Return what a job of a namespace finds in the variable of a bundle."""
        self.console.create(pod(f"{namespace}/job-{bundle}", bundle))
        return self.console.seen(namespace, f"job-{bundle}").env["KEY"]

    def end_job(self, namespace: str, name: str) -> None:
        """Let the pod of a Job succeed, and wait until the Job is complete."""

        def pods() -> list[str]:
            found = self.console.items("pods", namespace, "-l", f"batch.kubernetes.io/job-name={name}")
            return list(found)

        wait_until(lambda: bool(pods()), f"the pod of Job {name}", seconds=SECONDS)
        for each in pods():
            self.console.set_phase(namespace, each, "Succeeded")
        command = ("wait", "job", name, "-n", namespace, "--for=condition=Complete", f"--timeout={SECONDS:g}s")
        self.console.cluster.kubectl(*command)


@pytest.fixture(scope="module")
def staff(firm: Company, console: Console) -> Staff:
    company, web, shop = firm, firm.web, firm.namespace("shop", "shop")
    users = {name: person(company, name, role, web, shop) for name, role in ROLES.items()}
    role = f"lists-{company.organization}"
    console.cluster.kubectl("create", "clusterrole", role, "--verb=get,list", "--resource=namespaces")
    for name, user in users.items():
        console.cluster.kubectl(
            "create", "clusterrolebinding", f"{role}-{name}", f"--clusterrole={role}", f"--user={user}"
        )
    configs = {name: kubeconfig(company, user, namespace=web) for name, user in users.items()}
    return Staff(company, web, shop, configs["governor"], configs["developer"], configs["viewer"])


ROLES = {"governor": "admin", "developer": "edit", "viewer": "view"}


@pytest.fixture(autouse=True)
def _running(operator: InstalledOperator) -> None:
    """Every test begins with the operator at work."""
    del operator


def test_a_governor_clones_into_another_project_and_a_job_gets_the_value(staff: Staff, canary: Canary):
    flags = ("-d", "what it is for", "-l", "tier=test", "--rotate-every", "90d")
    staff.create("aws", canary.value("clone"), *flags)

    printed = done("clone", "aws", "aws-copy", "-n", staff.shop, kubeconfig=staff.governor)

    assert f"ScopedSecret '{staff.shop}/aws-copy' is ready: scope Project" in printed
    assert "Shadows: nothing" in printed
    assert "Usable by: " in printed
    stored = staff.stored(staff.shop, "aws-copy")
    assert stored["metadata"]["labels"] == {"tier": "test"}
    assert stored["spec"]["description"] == "what it is for"
    assert stored["spec"]["rotation"]["intervalDays"] == 90
    assert "copyFrom" not in stored["spec"]
    assert staff.value_in_job(staff.shop, "aws-copy") == canary.value("clone")
    again = done("clone", "aws", "aws-copy", "-n", staff.shop, kubeconfig=staff.governor)
    assert again.splitlines()[0] == printed.splitlines()[0]
    assert staff.stored(staff.shop, "aws-copy")["spec"] == stored["spec"]


def test_without_flags_the_copy_stands_beside_its_source(staff: Staff, canary: Canary):
    staff.create("beside", canary.value("beside"))

    done("clone", f"{staff.web}/beside", "beside-2", kubeconfig=staff.governor)

    assert staff.value_in_job(staff.web, "beside-2") == canary.value("beside")


def test_a_developer_is_asked_for_the_values(staff: Staff, canary: Canary):
    staff.create("asked", canary.value("not-copied"))
    typed = canary.value("typed")

    without_terminal = run("clone", "asked", "asked-2", kubeconfig=staff.developer)
    with Terminal("clone", "asked", "asked-2", "--kubeconfig", str(staff.developer)) as terminal:
        terminal.answer("Value for variable 'KEY': ", typed)
        terminal.answer("again: ", typed)
        code, printed = terminal.end()
        shown = terminal.shown.decode()

    assert without_terminal.returncode == 2
    assert without_terminal.stderr.count("\n") == 1
    assert "ask an administrator for the verb `copy` on it" in without_terminal.stderr
    assert code == 0, shown
    assert f"ScopedSecret '{staff.web}/asked-2' is ready" in printed
    assert typed not in shown + printed
    assert staff.value_in_job(staff.web, "asked-2") == typed


def test_a_viewer_creates_no_copy_and_renames_nothing(staff: Staff, canary: Canary):
    staff.create("seen", canary.value("seen"))

    results = [
        run(*verb, kubeconfig=staff.viewer) for verb in (("clone", "seen", "mine"), ("rename", "seen", "mine", "--yes"))
    ]

    assert all(result.returncode != 0 and result.stderr.count("\n") == 1 for result in results)
    assert "you may not copy ScopedSecret" in results[1].stderr
    assert not staff.console.exists("ssec", staff.web, "mine")
    assert staff.console.exists("ssec", staff.web, "seen")


def test_a_name_that_is_taken_is_not_touched(staff: Staff, canary: Canary):
    staff.create("first", canary.value("first"))
    staff.create("second", canary.value("second"))
    before = staff.stored(staff.web, "second")["spec"]

    result = run("clone", "first", "second", kubeconfig=staff.governor)

    assert result.returncode == 1
    assert f"ScopedSecret '{staff.web}/second' exists, and is no copy of '{staff.web}/first'" in result.stderr
    assert staff.stored(staff.web, "second")["spec"] == before


@pytest.mark.parametrize("dry_run", ["client", "server"])
def test_a_dry_run_stores_nothing(staff: Staff, canary: Canary, dry_run: str):
    source, copied = f"dry-{dry_run}", f"dry-{dry_run}-2"
    staff.create(source, canary.value(source))
    flags = (source, copied, f"--dry-run={dry_run}")

    cloned = done("clone", *flags, "-o", "json", kubeconfig=staff.governor)
    renamed = done("rename", *flags, kubeconfig=staff.governor)

    request = json.loads(cloned)["spec"]["copyFrom"]
    assert (request["namespace"], request["name"]) == (staff.web, source)
    assert ("grant" in request) == (dry_run == "server")
    assert f"renamed to '{staff.web}/{copied}' ({dry_run} dry run)" in renamed
    assert staff.console.exists("ssec", staff.web, source)
    assert not staff.console.exists("ssec", staff.web, copied)


def test_rename_keeps_the_value_and_shows_who_has_it(staff: Staff, canary: Canary):
    staff.create("old", canary.value("renamed"))
    assert staff.value_in_job(staff.web, "old") == canary.value("renamed")

    printed = done("rename", "old", "new", "--yes", kubeconfig=staff.governor)

    assert f"Used by: {staff.web}/job-old; they keep what they have" in printed
    assert f"ScopedSecret '{staff.web}/old' renamed to '{staff.web}/new'" in printed
    assert not staff.console.exists("ssec", staff.web, "old")
    assert staff.value_in_job(staff.web, "new") == canary.value("renamed")


def test_rename_lists_what_names_the_old_name_and_has_to_be_changed(staff: Staff, canary: Canary):
    web, shop = staff.web, staff.shop
    staff.create("named", canary.value("named"))
    inherits = staff.company.namespace("inherits", "web", secrets="named?")
    by_expression = workload("CronJob", f"{web}/expression", "other?")
    template = by_expression["spec"]["jobTemplate"]["spec"]["template"]
    template["spec"]["containers"][0]["args"] = ["--key=${secrets.named.KEY}"]
    opted_out = workload("Deployment", f"{web}/opted-out", "named")
    opted_out["spec"]["template"]["metadata"]["labels"][names.INJECT_LABEL] = "false"
    staff.console.create(
        by_expression,
        opted_out,
        workload("Deployment", f"{web}/annotation", "other?, named"),
        workload("StatefulSet", f"{web}/another", "named-2"),
        workload("Job", f"{web}/waits", "named"),
        workload("Job", f"{web}/over", "named"),
        workload("Deployment", f"{shop}/of-another-project", "named"),
        secret_policy(f"{web}/by-name", "named", effect="Allow", rules=[{"name": "all"}]),
        secret_policy(f"{web}/by-pattern", "named*", effect="Allow", rules=[{"name": "all"}]),
    )
    staff.end_job(web, "over")

    printed = done("rename", "named", "named-2", "--yes", kubeconfig=staff.governor)

    *found, unread = [line for line in printed.splitlines() if "name 'named'" in line]
    workloads = f"CronJob {web}/expression, Deployment {web}/annotation, Job {web}/waits"
    listed = (workloads, f"Namespace {inherits}", f"SecretPolicy {web}/by-name")
    assert [line.partition(";")[0] for line in found] == [
        f"To change, because they name 'named': {each}" for each in listed
    ]
    assert "write 'named-2' in the annotation" in found[0]
    assert "add it to `spec.secrets.names`" in found[2]
    kinds = ("CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet")
    phrases = ", ".join(f"the {kind}s of namespace '{inherits}'" for kind in kinds)
    assert unread == f"May name 'named', and not read, because your role does not allow it: {phrases}"


def test_rename_states_what_an_administrator_of_one_namespace_may_not_read(staff: Staff, canary: Canary):
    web = staff.web
    local = kubeconfig(staff.company, person(staff.company, "local", "admin", web), namespace=web)
    staff.create("local", canary.value("local"))
    staff.console.create(workload("Deployment", f"{web}/uses-local", "local"))

    printed = done("rename", "local", "local-2", "--dry-run", "client", kubeconfig=local)

    found, unread = [line for line in printed.splitlines() if "name 'local'" in line]
    assert found.startswith(f"To change, because they name 'local': Deployment {web}/uses-local; ")
    kinds = ("CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet")
    phrases = ", ".join(f"the {kind}s of other namespaces" for kind in kinds)
    assert unread == f"May name 'local', and not read, because your role does not allow it: {phrases}"


def test_rename_asks_and_continues_after_another_answer(staff: Staff, canary: Canary):
    staff.create("before", canary.value("before"))
    arguments = ("rename", "before", "after", "--kubeconfig", str(staff.governor))

    with Terminal(*arguments) as terminal:
        terminal.answer("Type the name of the secret to delete it: ", "something else")
        code, _ = terminal.end()
        shown = terminal.shown.decode()
    assert code == 1
    assert "is kept beside" in shown
    assert staff.console.exists("ssec", staff.web, "before")

    with Terminal(*arguments) as terminal:
        terminal.answer("Type the name of the secret to delete it: ", "before")
        code, _ = terminal.end()
    assert code == 0
    assert not staff.console.exists("ssec", staff.web, "before")
    assert staff.value_in_job(staff.web, "after") == canary.value("before")


def test_ctrl_c_at_the_prompt_of_rename_keeps_both_and_the_command_continues(staff: Staff, canary: Canary):
    staff.create("pressed", canary.value("pressed"))
    arguments = ("rename", "pressed", "pressed-2", "--kubeconfig", str(staff.governor))

    with Terminal(*arguments) as terminal:
        terminal.wait_for("Type the name of the secret to delete it: ")
        terminal.interrupt()
        code, _ = terminal.end()
        assert terminal.echoes

    assert code == 130
    assert b"Traceback" not in terminal.shown
    assert all(staff.console.exists("ssec", staff.web, name) for name in ("pressed", "pressed-2"))
    assert "renamed to" in done(*arguments[:3], "--yes", kubeconfig=staff.governor)
    assert not staff.console.exists("ssec", staff.web, "pressed")
    assert staff.value_in_job(staff.web, "pressed-2") == canary.value("pressed")


def test_rename_keeps_an_old_secret_that_changed_after_the_copy(staff: Staff, canary: Canary):
    staff.create("moving", canary.value("moving"))
    with Terminal("rename", "moving", "moved", "--kubeconfig", str(staff.governor)) as terminal:
        terminal.wait_for("Type the name of the secret to delete it: ")
        done("set", "moving", "KEY=@-", "-n", staff.web, kubeconfig=staff.governor, stdin=canary.value("newer"))
        terminal.answer("", "moving")
        code, _ = terminal.end()
        shown = terminal.shown.decode()

    assert code == 1
    assert f"ScopedSecret '{staff.web}/moving' has changed since it was copied, and is kept" in shown
    assert staff.value_in_job(staff.web, "moving") == canary.value("newer")


def test_ctrl_c_while_the_controller_is_away_loses_nothing(staff: Staff, canary: Canary, operator: InstalledOperator):
    staff.create("kept", canary.value("kept"))
    operator.stop_controllers()
    arguments = ("rename", "kept", "kept-2", "--yes", "--kubeconfig", str(staff.governor))

    with Terminal(*arguments) as terminal:
        terminal.wait_for("Waiting for the controller to complete")
        terminal.interrupt()
        code, _ = terminal.end()
    result = run("rename", "kept", "kept-2", "--yes", "--timeout", "2", kubeconfig=staff.governor)

    assert code == 130
    assert result.returncode == 1
    assert "run the command again to continue" in result.stderr
    assert staff.console.exists("ssec", staff.web, "kept")
    operator.start()
    assert "renamed to" in done(*arguments[:4], kubeconfig=staff.governor)
    assert staff.value_in_job(staff.web, "kept-2") == canary.value("kept")


def test_a_copy_that_fails_is_told_with_its_remedy(staff: Staff, canary: Canary, operator: InstalledOperator):
    staff.create("gone", canary.value("gone"))
    operator.stop_controllers()
    run("clone", "gone", "gone-2", "--timeout", "1", kubeconfig=staff.governor)
    before = json.dumps(staff.stored(staff.web, "gone-2")["spec"])
    staff.console.cluster.kubectl("delete", "ssec", "gone", "-n", staff.web)
    operator.start()

    ready = staff.console.wait_condition(staff.web, "gone-2", "Ready", "False")

    assert '"copyFrom"' in before
    assert ready["reason"] == names.Reason.COPY_FAILED
    assert f"the source '{staff.web}/gone' does not exist any more" in ready["message"]
