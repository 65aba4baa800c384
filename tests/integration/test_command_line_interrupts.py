"""Ctrl-C at the prompt of every verb that asks, at a terminal: exit code 130, no traceback, and nothing is changed."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scoped_secrets.cli.main import GROUPS
from tests.cli.terminal import Terminal
from tests.integration.console import scoped_secret
from tests.integration.people import kubeconfig, person, wait_for_certificate

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

CIRCLE = {"items": [{"variable": "KEY", "context_id": "1"}], "next_page_token": None}
# What is typed, and the question at which Ctrl-C is pressed.
PROMPTS = {
    "create": (("create", "new", "-e", "A", "-p", "web"), "Value for variable 'A': "),
    "set": (("set", "kept", "A"), "Value for variable 'A': "),
    "rotate": (("rotate", "kept", "A"), "Value for variable 'A': "),
    "clone": (("clone", "kept", "cloned"), "Value for variable 'A': "),
    "delete": (("delete", "kept"), "Type the name of the secret to delete it: "),
    "import": (
        ("import", "circleci", "{circle}", "--name", "circle", "-p", "web"),
        "Value for variable 'KEY' of 'circle': ",
    ),
    "verify": (("verify", "kept", "A"), "Value for "),
    "seal": (
        ("seal", "-n", "{web}", "--name", "sealed", "--scope", "Project", "--env", "A"),
        "Value for variable 'A': ",
    ),
}
# Ctrl-C is a key of the editor of `edit` (test_command_line_edit.py); `rename` asks when the copy is stored already
# (test_command_line_clone.py).
ELSEWHERE = {"edit", "rename"}
ASKING = re.compile(r"\bprompt_twice\(|\bprompt_for\(|\bask_for_file\(|click\.(?:prompt|confirm)\(")
IMPORTED = re.compile(r"from scoped_secrets\.cli\.(\w+) import")


def source(module: str) -> str:
    return Path(importlib.import_module(f"scoped_secrets.cli.{module}").__file__ or "").read_text()


def modules_of(module: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return a module of the command line and those that it imports."""
    known |= {module}
    for each in IMPORTED.findall(source(module)):
        if each not in known:
            known |= modules_of(each, known)
    return known


def test_every_verb_that_can_ask_is_in_the_list():
    verbs = {verb for group in GROUPS.values() for verb in group}
    named = {verb: {"import": "move_in"}.get(verb, verb.replace("-", "_")) for verb in verbs}
    asking = {verb for verb, name in named.items() if any(ASKING.search(source(each)) for each in modules_of(name))}
    assert asking == PROMPTS.keys() | ELSEWHERE


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> Company:
    """An organization with a project that has a secret."""
    company = found()
    web = company.namespace("web", "web")
    wait_for_certificate(console)
    console.apply(scoped_secret(f"{web}/kept", env={"A": canary.value("kept at ctrl-c")}))
    console.wait_current(web, "kept")
    return company


@pytest.fixture(scope="module")
def developer(firm: Company) -> Path:
    web = f"{firm.organization}-web"
    return kubeconfig(firm, person(firm, "interrupter", "edit", web), namespace=web)


@pytest.mark.parametrize("verb", PROMPTS)
def test_ctrl_c_at_a_prompt_changes_nothing(
    verb: str, firm: Company, developer: Path, console: Console, tmp_path: Path
):
    web = f"{firm.organization}-web"
    circle = tmp_path / "circle.json"
    circle.write_text(json.dumps(CIRCLE))
    command, question = PROMPTS[verb]
    arguments = [each.format(circle=circle, web=web) for each in command]
    before = {name: body["spec"] for name, body in console.items("ssec", web).items()}

    with Terminal(*arguments, "--kubeconfig", str(developer)) as terminal:
        terminal.wait_for(question)
        terminal.interrupt()
        code, _ = terminal.end()

    assert code == 130
    assert b"Traceback" not in terminal.shown
    assert {name: body["spec"] for name, body in console.items("ssec", web).items()} == before
