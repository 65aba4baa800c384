"""The commands of `sem`, with the program's name replaced: one test for each row of the table in docs/complaints.md."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.terminal import Terminal
from tests.integration.console import pod
from tests.integration.people import EDITOR, done

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


def create(name: str, canary: Canary, developer: Path, folder: Path) -> str:
    """Run the first command of the table, and return what it printed."""
    key = folder / "key"
    key.write_text(canary.value(f"{name} file") + "\n")
    values = ("-e", f"A={canary.value(f'{name} a')}", "-e", f"B={canary.value(f'{name} b')}")
    return done("create", "secret", name, *values, "-f", f"{key}:/root/.aws", "-p", "web", kubeconfig=developer)


def test_create_secret_stores_variables_and_files_that_a_job_gets(
    web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    printed = create("created", canary, developer, tmp_path)

    assert f"ScopedSecret '{web}/created'" in printed
    assert canary.find("output", printed) == []
    console.wait_current(web, "created")
    console.create(pod(f"{web}/created", "created"))
    view = console.seen(web, "created")
    assert {name: view.env[name] for name in "AB"} == {name: canary.value(f"created {name.lower()}") for name in "AB"}
    assert view.files["/root/.aws"] == canary.value("created file") + "\n"


def test_get_secrets_lists_them(web: str, developer: Path, canary: Canary, tmp_path: Path):
    create("listed", canary, developer, tmp_path)

    printed = done("get", "secrets", kubeconfig=developer)

    heading, *rows = (line.split() for line in printed.splitlines())
    assert heading[:2] == ["NAME", "SCOPE"]
    assert [row[:2] for row in rows if row[0] == "listed"] == [["listed", "Project"]]
    assert canary.find(web, printed) == []


def test_get_secret_prints_names_of_variables_and_files(developer: Path, canary: Canary, tmp_path: Path):
    create("shown", canary, developer, tmp_path)

    printed = done("get", "secret", "shown", kubeconfig=developer)

    words = printed.split()
    assert all(name in words for name in ("A", "B", "/root/.aws"))
    assert canary.find("output", printed) == []


def test_edit_secret_opens_the_editor_and_saving_applies(
    web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    create("edited-seed", canary, developer, tmp_path)
    program, typed = tmp_path / "editor.py", tmp_path / "typed"
    program.write_text(EDITOR)
    typed.write_text(canary.value("seed typed"))
    editor = {**os.environ, "KUBE_EDITOR": f"{sys.executable} {program} {typed}"}

    with Terminal("edit", "secret", "edited-seed", "--kubeconfig", str(developer), environment=editor) as terminal:
        code, printed = terminal.end()

    assert code == 0, terminal.shown
    assert printed == f"ScopedSecret '{web}/edited-seed' changed\n"
    console.wait_current(web, "edited-seed")
    console.create(pod(f"{web}/edited-seed", "edited-seed"))
    view = console.seen(web, "edited-seed")
    assert (view.env["A"], view.env["B"]) == (canary.value("seed typed"), canary.value("edited-seed b"))
    assert view.files["/root/.aws"] == canary.value("edited-seed file") + "\n"


def test_delete_secret_asks_for_the_name_or_takes_yes(
    web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    create("typed-name", canary, developer, tmp_path)
    create("said-yes", canary, developer, tmp_path)

    with Terminal("delete", "secret", "typed-name", "--kubeconfig", str(developer)) as terminal:
        terminal.answer("Type the name of the secret to delete it: ", "typed-name")
        code, _ = terminal.end()
    done("delete", "secret", "said-yes", "--yes", kubeconfig=developer)

    assert code == 0, terminal.shown
    assert not {"typed-name", "said-yes"} & console.items("ssec", web).keys()
