"""`scoped-secrets edit` through a scripted editor, against the real API server with admission and controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.cli.terminal import Terminal
from tests.integration.console import pod, scoped_secret

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

MEMORY = Path("/dev/shm")  # noqa: S108 - where the drafts are.


class Person:
    """A person of one project whose editor is a program."""

    def __init__(self, company: Company, role: str, folder: Path) -> None:
        self.web = company.web
        self.folder = folder
        cluster = company.console.cluster
        user = f"{role}-{folder.name}"
        cluster.kubectl("create", "rolebinding", user, "-n", self.web, f"--clusterrole={role}", f"--user={user}")
        self.kubeconfig = cluster.kubeconfig_for(user)

    def edit(self, name: str, *rounds: str, flags: tuple[str, ...] = ()) -> CompletedProcess[str]:
        """Edit a secret; each round is a program that changes `text`, and the last one is repeated."""
        program = self.folder / "editor.py"
        last = len(rounds) - 1
        chosen = "\n".join(
            f"if {f'turn == {turn}' if turn < last else f'turn >= {turn}'}:\n{textwrap.indent(body, '    ')}"
            for turn, body in enumerate(rounds)
        )
        program.write_text(
            "import json, os, pathlib, subprocess, sys\n"
            f"folder = pathlib.Path({str(self.folder)!r})\n"
            "path = pathlib.Path(sys.argv[1])\n"
            "text = path.read_text()\n"
            "turn = len(list(folder.glob('seen-*')))\n"
            "(folder / f'seen-{turn}').write_text(text)\n"
            "(folder / 'path').write_text(f'{path} {path.stat().st_mode:o} {path.parent.stat().st_mode:o}')\n"
            f"{chosen}\npath.write_text(text)\n"
        )
        command = [sys.executable, "-m", "scoped_secrets", "edit", name, "-n", self.web]
        return subprocess.run(
            [*command, *flags, "--kubeconfig", str(self.kubeconfig)],
            env={**os.environ, "KUBE_EDITOR": f"{sys.executable} {program}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def seen(self, turn: int) -> str:
        """Return what the editor showed."""
        return (self.folder / f"seen-{turn}").read_text()

    def forget(self) -> None:
        """Start counting the rounds again."""
        for path in self.folder.glob("seen-*"):
            path.unlink()


@pytest.fixture
def developer(firm: Company, tmp_path: Path) -> Person:
    return Person(firm, "edit", tmp_path)


def replacing(value: str) -> str:
    """Return a round that types a value in the place of the first variable's placeholder."""
    shown = "value: '# unchanged'"
    return f"text = text.replace({shown!r}, {f'value: {json.dumps(value)}'!r}, 1)"


def stored(console: Console, web: str, name: str) -> dict[str, str]:
    """Return the sealed text of each variable."""
    return {entry["name"]: entry["sealed"] for entry in console.items("ssec", web)[name]["spec"]["env"]}


def test_edited_value_reaches_the_job_and_the_others_keep_their_text(
    developer: Person, console: Console, canary: Canary
):
    """Complaint 15: an editor that shows no value changes one and keeps the others."""
    web = developer.web
    env = {"A": canary.value("edit a"), "B": canary.value("edit b")}
    console.apply(scoped_secret(f"{web}/edited", env=env, files={"/data/key": canary.awkward("edit file")}))
    before = stored(console, web, "edited")

    result = developer.edit("edited", replacing(canary.value("edit typed")))

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"ScopedSecret '{web}/edited' changed\n"
    after = stored(console, web, "edited")
    assert after["B"] == before["B"]
    assert after["A"] != before["A"]
    assert developer.seen(0).count("'# unchanged'") == 4
    assert canary.find("what the editor showed", developer.seen(0)) == []
    console.wait_current(web, "edited")
    console.create(pod(f"{web}/edited", "edited"))
    view = console.seen(web, "edited")
    assert {name: view.env[name] for name in "AB"} == {"A": canary.value("edit typed"), "B": canary.value("edit b")}
    assert view.files["/data/key"] == canary.awkward("edit file")


def test_draft_is_private_and_gone_afterwards(developer: Person, console: Console, canary: Canary):
    console.apply(scoped_secret(f"{developer.web}/private", env={"A": canary.value("private")}))
    developer.edit("private", replacing(canary.value("private typed")))

    path, mode, folder_mode = (developer.folder / "path").read_text().split()
    assert (mode, folder_mode) == ("100600", "40700")
    assert not Path(path).parent.exists()
    for left in MEMORY.glob("scoped-secrets-*/*"):
        assert canary.find(str(left), left.read_bytes()) == []


def test_mistake_opens_the_editor_again_with_the_reason_and_the_typed_text(
    developer: Person, console: Console, canary: Canary
):
    console.apply(scoped_secret(f"{developer.web}/mistaken", env={"A": canary.value("mistaken")}))
    typed = canary.value("mistaken typed")
    result = developer.edit(
        "mistaken",
        f"{replacing(typed)}\ntext = text.replace('name: A', 'nam: A')",
        "text = text.replace('nam: A', 'name: A')",
    )

    assert result.returncode == 0, result.stderr
    reason, _, text = developer.seen(1).partition("\n")
    assert reason.startswith("#! `env[0]` must have a name and the fields of an entry")
    assert typed in text
    assert canary.find("output", result.stdout + result.stderr + reason) == []


def test_change_of_another_person_meanwhile_is_kept(developer: Person, console: Console, canary: Canary):
    web = developer.web
    console.apply(scoped_secret(f"{web}/shared", env={"A": canary.value("shared a"), "B": canary.value("shared b")}))
    before = stored(console, web, "shared")
    patch = json.dumps([{"op": "add", "path": "/spec/description", "value": "by another"}])
    other = _kubectl(console, "patch", "ssec", "shared", "-n", web, "--type=json", "-p", patch)

    result = developer.edit("shared", f"{replacing(canary.value('shared typed'))}\n{other}")

    assert result.returncode == 0, result.stderr
    body = console.items("ssec", web)["shared"]
    assert body["spec"]["description"] == "by another"
    assert stored(console, web, "shared")["A"] != before["A"]
    assert stored(console, web, "shared")["B"] == before["B"]


def test_conflict_about_one_field_is_told_and_overwritten_only_on_purpose(
    developer: Person, console: Console, canary: Canary
):
    web = developer.web
    console.apply(scoped_secret(f"{web}/fought", env={"A": canary.value("fought")}, description="old"))
    patch = json.dumps([{"op": "replace", "path": "/spec/description", "value": "theirs"}])
    other = _kubectl(console, "patch", "ssec", "fought", "-n", web, "--type=json", "-p", patch)
    mine = f"text = text.replace('description: old', 'description: mine')\n{other}"

    given_up = developer.edit("fought", mine, "pass")

    assert given_up.returncode == 1
    assert "nothing is changed: another person changed `description`" in given_up.stderr
    assert console.items("ssec", web)["fought"]["spec"]["description"] == "theirs"

    developer.forget()
    again = json.dumps([{"op": "replace", "path": "/spec/description", "value": "theirs again"}])
    other = _kubectl(console, "patch", "ssec", "fought", "-n", web, "--type=json", "-p", again)
    mine = f"text = text.replace('description: theirs', 'description: mine')\n{other}"
    insisted = developer.edit("fought", mine, "text = text.partition('\\n')[2]")

    assert insisted.returncode == 0, insisted.stderr
    assert developer.seen(1).startswith("#! another person changed `description` at the same time")
    assert console.items("ssec", web)["fought"]["spec"]["description"] == "mine"


def test_viewer_is_told_and_nothing_is_changed(firm: Company, console: Console, canary: Canary, tmp_path: Path):
    viewer = Person(firm, "view", tmp_path)
    console.apply(scoped_secret(f"{viewer.web}/locked", env={"A": canary.value("locked")}))
    before = stored(console, viewer.web, "locked")

    result = viewer.edit("locked", replacing(canary.value("locked typed")), "pass")

    assert result.returncode == 1
    assert "forbidden" in result.stderr
    assert result.stderr.count("\n") == 1
    assert canary.find("output", result.stdout + result.stderr) == []
    assert stored(console, viewer.web, "locked") == before


def test_text_saved_as_it_is_changes_nothing(developer: Person, console: Console, canary: Canary):
    console.apply(scoped_secret(f"{developer.web}/left", env={"A": canary.value("left")}))
    version = console.items("ssec", developer.web)["left"]["metadata"]["generation"]
    for change in ("pass", "text += '# a comment'"):
        result = developer.edit("left", change)
        assert (result.returncode, result.stdout) == (0, "Nothing is changed\n")
        developer.forget()
    assert console.items("ssec", developer.web)["left"]["metadata"]["generation"] == version


def test_ctrl_c_in_an_editor_that_it_ends_changes_nothing_and_leaves_no_draft(
    developer: Person, console: Console, canary: Canary, tmp_path: Path
):
    console.apply(scoped_secret(f"{developer.web}/pressed", env={"A": canary.value("pressed")}))
    before = stored(console, developer.web, "pressed")
    program, typed = tmp_path / "editor.sh", tmp_path / "typed"
    typed.write_text(canary.value("pressed typed"))
    program.write_text('printf %s "$2" >"$1/path"; cat "$1/typed" >"$2"; echo the editor is open >&2; exec sleep 60\n')
    arguments = ("edit", "pressed", "-n", developer.web, "--kubeconfig", str(developer.kubeconfig))

    with Terminal(*arguments, environment={"KUBE_EDITOR": f"sh {program} {tmp_path}"}) as terminal:
        terminal.wait_for("the editor is open")
        terminal.interrupt()
        code, printed = terminal.end()
        assert terminal.echoes

    assert code == 1
    assert b"nothing is changed" in terminal.shown
    assert b"Traceback" not in terminal.shown
    assert canary.find("screen and output", terminal.shown + printed.encode()) == []
    assert not Path((tmp_path / "path").read_text()).parent.exists()
    assert stored(console, developer.web, "pressed") == before


def test_client_dry_run_prints_the_edited_object_for_git_and_stores_nothing(
    developer: Person, console: Console, canary: Canary
):
    web = developer.web
    env = {"A": canary.value("dry edit a"), "B": canary.value("dry edit b")}
    console.apply(scoped_secret(f"{web}/dry", env=env))
    before = stored(console, web, "dry")

    result = developer.edit("dry", replacing(canary.value("dry edit typed")), flags=("--dry-run=client", "-o", "yaml"))

    assert result.returncode == 0, result.stderr
    assert canary.find("output", result.stdout + result.stderr) == []
    assert stored(console, web, "dry") == before
    document = yaml.safe_load(result.stdout)
    console.apply(document)
    after = stored(console, web, "dry")
    assert after["B"] == before["B"]
    assert after["A"] != before["A"]
    console.wait_current(web, "dry")
    console.create(pod(f"{web}/dry", "dry"))
    assert console.seen(web, "dry").env["A"] == canary.value("dry edit typed")


def _kubectl(console: Console, *arguments: str) -> str:
    """Return a line of a program that runs kubectl as an administrator, once."""
    command = [console.cluster._kubectl, "--kubeconfig", str(console.cluster.kubeconfig), *arguments]
    return f"subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL)"
