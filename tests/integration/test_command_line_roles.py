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

import click
import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.cli.main import cli
from scoped_secrets.kube import paths
from tests.cli.terminal import Terminal
from tests.integration.audited import AuditedCluster, audited_cluster
from tests.integration.company import Company
from tests.integration.console import pod, scoped_secret
from tests.integration.native_secrets import native
from tests.integration.people import kubeconfig, person
from tests.support.builders import scope_labels
from tests.support.canary import Canary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.watching import Watched

pytestmark = pytest.mark.integration

DEVELOPER, ADMINISTRATOR, VIEWER = ROLES = ("developer", "administrator", "viewer")
EDITOR = """\
import json, pathlib, sys
path = pathlib.Path(sys.argv[2])
text = path.read_text()
typed = json.dumps(pathlib.Path(sys.argv[1]).read_text())
path.write_text(text.replace("value: '# unchanged'", "value: " + typed, 1))
"""
OTHERS_LABELS = "the labels of other namespaces"
OTHERS = "the ScopedSecrets of other namespaces"
OWN_LABELS = "the labels of namespace '{web}'"
KEYS = "your role does not allow the verb 'list' on secrets in namespace 'scoped-secrets'; request it"
NO_POLICIES = "you may not write SecretPolicies in namespace '{web}'"
NO_PLACE = "no namespace that you may read has the label of project 'web'; give the namespace with -n"
NO_LABELS = f"you may not read {OWN_LABELS}"


@dataclass(frozen=True)
class Works:
    """The command does what was asked, as far as the role allows.

    Attributes:
        says: What standard output has.
        stores: The objects that it creates, changes or deletes.
        unread: What it says that it could not read.
        code: Its exit code.
    """

    says: str
    stores: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    code: int = 0


@dataclass(frozen=True)
class Fails:
    """The command changes nothing, and its last line on standard error says why and what to do."""

    says: str
    code: int = 1


@dataclass(frozen=True)
class Row:
    """One command, and what happens for each role."""

    command: tuple[str, ...]
    developer: Works | Fails
    administrator: Works | Fails
    viewer: Works | Fails
    stdin: str = ""

    @classmethod
    def alike(cls, command: tuple[str, ...], expected: Works | Fails, stdin: str = "") -> Row:
        """Return a row whose roles do not matter."""
        return cls(command, expected, expected, expected, stdin)


SCOPE_PATH = ("--organization", "{organization}", "--project", "web")
SECRET, NEW, COPY = "ssec/{name}", "ssec/{name}-new", "ssec/{name}-copy"
CREATED = Works("ScopedSecret '{web}/{name}-new' created", (NEW,))
NOT_STORED = Fails(f"{NO_PLACE}, or the labels of one to its owner; nothing is stored", 2)
TABLE = {
    "create": Row(
        ("create", "{name}-new", "-e", "A=@-", "-f", "{key}:/data/key", "-p", "web"),
        Works("ScopedSecret '{web}/{name}-new' created: scope Project", (NEW,), (OTHERS_LABELS, OTHERS)),
        Works("ScopedSecret '{web}/{name}-new' created: scope Project", (NEW,), (OTHERS,)),
        Fails(NO_PLACE, 2),
        stdin="{typed}",
    ),
    "set": Row(
        ("set", "{name}", "A=@-"),
        Works("ScopedSecret '{web}/{name}': changed variable 'A'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': changed variable 'A'", (SECRET,)),
        Fails(NO_LABELS, 2),
        stdin="{typed}",
    ),
    "unset": Row(
        ("unset", "{name}", "B"),
        Works("ScopedSecret '{web}/{name}': removed variable 'B'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': removed variable 'B'", (SECRET,)),
        Fails('cannot patch resource "scopedsecrets"'),
    ),
    "edit": Row(
        ("edit", "{name}"),
        Works("ScopedSecret '{web}/{name}' changed", (SECRET,)),
        Works("ScopedSecret '{web}/{name}' changed", (SECRET,)),
        Fails(NO_LABELS, 2),
    ),
    "rotate": Row(
        ("rotate", "{name}", "A", "--generate", ""),
        Works("ScopedSecret '{web}/{name}': rotated variable 'A'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': rotated variable 'A'", (SECRET,)),
        Fails(NO_LABELS, 2),
    ),
    "get": Row(
        ("get",),
        Works("used"),
        Works("used"),
        Works("used", unread=(OWN_LABELS,)),
    ),
    "describe": Row(
        ("describe", "used"),
        Works("Usable by:   every one of the jobs of project 'web'", unread=(OTHERS_LABELS, OTHERS)),
        Works("Usable by:   every one of the jobs of project 'web'", unread=(OTHERS,)),
        Works("Usable by:   not known, because you may not read the labels", unread=(OWN_LABELS, OTHERS)),
    ),
    "share": Row(
        ("share", "{name}", "--project", "web"),
        Fails(NO_POLICIES),
        Works("SecretPolicy '{web}/share-{name}' written", ("spol/share-{name}",)),
        Fails(NO_POLICIES),
    ),
    "cordon": Row(
        ("cordon", "{name}", "--reason", "leak"),
        Fails(NO_POLICIES),
        Works("ScopedSecret '{web}/{name}' cordoned", ("spol/cordon-{name}",)),
        Fails(NO_LABELS),
    ),
    "uncordon": Row(
        ("uncordon", "{name}"),
        Fails(NO_POLICIES),
        Works("ScopedSecret '{web}/{name}' uncordoned", ("spol/cordon-{name}",)),
        Fails(NO_POLICIES),
    ),
    "clone": Row(
        ("clone", "{name}", "{name}-copy"),
        Fails("you may not copy ScopedSecret '{web}/{name}' and there is no terminal to ask for its values", 2),
        Works("ScopedSecret '{web}/{name}-copy' is ready", (COPY,), (OTHERS,)),
        Fails("namespace '{web}' has no scope path, or you may not read it", 2),
    ),
    "rename": Row(
        ("rename", "{name}", "{name}-new", "--yes"),
        Fails("you may not copy ScopedSecret '{web}/{name}', which renaming needs; ask an administrator"),
        Works("ScopedSecret '{web}/{name}' renamed to '{web}/{name}-new'", (SECRET, NEW), (OTHERS,)),
        Fails("namespace '{web}' has no scope path, or you may not read it", 2),
    ),
    "delete": Row(
        ("delete", "{name}", "--yes"),
        Works("ScopedSecret '{web}/{name}' deleted", (SECRET,), (OTHERS_LABELS, OTHERS)),
        Works("ScopedSecret '{web}/{name}' deleted", (SECRET,), (OTHERS,)),
        Fails("you may not delete ScopedSecret '{web}/{name}'; request the verb 'delete'"),
    ),
    "import sem": Row(("import", "sem", "-"), CREATED, CREATED, NOT_STORED, stdin="{sem}"),
    "import dotenv": Row(
        ("import", "dotenv", "-", "--name", "{name}-new", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="A={typed}\n",
    ),
    "import secret": Row(
        ("import", "secret", "{web}/native", "--name", "{name}-new", "-p", "web"),
        CREATED,
        CREATED,
        Fails("you may not read Secret '{web}/native'; request the verb 'get'"),
    ),
    "import circleci": Row(
        ("import", "circleci", "-", "--name", "{name}-new", "--values", "{values}", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="{circle}",
    ),
    "import names": Row(
        ("import", "names", "-", "--values", "{values}", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="{names}",
    ),
    "export": Row(
        ("export", "--names"),
        Works("- name: used"),
        Works("- name: used"),
        Works("- name: used", unread=(OWN_LABELS,)),
    ),
    "explain": Row(
        ("explain", "used", "-p", "web"),
        Works("Decision: granted", unread=("the list of namespaces",)),
        Works("Decision: granted"),
        Fails("not read, because your role does not allow it: the list of namespaces", 2),
    ),
    "can-use": Row(
        ("can-use", "used", "-p", "web"),
        Works("not known, as far as you may read yes", unread=("the list of namespaces",), code=2),
        Works("yes: allowed by the default access"),
        Fails("not read, because your role does not allow it: the list of namespaces", 2),
    ),
    "what-gets": Row(
        ("what-gets", "pod/job"),
        Works("job        variable  A"),
        Works("job        variable  A"),
        Fails("your role does not allow the verb 'get' on pods 'job' in namespace '{web}'; request it"),
    ),
    "who-uses": Row(
        ("who-uses", "used", "-n", "{web}"),
        Works("job"),
        Works("job"),
        Fails("cannot be read with your rights"),
    ),
    "report": Row(
        ("report", "--unused", "0d", "-p", "web"),
        Works("{web}/kept", unread=("the pods of other namespaces",)),
        Works("{web}/kept", unread=("the pods of other namespaces",)),
        Works("Nothing found", unread=("the pods of namespace '{web}'",)),
    ),
    "audit": Row(
        ("audit", "used", "--since", "1h"),
        Works("value changed  ScopedSecret {web}/used", unread=(OTHERS_LABELS, OTHERS)),
        Works("value changed  ScopedSecret {web}/used", unread=(OTHERS,)),
        Works("value changed  ScopedSecret {web}/used", unread=(OWN_LABELS, "the events of namespace '{web}'")),
    ),
    "verify": Row(
        ("verify", "used", "A", "--from-file", "-"),
        Works("equal"),
        Works("equal"),
        Fails("you may not update ScopedSecret '{web}/used'"),
        stdin="{stored}",
    ),
    "lint": Row.alike(("lint", "-f", "{definitions}"), Works("0 errors, 1 warnings")),
    "render": Row.alike(("render", "-f", "{definitions}", "--pod", "{pod}"), Works("# bundle offline")),
    "test": Row.alike(("test", "-f", "{cases}"), Works("1 cases, 0 failed")),
    "seal": Row.alike(
        ("seal", "-n", "{web}", "--name", "s", "--scope", "Project", *SCOPE_PATH, "--env-from-file", "A={key}"),
        Works("kind: ScopedSecret"),
    ),
    "completion": Row.alike(("completion", "bash"), Works("_scoped_secrets_completion()")),
    "crds": Row.alike(("crds",), Works("kind: CustomResourceDefinition")),
    "public-key": Row.alike(("public-key",), Works('"publicKey"')),
    "doctor": Row.alike(("doctor",), Works("not checked: needs get on customresourcedefinitions.apiextensions.k8s.io")),
    "keys": Row.alike(("keys",), Fails(KEYS)),
    "keys rotate": Row.alike(("keys", "rotate"), Fails(KEYS)),
    "keys rotate-fingerprint": Row.alike(
        ("keys", "rotate-fingerprint"),
        Fails("your role does not allow the verb 'get' on secrets 'scoped-secrets-fingerprint'"),
    ),
    "keys retire": Row.alike(("keys", "retire", "none"), Fails(KEYS)),
    "reseal": Row(
        ("reseal", "-n", "{web}", "--fingerprints", "-o", "json"),
        Works('"Resealed"'),
        Works('"Resealed"'),
        Fails("definitions are still on old keys; resolve the errors above"),
    ),
    "run": Row.alike(
        ("run", "--install"),
        Fails("your role does not allow the verb 'patch' on customresourcedefinitions.apiextensions.k8s.io"),
    ),
}
# They run until they are stopped: what they say again and again while a right is missing.
SERVERS = {
    "controller": ("controller", "--no-metrics", "--probe-port", "0"),
    "admission": ("admission", "--no-metrics", "--probe-port", "0", "--port", "0", "--material-secret", "none"),
}
# The rows that change a secret have one for each role.
CHANGING = ("set", "unset", "edit", "rotate", "share", "cordon", "uncordon", "clone", "rename", "delete")


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


def verbs(group: click.Group = cli, *path: str) -> Iterator[str]:
    """Yield the words of every command of the program."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*path, name))
            yield from verbs(command, *path, name)
        else:
            yield " ".join((*path, name))


def test_every_verb_has_a_row():
    assert set(verbs()) == TABLE.keys() | SERVERS.keys()


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
    for each in ("used", "kept", "resealed"):
        cluster.console.wait_current(web, each)
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
            terminal.interrupt()
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
    return {
        "import secret": {f"get /api/v1/namespaces/{office.web}/secrets/native"},
        "verify": {
            f"update {paths.scoped_secrets(office.web, 'used')}?fieldManager=scoped-secrets&dryRun=All",
        },
    }.get(verb, set())


def _sem(name: str, canary: Canary, *variables: str) -> dict[str, Any]:
    """Return a secret of a project of Semaphore."""
    return {
        "apiVersion": "v1",
        "kind": "ProjectSecret",
        "metadata": {"name": name, "project_id_or_name": "web"},
        "data": {"env_vars": [{"name": each, "value": canary.value(each)} for each in variables], "files": []},
    }
