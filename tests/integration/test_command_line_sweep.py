"""No verb of the command line shows a value: not in output, files, arguments, variables, history or the audit log.

The API server logs the bodies of every request and response. Every verb runs as a person who may do everything, in each
of its output formats and as each kind of dry run; `test_command_line_roles.py` runs every verb with other rights. The
verbs and their formats come from the program: what it gets must enter a table here.
"""

from __future__ import annotations

import copy
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.cli.key_inventory import use_of
from scoped_secrets.cli.main import GROUPS
from tests.cli.terminal import Terminal
from tests.cluster.processes import wait_until
from tests.integration.audited import OFFLINE, AuditedCluster, audited_cluster
from tests.integration.command_table import commands
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.integration.native_secrets import native
from tests.integration.people import EDITOR
from tests.integration.prompts import PROMPTS, prompt_words
from tests.support.builders import scope_labels
from tests.support.canary import Canary
from tests.support.watching import Watch, watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.console import Console
    from tests.support.watching import Watched

pytestmark = pytest.mark.integration

# Who may do everything, and who has the role `edit` in the project's namespace.
USER, DEVELOPER = "sweeper", "typist"
PLACE = ("-p", "web", "--organization", "acme")


@dataclass(frozen=True)
class Mode:
    """One command, and its standard input; `{name}` is a secret of the verb that exists."""

    command: tuple[str, ...]
    stdin: str = ""

    @property
    def changes(self) -> bool:
        """Whether something is stored, so that it runs alone and in its place."""
        is_dry = any(word.startswith("--dry-run") for word in self.command)
        return not is_dry and self.command[0] not in READING


READING = {"get", "describe", "export", "explain", "can-use", "what-gets", "who-uses", "report", "audit", "verify"} | {
    *("lint", "render", "test", "seal", "doctor"),
}


def written(*command: str, stdin: str = "") -> list[Mode]:
    """Return the modes of a command that writes: every format and every dry run, and at last the real one."""
    flags = (
        ("--dry-run=client", "-o", "yaml"),
        ("--dry-run=client", "-o", "name"),
        ("--dry-run=server", "-o", "json"),
        ("--dry-run=server", "-o", "table"),
        ("-o", "json"),
    )
    return [Mode((*command, *each), stdin) for each in flags]


def printed(*command: str, formats: tuple[str, ...], stdin: str = "") -> list[Mode]:
    """Return the modes of a command that prints."""
    return [Mode((*command, "-o", each), stdin) for each in formats]


OBJECT, ANSWER, LISTING = ("table", "wide", "yaml", "json", "name"), ("table", "json"), ("table", "yaml", "json")
VERBS: dict[str, list[Mode]] = {
    "create": written(
        *("create", "{name}-new", "-e", "A=@-", "--env-file", "{lines}", "-f", "{key}:/data/key", *PLACE), stdin="{a}"
    ),
    "set": [
        *written("set", "{name}", "A=@-", stdin="{typed}"),
        Mode(("set", "{name}", "-f", "{key}:/data/other", "-o", "yaml")),
    ],
    "unset": written("unset", "{name}", "A"),
    "edit": written("edit", "{name}"),
    "get": [
        Mode(("get",)),
        *printed("get", "{name}", formats=OBJECT),
        *printed("get", "--effective", *PLACE, formats=ANSWER),
    ],
    "describe": [Mode(("describe", "{name}"))],
    "share": [*written("share", "{name}", "--project", "web"), *written("share", "{name}", "--deny-exec")],
    "cordon": written("cordon", "{name}", "--reason", "leak"),
    "uncordon": [Mode(("cordon", "{name}")), *written("uncordon", "{name}")],
    "rotate": written("rotate", "{name}", "A", "--generate", "", "--keep-previous", "24h"),
    "clone": written("clone", "{name}", "{name}-copy"),
    "rename": written("rename", "{name}", "{name}-new", "--yes"),
    "delete": written("delete", "{name}", "--yes"),
    "import": [
        *written("import", "dotenv", "-", "--name", "{name}-dotenv", *PLACE, stdin="C={typed}\n"),
        *written("import", "sem", "-", *PLACE, stdin="{sem}"),
        *written("import", "circleci", "{circle}", "--name", "{name}-circle", "--values", "{circle_values}", *PLACE),
        *written("import", "names", "{names}", "--values", "{named_values}", *PLACE),
        *written("import", "secret", "web/native", "--name", "{name}-native", *PLACE),
    ],
    "export": printed("export", "--names", formats=("yaml", "json")),
    "explain": printed("explain", "{name}", *PLACE, formats=ANSWER),
    "can-use": printed("can-use", "{name}", *PLACE, formats=("text", "json")),
    "what-gets": printed("what-gets", "pod/{name}", formats=ANSWER),
    "who-uses": printed("who-uses", "{name}", formats=ANSWER),
    "report": printed("report", "--stale", "0d", "--unused", "0d", "--duplicates", formats=LISTING),
    "audit": printed("audit", "{name}", "--since", "1h", formats=LISTING),
    "verify": [Mode(("verify", "{name}", "A", "--from-file", "-"), "{a}")],
    "lint": printed("lint", "-f", "{definitions}", formats=("table", "json", "sarif")),
    "render": printed("render", "-f", "{definitions}", "--pod", "{pod}", formats=("yaml", "patch", "diff")),
    "test": printed("test", "-f", "{cases}", formats=("table", "json", "junit")),
    "seal": printed(
        *("seal", "-n", "web", "--name", "s", "--scope", "Project", "--env-from-file", "A={key}"),
        formats=("yaml", "json"),
    ),
    "doctor": printed("doctor", formats=("text", "json")),
    "keys": printed("keys", formats=ANSWER),
    "reseal": [
        Mode(("reseal", "-n", "web", "--fingerprints", "--dry-run")),
        *printed("reseal", "-n", "web", "--fingerprints", formats=ANSWER),
    ],
}
# `test_rotation_of_keys_shows_no_value` runs them in their order.
OF_KEYS = {"keys rotate", "keys rotate-fingerprint", "keys retire"}
# Verbs that touch no value, or that are swept elsewhere.
OTHERS = {
    "admission": "a server: test_canary.py sweeps what it answers and logs",
    "controller": "a server: test_canary.py sweeps what it writes and logs",
    "run": "both servers in one process",
    "completion": "prints a constant script",
    "crds": "prints constant files",
    "public-key": "prints a certificate, which everybody may have",
}
# What Kubernetes itself logs at this level, as SECURITY.md says: the Secret that a person reads.
LOGGED = {"import": {"get /api/v1/namespaces/web/secrets/native"}}
# `lint` reports the plain text, `doctor` the test cluster, which has no encryption at rest: not errors of the command.
MAY_FAIL = {"lint", "doctor"}
LEAK = """\
import os, pathlib, subprocess, sys, time
value = sys.stdin.read()
print(value)
print(value, file=sys.stderr)
path = pathlib.Path(os.environ["TMPDIR"], "draft")
path.write_text(value)
pathlib.Path(os.environ["XDG_RUNTIME_DIR"], "left").write_text(value)
subprocess.run(["sleep", "0.5"], env={**os.environ, "VALUE": value})
path.unlink()
subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", value])
"""


@dataclass(frozen=True)
class Sweep:
    """A cluster whose audit log holds every body, the person who runs the verbs, and the maker of the values."""

    cluster: AuditedCluster
    kubeconfig: Path
    canary: Canary

    @property
    def console(self) -> Console:
        """An administrator's kubectl."""
        return self.cluster.console

    def run(self, *command: str, folder: Path, stdin: str = "", editor: str = "") -> Watched:
        """Run our program as a person does."""
        folder.mkdir(exist_ok=True)
        return self.cluster.run(
            *command,
            kubeconfig=self.kubeconfig,
            folder=folder,
            canary=self.canary,
            stdin=stdin,
            variables={"KUBE_EDITOR": editor} if editor else {},
        )

    def found_in_audit_log(self, since: int = 0) -> set[str]:
        """Return the requests in which a value is."""
        return self.cluster.found(self.canary, {USER, DEVELOPER}, since)


@pytest.fixture(scope="module")
def sweep(no_personal_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """A cluster of its own with the operator, a person who may do everything, and a secret for each verb."""
    with audited_cluster(tmp_path_factory.mktemp("operator")) as cluster:
        plane = cluster.plane
        plane.create_namespace("web", scope_labels("acme", "web"))
        sweep = Sweep(cluster, in_web(plane.kubeconfig_for(USER, ("system:masters",))), Canary())
        secrets = [f"swept-{verb}" for verb in VERBS if verb not in OFFLINE]
        secrets += [f"typed-{prompt.replace(' ', '-')}" for prompt in PROMPTS]
        documents = yaml.safe_dump_all([semaphore_secret(name, sweep.canary) for name in secrets])
        imported = sweep.run("import", "sem", "-", *PLACE, folder=tmp_path_factory.mktemp("first"), stdin=documents)
        assert (imported.code, imported.findings) == (0, frozenset()), imported.stderr
        plane.kubectl("wait", "ssec", "--all", "-n", "web", "--for=condition=Ready", "--timeout=60s")
        yield sweep


def in_web(kubeconfig: Path) -> Path:
    """Give the context of a kubeconfig a namespace, and return its path."""
    content = json.loads(kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = "web"
    kubeconfig.write_text(json.dumps(content))
    return kubeconfig


def semaphore_secret(name: str, canary: Canary) -> dict[str, object]:
    """Return a secret of a project of Semaphore, whose values arrive here sealed."""
    return {
        "apiVersion": "v1",
        "kind": "ProjectSecret",
        "metadata": {"name": name, "project_id_or_name": "web"},
        "data": {"env_vars": [{"name": "A", "value": canary.value("a")}], "files": []},
    }


def test_every_verb_is_in_a_table():
    assert {verb for verbs in GROUPS.values() for verb in verbs} == VERBS.keys() | OTHERS.keys()
    assert not VERBS.keys() & OTHERS.keys()


def test_every_output_format_and_kind_of_dry_run_of_every_command_is_in_the_table():
    missing = set()
    for words, command in commands():
        if words.partition(" ")[0] in OTHERS or words in OF_KEYS:
            continue
        modes = [mode.command for mode in VERBS[words.partition(" ")[0]]]
        modes = [mode for mode in modes if mode[: len(words.split())] == tuple(words.split())]
        assert modes, words
        for parameter in command.params:
            if parameter.name in {"output", "dry_run"} and isinstance(parameter.type, click.Choice):
                stated = {word for mode in modes for word in (*mode, parameter.default)}
                flag = "" if parameter.name == "output" else "--dry-run="
                missing |= {(words, flag + each) for each in parameter.type.choices if flag + each not in stated}
    assert missing == set()


def test_watch_finds_a_value_in_every_place(tmp_path: Path):
    canary = Canary()
    program = (sys.executable, "-c", LEAK)
    leaked = watched(program, tmp_path, canary, stdin=canary.value("leaked"))
    typed = watched(("true", canary.value("typed")), tmp_path, canary)
    places = {"standard output", "standard error", "arguments", "variables", "file draft", "file left"}
    assert {finding.partition(" (")[0] for finding in leaked.findings} == places
    assert "file .bash_history (raw)" in typed.findings


def test_audit_log_would_show_a_value_in_plain_text(sweep: Sweep):
    mark = sweep.cluster.mark()
    sweep.console.apply(scoped_secret("web/plain", env={"KEY": sweep.canary.value("plain")}))
    assert sweep.found_in_audit_log(mark)


@pytest.mark.parametrize("verb", VERBS)
def test_verb_shows_no_value(verb: str, sweep: Sweep, tmp_path: Path):
    canary, name = sweep.canary, f"swept-{verb}"
    words = given(canary, name, tmp_path)
    if verb == "import":
        sweep.console.create(native("web", "native", TOKEN=canary.value("native")))
    if verb in {"what-gets", "who-uses"}:
        sweep.console.create(pod(f"web/{name}", name))
        assert sweep.console.seen("web", name).env["A"] == words["a"]
    if verb == "reseal":
        # A value in plain text, which nothing here looks for: its fingerprint is in the sealed text.
        sweep.console.apply(scoped_secret("web/resealed", env={"A": Canary().value("resealed")}))
    mark = sweep.cluster.mark()

    def run(number: int, mode: Mode) -> None:
        arguments = [word.format(**words) for word in mode.command]
        editor = f"{sys.executable} {words['editor']} {words['typed_file']}" if verb == "edit" else ""
        folder = tmp_path / str(number)
        result = sweep.run(*arguments, folder=folder, stdin=mode.stdin.format(**words), editor=editor)
        assert result.code == 0 or (verb in MAY_FAIL and result.code == 1), (arguments, result.stderr)
        assert result.stdout.strip(), arguments
        assert result.findings == frozenset(), arguments

    alone = [(number, mode) for number, mode in enumerate(VERBS[verb]) if mode.changes]
    together = [(number, mode) for number, mode in enumerate(VERBS[verb]) if not mode.changes]
    if verb == "uncordon":
        run(*alone.pop(0))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda each: run(*each), together))
    for each in alone:
        run(*each)

    assert sweep.found_in_audit_log(mark) == LOGGED.get(verb, set())


@pytest.mark.parametrize("name", PROMPTS)
def test_value_typed_at_a_prompt_is_shown_nowhere(name: str, sweep: Sweep, typist: Path, tmp_path: Path):
    canary, secret = sweep.canary, f"typed-{name.replace(' ', '-')}"
    home, given = tmp_path / "home", tmp_path / "given"
    home.mkdir()
    given.mkdir()
    (given / "local").write_text(canary.value("local"))
    words, mark = prompt_words(secret, "web", given), sweep.cluster.mark()
    arguments = [word.format(**words) for word in PROMPTS[name].command]
    variables = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR"), str(home))
    with (
        Terminal(*arguments, "--kubeconfig", str(typist), environment=variables) as terminal,
        Watch(terminal.process.pid, [home], canary) as watch,
    ):
        for question in PROMPTS[name].questions:
            answers = {"Local": str(given / "local"), "Type": secret}
            value = canary.value(f"typed {name} {question.removesuffix(', again: ').removesuffix(': ')}")
            terminal.answer(question.format(**words), answers.get(question.partition(" ")[0], value))
        code, output = terminal.end()

    # Another value than the stored one.
    assert code == (1 if name == "verify" else 0), terminal.shown
    assert any(arguments[0].encode() in command for command in watch.commands)
    assert watch.findings == set()
    assert canary.find("screen and output", terminal.shown + output.encode()) == []
    assert sweep.found_in_audit_log(mark) == set()


def test_audit_log_does_not_tell_whether_a_verified_value_is_the_stored_one(sweep: Sweep, tmp_path: Path):
    create = ("create", "answered", "-e", "A=@-", *PLACE)
    assert sweep.run(*create, folder=tmp_path, stdin=sweep.canary.value("stored")).code == 0
    sweep.console.wait_current("web", "answered")

    def verified(what: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the answer, and what the audit log holds of the guess, without what is new in every request."""
        known = len(list(sweep.cluster.plane.audit_entries()))
        verify = ("verify", "answered", "A", "--from-file", "-")
        printed = sweep.run(*verify, folder=tmp_path, stdin=sweep.canary.value(what)).stdout

        def logged() -> list[dict[str, Any]]:
            entries = list(sweep.cluster.plane.audit_entries())[known:]
            return [entry for entry in entries if names.COMPARE_ANNOTATION in json.dumps(entry.get("requestObject"))]

        wait_until(lambda: len(logged()) == 1, "the audit log holds the guess", seconds=SECONDS)
        return printed, [_without_times(entry) for entry in logged()]

    equal, different = verified("stored"), verified("another")

    assert (equal[0], different[0]) == ("equal\n", "different\n")
    assert equal[1] == different[1]


def _without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the audit log without what differs between equal requests: ids, times and the sealed guess."""
    kept = {key: part for key, part in entry.items() if not key.endswith("Timestamp") and key != "auditID"}
    kept = copy.deepcopy(kept)
    kept["annotations"] = {key: text for key, text in kept["annotations"].items() if "latency" not in key}
    guess = kept["requestObject"]["metadata"]["annotations"].pop(names.COMPARE_ANNOTATION)
    for body in (kept["requestObject"], kept["responseObject"]):
        body["metadata"].pop("managedFields", None)
    assert guess not in json.dumps(kept["responseObject"])
    return kept


@pytest.fixture(scope="module")
def typist(sweep: Sweep) -> Path:
    """A project's developer, who may change secrets and not copy them."""
    kubectl = sweep.cluster.plane.kubectl
    kubectl("create", "rolebinding", DEVELOPER, "-n", "web", "--clusterrole=edit", f"--user={DEVELOPER}")
    return in_web(sweep.cluster.plane.kubeconfig_for(DEVELOPER))


def test_rotation_of_keys_shows_no_value(sweep: Sweep, tmp_path: Path):
    def run(*command: str) -> Watched:
        result = sweep.run(*command, folder=tmp_path)
        assert (result.code, result.findings) == (0, frozenset()), result.stderr
        return result

    def keys() -> dict[str, bool]:
        listed = json.loads(run("keys", "-o", "json").stdout)["keys"]
        return {key["keyId"]: key["active"] for key in listed}

    def is_new_key_used() -> bool:
        sweep.cluster.operator.mount_material()
        command = ("create", "probe", "-e", "A=@-", *PLACE, "--dry-run=server", "-o", "json")
        result = sweep.run(*command, folder=tmp_path, stdin=sweep.canary.value("probe"))
        return result.code == 0 and old not in use_of(json.loads(result.stdout)).key_ids

    mark, (old,) = sweep.cluster.mark(), keys()
    run("keys", "rotate")
    wait_until(lambda: keys().get(old) is False, "a new sealing key", seconds=SECONDS)
    wait_until(is_new_key_used, "values are sealed for the new key", seconds=SECONDS)
    run("reseal", "-A", "-o", "json")
    run("keys", "retire", old)
    assert old not in keys()
    run("keys", "rotate-fingerprint")
    run("reseal", "-A", "--fingerprints", "-o", "json")

    assert sweep.found_in_audit_log(mark) == set()


def given(canary: Canary, name: str, folder: Path) -> dict[str, str]:
    """Write the files of a person, and return what stands for the words in braces."""
    files = folder / "given"
    definitions = files / "definitions"
    definitions.mkdir(parents=True)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "web", "labels": scope_labels("acme", "web")},
    }
    secret = scoped_secret("web/offline", env={"A": canary.value("offline")}, files={"/k": canary.awkward("offline")})
    cases = {
        "definitions": ["definitions"],
        "cases": [
            {"name": "web", "job": {"namespace": "web", "secrets": "offline"}, "expect": {"variables": ["A"]}},
        ],
    }
    sem = {
        "apiVersion": "v1",
        "kind": "ProjectSecret",
        "metadata": {"name": f"{name}-sem", "project_id_or_name": "web"},
        "data": {"env_vars": [{"name": "A", "value": canary.value("sem")}], "files": []},
    }
    circle = {"items": [{"variable": "KEY", "context_id": "1"}], "next_page_token": None}
    listed = {
        "apiVersion": "cli.scopedsecrets.dev/v1alpha1",
        "kind": "SecretNames",
        "secrets": [{"name": f"{name}-named", "scope": "Project", "project": "web", "env": [{"name": "KEY"}]}],
    }
    texts = {
        "key": canary.awkward("file"),
        "lines": f"B={canary.value('b')}\n",
        "typed_file": canary.value("typed in the editor"),
        "editor": EDITOR,
        "circle": json.dumps(circle),
        "names": json.dumps(listed),
        **{
            f"{each}_values": json.dumps({f"{name}-{each}": {"KEY": canary.value(each)}})
            for each in ("circle", "named")
        },
        "pod": json.dumps(pod("web/job", "offline")),
        "cases": json.dumps(cases),
        "definitions/all.yaml": json.dumps(namespace) + "\n---\n" + json.dumps(secret),
    }
    for path, text in texts.items():
        (files / path).write_text(text)
    return {
        **{each: str(files / each) for each in (*texts, "definitions")},
        "name": name,
        "a": canary.value("a"),
        "typed": canary.value("typed"),
        "sem": json.dumps(sem),
    }
