"""Every verb as a developer, an organization's administrator and a viewer of names, with the roles of the chart.

Each cell of the table runs as a process, and says what works, or which right is missing and what to do. The verbs come
from the program, so that a new one needs a row. The audit log of the API server has the bodies of all requests.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.cli.terminal import Terminal
from tests.integration.audited import AuditedCluster, audited_cluster
from tests.integration.command_table import CHANGING, SERVERS, TABLE, Fails, Works, commands
from tests.integration.company import Company
from tests.integration.console import pod, scoped_secret
from tests.integration.native_secrets import native
from tests.integration.people import EDITOR, kubeconfig, person
from tests.support.builders import scope_labels
from tests.support.canary import Canary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.watching import Watched

pytestmark = pytest.mark.integration

DEVELOPER, ADMINISTRATOR, VIEWER = ROLES = ("developer", "administrator", "viewer")


@dataclass(frozen=True)
class Office:
    """The people of a company, and what they work with."""

    cluster: AuditedCluster
    company: Company
    canary: Canary
    files: Path
    users: Mapping[str, str] = field(default_factory=dict)
    kubeconfigs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def web(self) -> str:
        return f"{self.company.organization}-web"

    def stored(self) -> dict[str, str]:
        """Return every definition and policy without its status, and the Secrets of the operator by their versions."""
        found = {
            f"{short}/{body['metadata']['name']}": json.dumps(
                [body["spec"], body["metadata"].get("labels"), body["metadata"].get("annotations")], sort_keys=True
            )
            for short in ("ssec", "spol")
            for body in self.cluster.plane.get(short, "-n", self.web)["items"]
        }
        for body in self.cluster.plane.get("secrets", "-n", names.DEFAULT_NAMESPACE)["items"]:
            found[f"secret/{body['metadata']['name']}"] = json.dumps(body["metadata"].get("annotations"))
        return found


def test_every_verb_has_a_row():
    assert dict(commands()).keys() == TABLE.keys() | SERVERS.keys()


@pytest.fixture(scope="module")
def office(no_personal_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A company whose people have the roles of the chart, with a secret for each cell."""
    with audited_cluster(tmp_path_factory.mktemp("operator")) as cluster:
        canary, company = Canary(), Company(cluster.console)
        web = company.namespace("web", "web")
        company.namespace("shop", "shop")
        kubectl = cluster.plane.kubectl
        users = {
            DEVELOPER: person(company, DEVELOPER, "edit", web),
            ADMINISTRATOR: person(company, ADMINISTRATOR, "admin", *company.namespaces),
            # The role that the chart aggregates, without the rest of `view`: neither pods nor labels of namespaces.
            VIEWER: person(company, VIEWER, f"{names.DISTRIBUTION}-view", web),
        }
        kubectl("create", "clusterrole", "lists-namespaces", "--verb=get,list", "--resource=namespaces")
        kubectl(
            "create", "clusterrolebinding", "lists", "--clusterrole=lists-namespaces", f"--user={users[ADMINISTRATOR]}"
        )
        office = Office(
            cluster,
            company,
            canary,
            tmp_path_factory.mktemp("office"),
            users,
            {role: kubeconfig(company, user, web) for role, user in users.items()},
        )
        _prepare(office)
        yield office


def _prepare(office: Office) -> None:
    """Store what the cells start with; the program seals the values, so that no request of ours has one."""
    cluster, web, canary = office.cluster, office.web, office.canary
    cells = [cell_name(verb, role) for verb in CHANGING for role in ROLES]
    documents = yaml.safe_dump_all([_sem(each, canary, "A", "B") for each in ("used", "kept", *cells)])
    root = kubeconfig(office.company, office.users[ADMINISTRATOR], web)
    flags: dict[str, Any] = {"kubeconfig": root, "folder": office.files, "canary": canary}
    imported = cluster.run("import", "sem", "-", stdin=documents, **flags)
    assert (imported.code, imported.findings) == (0, frozenset()), imported.stderr
    for each in ROLES:
        assert cluster.run("cordon", cell_name("uncordon", each), **flags).code == 0
    # Values in plain text, which nothing here looks for: their fingerprints are in the sealed texts.
    cluster.console.apply(scoped_secret(f"{web}/resealed", env={"A": Canary().value("resealed")}))
    cluster.plane.kubectl("wait", "ssec", "--all", "-n", web, "--for=condition=Ready", "--timeout=60s")
    cluster.console.create(native(web, "native", TOKEN=canary.value("native")))
    cluster.console.create(pod(f"{web}/job", "used"))
    assert cluster.console.seen(web, "job").env["A"] == canary.value("A")
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": web, "labels": scope_labels("acme", "web")},
    }
    definition = scoped_secret(f"{web}/offline", env={"A": canary.value("offline")})
    job = {"namespace": web, "secrets": "offline"}
    cases = {
        "definitions": ["definitions"],
        "cases": [{"name": "web", "job": job, "expect": {"variables": ["A"]}}],
    }
    texts = {
        "definitions/all.yaml": json.dumps(namespace) + "\n---\n" + json.dumps(definition),
        "cases": json.dumps(cases),
        "pod": json.dumps(pod(f"{web}/job", "offline")),
        "key": canary.awkward("file"),
        "typed": canary.value("typed in the editor"),
        "editor": EDITOR,
    }
    for path, text in texts.items():
        (office.files / path).parent.mkdir(exist_ok=True)
        (office.files / path).write_text(text)


def cell_name(verb: str, role: str) -> str:
    """Return the name of the secret of a cell."""
    return f"{verb.replace(' ', '-')}-{role}"


def words_of(office: Office, verb: str, role: str, folder: Path) -> dict[str, str]:
    """Return what stands for the words in braces."""
    name, canary = cell_name(verb, role), office.canary
    new = f"{name}-new"
    values = folder / "values"
    values.write_text(json.dumps({new: {"KEY": canary.value("hidden")}}))
    listed = {"apiVersion": "cli.scopedsecrets.dev/v1alpha1", "kind": "SecretNames"}
    secret = {"name": new, "scope": "Project", "project": "web", "env": [{"name": "KEY"}]}
    return {
        **{each: str(office.files / each) for each in ("definitions", "cases", "pod", "key")},
        "name": name,
        "web": office.web,
        "organization": office.company.organization,
        "values": str(values),
        "stored": canary.value("A"),
        "typed": canary.value("typed"),
        "sem": json.dumps(_sem(new, canary, "A")),
        "circle": json.dumps({"items": [{"variable": "KEY", "context_id": "1"}], "next_page_token": None}),
        "names": json.dumps({**listed, "secrets": [secret]}),
    }


def run_cell(office: Office, verb: str, role: str, folder: Path) -> Watched:
    """Run the command of a cell."""
    folder.mkdir()
    row, words = TABLE[verb], words_of(office, verb, role, folder)
    files = office.files
    return office.cluster.run(
        *(word.format(**words) for word in row.command),
        kubeconfig=office.kubeconfigs[role],
        folder=folder,
        canary=office.canary,
        stdin=row.stdin.format(**words),
        variables={"KUBE_EDITOR": f"{sys.executable} {files / 'editor'} {files / 'typed'}"} if verb == "edit" else {},
    )


@pytest.mark.parametrize("verb", TABLE)
def test_verb_does_what_the_role_allows_and_shows_no_value(verb: str, office: Office, tmp_path: Path):
    row, before, mark = TABLE[verb], office.stored(), office.cluster.mark()
    with ThreadPoolExecutor(len(ROLES)) as pool:
        runs = {role: pool.submit(run_cell, office, verb, role, tmp_path / role) for role in ROLES}
        results = {role: run.result() for role, run in runs.items()}
    after = office.stored()

    changed = {each for each in before.keys() | after.keys() if before.get(each) != after.get(each)}
    expected = {role: getattr(row, role) for role in ROLES}
    for role, cell in expected.items():
        words = words_of(office, verb, role, tmp_path / role)
        check(cell, results[role], words)
        if isinstance(cell, Works):
            changed -= {each.format(**words) for each in cell.stores}
    assert changed == set()
    assert office.cluster.found(office.canary, office.users.values(), mark) == logged(office, verb)


@pytest.mark.parametrize("verb", SERVERS)
def test_server_names_the_right_that_its_user_lacks_and_ends_at_ctrl_c(verb: str, office: Office):
    def start(role: str) -> tuple[int, bytes]:
        arguments = (*SERVERS[verb], "--kubeconfig", str(office.kubeconfigs[role]))
        with Terminal(*arguments) as terminal:
            terminal.wait_for("your role does not allow the verb")
            terminal.interrupt(once=True)
            code, _ = terminal.end()
            return code, terminal.shown

    before = office.stored()
    with ThreadPoolExecutor(len(ROLES)) as pool:
        results = list(pool.map(start, ROLES))

    for code, shown in results:
        assert code == 0, shown
        assert b"Traceback" not in shown
        assert office.canary.find("log", shown) == []
    assert office.stored() == before


def check(cell: Works | Fails, result: Watched, words: Mapping[str, str]) -> None:
    """Compare what a process did with what is expected."""
    assert result.findings == frozenset()
    assert "Traceback" not in result.stdout + result.stderr
    says = cell.says.format(**words)
    assert result.code == cell.code, result.stdout + result.stderr
    if isinstance(cell, Fails):
        *_, last = result.stderr.splitlines()
        assert last.startswith("Error: ")
        assert says in last
        assert result.stderr.count("Error: ") == 1
        return
    assert says in result.stdout, result.stdout
    printed = result.stdout + result.stderr
    for each in cell.unread:
        assert each.format(**words) in printed, printed
    if not cell.unread:
        assert "your role does not allow" not in printed


def logged(office: Office, verb: str) -> set[str]:
    """Return the requests that have a value in the audit log, as SECURITY.md says."""
    return {f"get /api/v1/namespaces/{office.web}/secrets/native"} if verb == "import secret" else set()


def _sem(name: str, canary: Canary, *variables: str) -> dict[str, Any]:
    """Return a secret of a project of Semaphore."""
    return {
        "apiVersion": "v1",
        "kind": "ProjectSecret",
        "metadata": {"name": name, "project_id_or_name": "web"},
        "data": {"env_vars": [{"name": each, "value": canary.value(each)} for each in variables], "files": []},
    }
