"""The verbs `import`, `export` and `report`, as processes of people against the real API server."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.cli.terminal import Terminal
from tests.integration.console import pod
from tests.integration.native_secrets import native
from tests.integration.people import done, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

TARGET_PROJECT = "a426b4db-1919-483d-926d-06ba1320b209"


@pytest.fixture(scope="module")
def firm(firm: Company) -> Company:
    """The organization, with the namespace of the project's production."""
    firm.namespace("production", "web", "production")
    return firm


@pytest.fixture
def organization(firm: Company) -> tuple[str, ...]:
    return ("--organization", firm.organization)


def test_file_of_semaphore_becomes_bundles_and_policies_that_jobs_get(
    firm: Company,
    administrator: Path,
    organization: tuple[str, ...],
    web: str,
    console: Console,
    canary: Canary,
    tmp_path: Path,
):
    key = canary.value("sem key") + "\n"
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "v1beta",
            "kind": "Secret",
            "metadata": {"name": "registry"},
            "org_config": {"projects_access": "ALLOWED", "projects_ids": ["web"], "attach_access": "JOB_ATTACH_NO"},
            "data": {
                "env_vars": [{"name": "USER", "value": canary.value("sem user")}],
                "files": [{"path": ".ssh/id", "content": base64.b64encode(key.encode()).decode()}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ProjectSecret",
            "metadata": {"name": "database", "project_id_or_name": "web"},
            "data": {"env_vars": [{"name": "HIDDEN", "value": ""}], "files": []},
        },
        {
            "apiVersion": "v1alpha",
            "kind": "DeploymentTarget",
            "metadata": {"name": "production", "project_id": TARGET_PROJECT},
            "spec": {
                "state": "USABLE",
                "subject_rules": [{"type": "ANY"}],
                "object_rules": [{"type": "BRANCH", "match_mode": "EXACT", "pattern": "main"}],
                "env_vars": [{"name": "X", "value": "ef836f1a81645fd778adb189377aed1d [md5]"}],
                "files": [],
            },
        },
    ]
    values = tmp_path / "values.yaml"
    given = {"database": {"HIDDEN": canary.value("sem hidden")}, "production": {"X": canary.value("sem x")}}
    values.write_text(yaml.safe_dump(given))
    flags = ("import", "sem", "-", "--values", str(values), "--project-id", f"{TARGET_PROJECT}=web", *organization)
    source = yaml.safe_dump_all(documents)

    checked = done(*flags, "--dry-run=server", kubeconfig=administrator, stdin=source)
    assert "created (server dry run)" in checked
    assert not console.exists("ssec", firm.home, "registry")
    named = done(*flags, "--dry-run=client", "-o", "name", kubeconfig=administrator, stdin=source)
    assert named.splitlines() == [
        f"{kind}.{names.GROUP}/{name}"
        for kind, name in (
            ("secretpolicy", "registry"),
            ("scopedsecret", "registry"),
            ("scopedsecret", "database"),
            ("secretpolicy", "production"),
            ("scopedsecret", "production"),
        )
    ]
    listed = json.loads(done(*flags, "--dry-run=client", "-o", "json", kubeconfig=administrator, stdin=source))
    assert len(listed["items"]) == 5
    assert canary.find("output", json.dumps(listed).encode()) == []

    printed = done(*flags, kubeconfig=administrator, stdin=source)

    assert canary.find("output", printed.encode()) == []
    assert f"ScopedSecret '{firm.home}/registry' created: scope Organization" in printed
    assert f"SecretPolicy '{firm.home}/registry' created: rules projects" in printed
    assert "attach_access: sessions in the pods of jobs are denied" in printed
    policy = console.items("secretpolicies", firm.home)["registry"]["spec"]
    assert policy["rules"] == [{"name": "projects", "projects": ["web"]}]
    assert policy["interactive"]["exec"] == "Deny"
    target = console.items("ssec", f"{firm.organization}-production")["production"]["spec"]
    assert (target["attach"], target["environment"]) == ("Always", "production")
    refs = console.items("secretpolicies", f"{firm.organization}-production")["production"]["spec"]["rules"]
    assert refs == [{"name": "refs", "environments": ["production"], "refs": ["refs/heads/main"]}]

    firm.settle(web)
    console.wait_current(web, "database")
    console.create(pod(f"{web}/moved", "registry,database"))
    seen = console.seen(web, "moved")
    assert (seen.env["USER"], seen.env["HIDDEN"]) == (canary.value("sem user"), canary.value("sem hidden"))
    assert key in seen.files.values()


def test_nothing_is_stored_when_one_bundle_is_refused(
    administrator: Path, organization: tuple[str, ...], web: str, console: Console, canary: Canary
):
    def secret(name: str, variable: str) -> dict[str, Any]:
        value = {"name": variable, "value": canary.value("half")}
        metadata = {"name": name, "project_id_or_name": "web"}
        return {"kind": "ProjectSecret", "metadata": metadata, "data": {"env_vars": [value]}}

    for second, words in (
        (secret("Half_Two", "LD_PRELOAD"), "document 2, ProjectSecret 'Half_Two': `spec.env[0].name` must not be"),
        (secret("half-one", "B"), f"several bundles of the source become ScopedSecret '{web}/half-one'"),
    ):
        source = yaml.safe_dump_all([secret("half-one", "A"), second])
        result = run("import", "sem", "-", *organization, kubeconfig=administrator, stdin=source)
        assert result.returncode != 0
        assert words in result.stderr
        assert "nothing is stored" in result.stderr
        assert canary.find("errors", result.stderr.encode()) == []
    assert not console.exists("ssec", web, "half-one")


def test_developer_without_the_right_to_write_policies_stores_no_part(
    developer: Path, web: str, console: Console, canary: Canary
):
    """The role `edit` may create definitions and no policies."""
    source = yaml.safe_dump(
        {
            "kind": "Secret",
            "metadata": {"name": "guarded"},
            "org_config": {"projects_access": "NONE"},
            "data": {"env_vars": [{"name": "A", "value": canary.value("guarded")}]},
        }
    )
    result = run("import", "sem", "-", "-p", "web", kubeconfig=developer, stdin=source)
    assert result.returncode == 1
    assert f"SecretPolicy '{web}/guarded' is not created" in result.stderr
    assert "nothing is stored" in result.stderr
    assert not console.exists("ssec", web, "guarded")


def test_file_of_variables_becomes_one_bundle(developer: Path, web: str, console: Console, canary: Canary):
    lines = f"# app\nexport A='{canary.value('dot a')}'\nB={canary.value('dot b')}\n"
    printed = done("import", "dotenv", "-", "--name", "app", "-p", "web", kubeconfig=developer, stdin=lines)
    assert f"ScopedSecret '{web}/app' created: scope Project" in printed
    assert "2 variables, 0 files" in printed
    again = run("import", "dotenv", "-", "--name", "app", "-p", "web", kubeconfig=developer, stdin=lines)
    assert (again.returncode, "has this place and name already" in again.stderr) == (1, True)
    console.wait_current(web, "app")
    console.create(pod(f"{web}/app", "app"))
    seen = console.seen(web, "app")
    assert (seen.env["A"], seen.env["B"]) == (canary.value("dot a"), canary.value("dot b"))


def test_native_secret_is_read_with_the_rights_of_the_person(
    developer: Path, firm: Company, web: str, console: Console, canary: Canary
):
    console.create(native(web, "old", TOKEN=canary.value("old token"), **{"id.rsa": canary.value("old key")}))
    refused = run("import", "secret", f"{web}/old", "-p", "web", kubeconfig=developer)
    assert (refused.returncode, "'id.rsa'; import them as files with --files" in refused.stderr) == (2, True)

    flags = ("--files", "--path", ".ssh", "--name", "moved-in", "-p", "web")
    printed = done("import", "secret", f"{web}/old", *flags, kubeconfig=developer)
    forbidden = run("import", "secret", f"{firm.home}/old", "-p", "web", kubeconfig=developer)

    assert f"kubectl delete secret old -n {web}" in printed
    assert (forbidden.returncode, "you may not read Secret" in forbidden.stderr) == (1, True)
    console.cluster.kubectl("delete", "secret", "old", "-n", web)
    console.wait_current(web, "moved-in")
    console.create(pod(f"{web}/moved-in", "moved-in"))
    seen = console.seen(web, "moved-in")
    assert seen.env["TOKEN"] == canary.value("old token")
    paths = [path for path, content in seen.files.items() if content == canary.value("old key")]
    assert any(path.endswith("/.ssh/id.rsa") for path in paths)


def test_context_of_circleci_asks_for_each_value_at_the_terminal(
    developer: Path, web: str, console: Console, canary: Canary, tmp_path: Path
):
    context = tmp_path / "context.json"
    context.write_text(json.dumps({"items": [{"variable": "KEY", "context_id": "1"}], "next_page_token": None}))
    arguments = ("import", "circleci", str(context), "--name", "circle", "-p", "web")
    silent = run(*arguments, kubeconfig=developer)
    assert silent.returncode == 2
    assert "the source does not show the value of variable 'KEY' of 'circle'" in silent.stderr
    assert "nothing is left to import" in run(*arguments, "--skip-hidden", kubeconfig=developer).stderr

    with Terminal(*arguments, "--kubeconfig", str(developer)) as terminal:
        terminal.answer("Value for variable 'KEY' of 'circle': ", canary.value("circle"))
        terminal.answer("again: ", canary.value("circle"))
        code, stdout = terminal.end()
    assert code == 0, terminal.shown
    assert canary.find("screen and output", terminal.shown + stdout.encode()) == []
    console.wait_current(web, "circle")
    console.create(pod(f"{web}/circle", "circle"))
    assert console.seen(web, "circle").env["KEY"] == canary.value("circle")


def test_exported_names_are_imported_elsewhere_with_prompts(
    administrator: Path,
    organization: tuple[str, ...],
    found: Founder,
    web: str,
    console: Console,
    canary: Canary,
    tmp_path: Path,
):
    key, exported = tmp_path / "key", tmp_path / "names.yaml"
    key.write_text(canary.value("names key") + "\n")
    flags = ("-e", "TOKEN=@-", "-f", f"{key}:.ssh/id:0400", "-l", "tier=test", "-p", "web", *organization)
    done("create", "carried", *flags, kubeconfig=administrator, stdin=canary.value("names token"))
    text = done("export", "--names", "-n", web, "-l", "tier=test", kubeconfig=administrator)
    assert canary.find("export", text.encode()) == []
    assert "sealed" not in text
    exported.write_text(text)
    elsewhere = found()
    there = elsewhere.namespace("web", "web")
    elsewhere.console.cluster.kubectl(
        "create",
        "rolebinding",
        "administrator",
        "-n",
        there,
        "--clusterrole=admin",
        f"--user=administrator-{organization[1]}",
    )

    place = ("-n", there, "--kubeconfig", str(administrator))
    with Terminal("import", "names", str(exported), *place) as terminal:
        terminal.answer("Value for variable 'TOKEN' of 'carried': ", canary.value("new token"))
        terminal.answer("again: ", canary.value("new token"))
        terminal.answer("Local file with the content of file '.ssh/id' of 'carried': ", str(key))
        code, _ = terminal.end()

    assert code == 0, terminal.shown
    body = console.items("ssec", there)["carried"]
    assert body["metadata"]["labels"] == {"tier": "test"}
    assert body["spec"]["files"][0]["mode"] == "0400"
    console.wait_current(there, "carried")
    console.create(pod(f"{there}/carried", "carried"))
    seen = console.seen(there, "carried")
    assert seen.env["TOKEN"] == canary.value("new token")
    assert canary.value("names key") + "\n" in seen.files.values()


def test_client_dry_run_prints_sealed_objects_for_git(developer: Path, web: str, console: Console, canary: Canary):
    lines = f"A={canary.value('git')}\n"
    flags = ("import", "dotenv", "-", "--name", "git", "-p", "web", "--dry-run=client", "-o", "yaml")
    document = done(*flags, kubeconfig=developer, stdin=lines)
    assert canary.find("output", document.encode()) == []
    assert not console.exists("ssec", web, "git")
    console.apply(yaml.safe_load(document))
    console.wait_current(web, "git")


def test_report_of_a_developer_lists_what_no_pod_has_and_what_two_secrets_hold(
    developer: Path, web: str, console: Console, canary: Canary
):
    """Complaints 16 and 17: an inventory, and what is not used any more."""
    for name in ("held", "idle"):
        lines = f"SHARED={canary.value('report')}\n"
        done("import", "dotenv", "-", "--name", name, "-p", "web", kubeconfig=developer, stdin=lines)
        console.wait_current(web, name)
    console.create(pod(f"{web}/holder", "held"))
    console.seen(web, "holder")

    result = run("report", "--unused", "0d", "--stale", "0d", "--duplicates", "-o", "json", kubeconfig=developer)
    assert result.returncode == 0, result.stderr
    found = {(each["concern"], each["secret"], each["entry"]) for each in json.loads(result.stdout)["findings"]}

    assert canary.find("report", result.stdout.encode()) == []
    assert ("unused", f"{web}/idle", "") in found
    assert ("unused", f"{web}/held", "") not in found
    assert {("stale", f"{web}/{name}", "variable 'SHARED'") for name in ("held", "idle")} <= found
    assert ("duplicate", f"{web}/held", "variable 'SHARED'") in found
    assert "Nothing found in" in done("report", "--expiring", "1d", kubeconfig=developer)


def test_failure_between_two_objects_says_what_is_stored_and_what_is_not(
    administrator: Path, found: Founder, organization: tuple[str, ...], console: Console, canary: Canary
):
    """A quota for one definition: each passes its dry run alone, and the second is refused when it is stored."""
    full = found().namespace("full", "full")
    kubectl = console.cluster.kubectl
    user = f"administrator-{organization[1]}"
    kubectl("create", "rolebinding", "administrator", "-n", full, "--clusterrole=admin", f"--user={user}")
    counted = {f"count/{names.SCOPED_SECRET_PLURAL}.{names.GROUP}": "1"}
    console.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "one", "namespace": full},
            "spec": {"hard": counted},
        }
    )
    # What the quota controller would write, which these tests do not run.
    status = {"status": {"hard": counted, "used": dict.fromkeys(counted, "0")}}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
    kubectl("patch", "resourcequota", "one", "-n", full, *patch)
    documents = [
        {
            "kind": "ProjectSecret",
            "metadata": {"name": name, "project_id_or_name": "full"},
            "data": {"env_vars": [{"name": "A", "value": canary.value("quota")}]},
        }
        for name in ("first", "second", "third")
    ]

    result = run("import", "sem", "-", "-n", full, kubeconfig=administrator, stdin=yaml.safe_dump_all(documents))

    assert result.returncode == 1
    kind = names.SCOPED_SECRET_KIND
    assert f"stored: {kind} '{full}/first'; not stored: {kind} '{full}/second', {kind} '{full}/third'" in result.stderr
    assert sorted(console.items("ssec", full)) == ["first"]
