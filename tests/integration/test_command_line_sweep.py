"""No verb of the command line shows a value: not in output, files, arguments, variables, history or the audit log.

The API server logs the bodies of every request and response. A verb that the program gets must enter a table here.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.cli.main import GROUPS
from tests.cli.terminal import Terminal
from tests.cluster.assets import find_assets
from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import wait_until
from tests.conftest import ENVIRONMENT
from tests.integration.console import SECONDS, Console, pod, scoped_secret
from tests.integration.native_secrets import native
from tests.integration.people import wait_for_certificate
from tests.support.builders import scope_labels
from tests.support.canary import Canary
from tests.support.installed import InstalledOperator
from tests.support.watching import Watch, Watched, watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}
USER = "sweeper"
PLACE = ("-p", "web", "--organization", "acme")
# The commands of each verb; {name} is a secret that exists, and the first word of a pair is the standard input.
VERBS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "create": [
        (given, ("create", name, "-e", "A=@-", "--env-file", "{lines}", "-f", "{key}:/data/key", *PLACE, *flags))
        for given, name, flags in (
            ("{a}", "{name}-client", ("--dry-run=client", "-o", "yaml")),
            ("{a}", "{name}-server", ("--dry-run=server", "-o", "json")),
            ("{a}", "{name}-stored", ()),
        )
    ],
    "set": [
        ("{typed}", ("set", "{name}", "A=@-", "-o", "yaml")),
        ("", ("set", "{name}", "-f", "{key}:/data/other")),
    ],
    "unset": [("", ("unset", "{name}", "A", "-o", "json"))],
    "edit": [
        ("", ("edit", "{name}", "--dry-run=client", "-o", "yaml")),
        ("", ("edit", "{name}")),
    ],
    "get": [
        ("", ("get",)),
        ("", ("get", "{name}")),
        ("", ("get", "{name}", "-o", "yaml")),
        ("", ("get", "{name}", "-o", "json")),
        ("", ("get", "--effective", *PLACE)),
    ],
    "describe": [("", ("describe", "{name}"))],
    "share": [("", ("share", "{name}", "--project", "web")), ("", ("share", "{name}", "--deny-exec", "-o", "yaml"))],
    "cordon": [("", ("cordon", "{name}", "--reason", "leak", "-o", "json"))],
    "uncordon": [("", ("cordon", "{name}")), ("", ("uncordon", "{name}"))],
    "rotate": [
        ("", ("rotate", "{name}", "A", "--generate", "", "--keep-previous", "24h", "--dry-run=client", "-o", "yaml")),
        ("", ("rotate", "{name}", "A", "--generate", "", "--keep-previous", "24h", "-o", "json")),
    ],
    "clone": [("", ("clone", "{name}", "{name}-copy", "-o", "yaml"))],
    "rename": [("", ("rename", "{name}", "{name}-new", "--yes"))],
    "delete": [("", ("delete", "{name}", "--yes"))],
    "import": [
        ("C={typed}\n", ("import", "dotenv", "-", "--name", "{name}-dotenv", *PLACE, "--dry-run=client", "-o", "yaml")),
        ("C={typed}\n", ("import", "dotenv", "-", "--name", "{name}-dotenv", *PLACE)),
        ("{sem}", ("import", "sem", "-", *PLACE)),
        ("", ("import", "circleci", "{circle}", "--name", "{name}-circle", "--values", "{circle_values}", *PLACE)),
        ("", ("import", "secret", "web/native", "--name", "{name}-native", *PLACE)),
    ],
    "export": [("", ("export", "--names")), ("", ("export", "--names", "-o", "json"))],
    "explain": [("", ("explain", "{name}", *PLACE)), ("", ("explain", "{name}", *PLACE, "-o", "json"))],
    "can-use": [("", ("can-use", "{name}", *PLACE, "-o", "json"))],
    "what-gets": [("", ("what-gets", "pod/{name}")), ("", ("what-gets", "pod/{name}", "-o", "json"))],
    "who-uses": [("", ("who-uses", "{name}", "-o", "json"))],
    "report": [("", ("report", "--stale", "0d", "--unused", "0d", "--duplicates", "-o", "yaml"))],
    "audit": [("", ("audit", "{name}", "--since", "1h", "-o", "json"))],
    "verify": [
        ("{a}", ("verify", "{name}", "A", "--from-file", "-")),
        ("", ("verify", "{name}", "--file", "/data/key", "--from-file", "{key}")),
    ],
    "lint": [("", ("lint", "-f", "{definitions}", "-o", "json")), ("", ("lint", "-f", "{definitions}", "-o", "sarif"))],
    "render": [
        ("", ("render", "-f", "{definitions}", "--pod", "{pod}", "-o", form)) for form in ("yaml", "patch", "diff")
    ],
    "test": [("", ("test", "-f", "{cases}", "-o", form)) for form in ("table", "json", "junit")],
    "seal": [
        (
            "",
            ("seal", "-n", "web", "--name", "s", "--scope", "Project", "--env-from-file", "A={key}", "-o", "json"),
        )
    ],
    "doctor": [("", ("doctor", "-o", "json"))],
    "keys": [("", ("keys", "-o", "json"))],
    "reseal": [("", ("reseal", "-n", "web", "--fingerprints"))],
}
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
OFFLINE = {"lint", "render", "test"}
# `lint` reports the plain text, `doctor` the test cluster, which has no encryption at rest: not errors of the command.
MAY_FAIL = {"lint", "doctor"}
EDITOR = """\
import json, pathlib, sys
path = pathlib.Path(sys.argv[2])
text = path.read_text()
typed = json.dumps(pathlib.Path(sys.argv[1]).read_text())
path.write_text(text.replace("value: '# unchanged'", "value: " + typed, 1))
"""
LEAK = """\
import os, pathlib, subprocess, sys, time
value = sys.stdin.read()
print(value)
print(value, file=sys.stderr)
path = pathlib.Path(os.environ["TMPDIR"], "draft")
path.write_text(value)
subprocess.run(["sleep", "0.5"], env={**os.environ, "VALUE": value})
path.unlink()
subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", value])
"""


@dataclass(frozen=True)
class Sweep:
    """A cluster whose audit log holds every body, and the person who runs the verbs."""

    plane: ControlPlane
    console: Console
    kubeconfig: Path

    def run(self, *command: str, folder: Path, canary: Canary, stdin: str = "", editor: str = "") -> Watched:
        """Run our program as a person does."""
        place = () if command[0] in OFFLINE else ("--kubeconfig", str(self.kubeconfig))
        environment = {"KUBE_EDITOR": editor} if editor else {}
        program = (sys.executable, "-m", "scoped_secrets", *command, *place)
        results: list[Watched] = []

        def is_answered() -> bool:
            results[:] = [watched(program, folder, canary, stdin=stdin, environment=environment)]
            # On a busy machine the two seconds may pass in which admission asks for the right to copy.
            return "the API server did not tell whether you may copy" not in results[0].stderr

        wait_until(is_answered, f"admission's answer about {command[0]}", seconds=SECONDS)
        return results[0]

    def found_in_audit_log(self, canary: Canary) -> set[str]:
        """Return where a value is, except where the controller writes the bundle Secrets of pods."""
        return {
            f"{entry['verb']} {entry['requestURI']}"
            for entry in self.plane.audit_entries()
            if entry["user"]["username"] == USER or entry.get("objectRef", {}).get("resource") != "secrets"
            if canary.find("entry", json.dumps(entry))
        }


@pytest.fixture(scope="module")
def sweep(no_personal_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """A cluster of its own with the operator, and a person who may do everything."""
    with ControlPlane.start(find_assets(ENVIRONMENT), audit=True, audit_policy=POLICY) as plane:
        operator = InstalledOperator(plane, tmp_path_factory.mktemp("operator"))
        try:
            operator.install()
            operator.start()
            console = Console(plane)
            wait_for_certificate(console)
            plane.create_namespace("web", scope_labels("acme", "web"))
            path = plane.kubeconfig_for(USER, ("system:masters",))
            content = json.loads(path.read_text())
            content["contexts"][0]["context"]["namespace"] = "web"
            path.write_text(json.dumps(content))
            yield Sweep(plane, console, path)
        finally:
            operator.uninstall()


def test_every_verb_is_in_a_table():
    assert {verb for verbs in GROUPS.values() for verb in verbs} == VERBS.keys() | OTHERS.keys()
    assert not VERBS.keys() & OTHERS.keys()


def test_watch_finds_a_value_in_every_place(tmp_path: Path):
    canary = Canary()
    program = (sys.executable, "-c", LEAK)
    leaked = watched(program, tmp_path, canary, stdin=canary.value("leaked"))
    typed = watched(("true", canary.value("typed")), tmp_path, canary)
    places = {"standard output", "standard error", "arguments", "variables", "file draft"}
    assert {finding.partition(" (")[0] for finding in leaked.findings} == places
    assert "file .bash_history (raw)" in typed.findings


def test_audit_log_would_show_a_value_in_plain_text(sweep: Sweep):
    canary = Canary()
    sweep.console.apply(scoped_secret("web/plain", env={"KEY": canary.value("plain")}))
    assert sweep.found_in_audit_log(canary)


@pytest.mark.parametrize("verb", VERBS)
def test_verb_shows_no_value(verb: str, sweep: Sweep, tmp_path: Path):
    canary, name = Canary(), f"swept-{verb}"
    words = given(canary, name, tmp_path)
    if verb == "import":
        sweep.console.create(native("web", "native", TOKEN=canary.value("native")))
    if verb not in OFFLINE:
        create = ("create", name, "-e", "A=@-", "--env-file", words["lines"], "-f", f"{words['key']}:/data/key")
        created = sweep.run(*create, *PLACE, folder=tmp_path, canary=canary, stdin=words["a"])
        assert (created.code, created.findings) == (0, frozenset()), created.stderr
        sweep.console.wait_current("web", name)
    if verb in {"what-gets", "who-uses"}:
        sweep.console.create(pod(f"web/{name}", name))
        assert sweep.console.seen("web", name).env["A"] == words["a"]

    for stdin, command in VERBS[verb]:
        arguments = [word.format(**words) for word in command]
        editor = f"{sys.executable} {words['editor']} {words['typed_file']}" if verb == "edit" else ""
        result = sweep.run(*arguments, folder=tmp_path, canary=canary, stdin=stdin.format(**words), editor=editor)
        assert result.code == 0 or (verb in MAY_FAIL and result.code == 1), (arguments, result.stderr)
        assert result.stdout.strip()
        assert result.findings == frozenset(), arguments

    assert sweep.found_in_audit_log(canary) == LOGGED.get(verb, set())


def test_audit_log_does_not_tell_whether_a_verified_value_is_the_stored_one(sweep: Sweep, tmp_path: Path):
    canary = Canary()
    create = ("create", "answered", "-e", "A=@-", *PLACE)
    assert sweep.run(*create, folder=tmp_path, canary=canary, stdin=canary.value("stored")).code == 0
    sweep.console.wait_current("web", "answered")

    def verified(what: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the answer, and what the audit log holds of the guess, without what is new in every request."""
        known = len(list(sweep.plane.audit_entries()))
        verify = ("verify", "answered", "A", "--from-file", "-")
        printed = sweep.run(*verify, folder=tmp_path, canary=canary, stdin=canary.value(what)).stdout

        def logged() -> list[dict[str, Any]]:
            entries = list(sweep.plane.audit_entries())[known:]
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


def test_value_typed_at_a_prompt_is_shown_nowhere(sweep: Sweep, tmp_path: Path):
    canary = Canary()
    home = tmp_path / "home"
    home.mkdir()
    for verb in (("create", "typed", "-e", "A", *PLACE), ("rotate", "typed", "A"), ("verify", "typed", "A")):
        value = canary.value("-".join(verb[:1]))
        arguments = (*verb, "--kubeconfig", str(sweep.kubeconfig))
        with (
            Terminal(*arguments, environment={"HOME": str(home), "TMPDIR": str(home)}) as terminal,
            Watch(terminal.process.pid, [home], canary) as watch,
        ):
            terminal.answer("Value for ", value)
            if verb[0] != "verify":
                terminal.answer("again: ", value)
            code, printed = terminal.end()
        assert code == (1 if verb[0] == "verify" else 0), terminal.shown
        assert any(verb[1].encode() in command for command in watch.commands)
        assert watch.findings == set()
        assert canary.find("screen and output", terminal.shown + printed.encode()) == []
        assert sweep.found_in_audit_log(canary) == set()
        if verb[0] != "verify":
            sweep.console.wait_current("web", "typed")


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
    texts = {
        "key": canary.awkward("file"),
        "lines": f"B={canary.value('b')}\n",
        "typed_file": canary.value("typed in the editor"),
        "editor": EDITOR,
        "circle": json.dumps(circle),
        "circle_values": json.dumps({f"{name}-circle": {"KEY": canary.value("circle")}}),
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
