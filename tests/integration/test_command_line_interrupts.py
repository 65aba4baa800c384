"""Ctrl-C at a terminal, wherever a verb asks, waits for the controller or waits for the API server.

The exit code is 130, without a traceback. Nothing is stored, no file is left, and the terminal shows again what is
typed. The verbs come from the program, so that a new one that asks or waits needs an entry.
"""

from __future__ import annotations

import importlib
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets.cli.main import GROUPS
from tests.cli.terminal import Terminal
from tests.cluster.processes import wait_until
from tests.integration.command_table import SERVERS, TABLE, commands
from tests.integration.console import SECONDS, scoped_secret
from tests.integration.people import done
from tests.integration.prompts import PROMPTS, prompt_words
from tests.support.fault_proxy import Cut, Fault, FaultProxy
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/.*"
MEMORY = Path("/dev/shm")  # noqa: S108 - where `edit` keeps its drafts; here in a folder of the test.
# A question of a command: Ctrl-C is pressed there, after the ones before it are answered.
QUESTIONS = [(name, position) for name, prompt in PROMPTS.items() for position in range(len(prompt.questions))]
# Verbs at which Ctrl-C means something else, with their tests.
ELSEWHERE = {
    # The key belongs to the editor.
    "edit": "test_command_line_edit.py::test_ctrl_c_in_an_editor_that_it_ends_changes_nothing_and_leaves_no_draft",
    # It asks when the copy is stored already.
    "rename": "test_command_line_clone.py::test_ctrl_c_at_the_prompt_of_rename_keeps_both_and_the_command_continues",
}
# Verbs that wait for the controller, with the line that they print meanwhile.
WAITING = {
    "clone": (("clone", "kept", "waiting"), "Waiting for the controller to complete"),
    "rename": (("rename", "kept", "waiting", "--yes"), "Waiting for the controller to complete"),
    "reseal": (("reseal", "-n", "{web}", "--fingerprints"), "0 of 1 definitions are done"),
}
# Ctrl-C stops them, which is what it is for: exit code 0.
STOPPED = {
    "controller": "test_command_line_roles.py::test_server_names_the_right_that_its_user_lacks_and_ends_at_ctrl_c",
    "admission": "test_command_line_roles.py::test_server_names_the_right_that_its_user_lacks_and_ends_at_ctrl_c",
    "run": "test_run.py::test_run_installs_serves_and_removes_its_webhooks",
}
ASKS = re.compile(r"\bprompt_twice\(|\bprompt_for\(|\bask_for_file\(|click\.(?:prompt|confirm)\(|\bdraft\(")
WAITS = re.compile(r"\bwait_until_ready\(|asyncio\.sleep\(|\bstop_on_signals\(")
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


def verbs_with(pattern: re.Pattern[str]) -> set[str]:
    """Return the verbs whose modules have a text."""
    verbs = {verb for group in GROUPS.values() for verb in group}
    named = {verb: {"import": "move_in"}.get(verb, verb.replace("-", "_")) for verb in verbs}
    return {verb for verb, name in named.items() if any(pattern.search(source(each)) for each in modules_of(name))}


def test_every_verb_that_asks_or_waits_is_in_a_list():
    assert verbs_with(ASKS) == {prompt.command[0] for prompt in PROMPTS.values()} | ELSEWHERE.keys()
    assert verbs_with(WAITS) == WAITING.keys() | STOPPED.keys()
    for reference in (*ELSEWHERE.values(), *STOPPED.values()):
        module, _, test = reference.partition("::")
        assert f"\ndef {test}(" in (Path(__file__).parent / module).read_text()


@pytest.fixture(scope="module")
def firm(firm: Company, console: Console, canary: Canary) -> Company:
    """The organization, with a secret of its project."""
    console.apply(scoped_secret(f"{firm.web}/kept", env={"A": canary.value("kept at ctrl-c")}))
    console.wait_current(firm.web, "kept")
    return firm


@pytest.fixture
def web(firm: Company, operator: InstalledOperator) -> str:
    del operator
    return firm.web


@pytest.mark.parametrize(("name", "position"), QUESTIONS)
def test_ctrl_c_at_a_prompt_changes_nothing(
    name: str, position: int, web: str, developer: Path, console: Console, tmp_path: Path
):
    words, left = prompt_words("kept", web, tmp_path), tmp_path / "left"
    left.mkdir()
    arguments = [each.format(**words) for each in PROMPTS[name].command]
    questions = [each.format(**words) for each in PROMPTS[name].questions[: position + 1]]
    before = {name: body["spec"] for name, body in console.items("ssec", web).items()}

    variables = {"TMPDIR": str(left), "HOME": str(left), "XDG_RUNTIME_DIR": str(left)}
    with Terminal(*arguments, "--kubeconfig", str(developer), environment=variables) as terminal:
        for question in questions[:-1]:
            terminal.answer(question, "typed")
        terminal.wait_for(questions[-1])
        terminal.interrupt()
        code, _ = terminal.end()
        assert terminal.echoes

    assert code == 130
    assert b"Traceback" not in terminal.shown
    assert list(left.iterdir()) == []
    assert {name: body["spec"] for name, body in console.items("ssec", web).items()} == before


@pytest.mark.parametrize("verb", WAITING)
def test_ctrl_c_while_the_controller_is_away_ends_the_command_and_it_can_be_run_again(
    verb: str, web: str, governor: Path, console: Console, operator: InstalledOperator, canary: Canary
):
    console.apply(scoped_secret(f"{web}/kept", env={"A": canary.value("kept at ctrl-c")}))
    console.wait_current(web, "kept")
    operator.stop_controllers()
    command, line = WAITING[verb]
    arguments = [each.format(web=web) for each in command]

    with Terminal(*arguments, "--kubeconfig", str(governor)) as terminal:
        terminal.wait_for(line)
        terminal.interrupt()
        code, _ = terminal.end()
        assert terminal.echoes

    assert code == 130
    assert b"Traceback" not in terminal.shown
    assert console.exists("ssec", web, "kept")
    operator.start()
    done(*arguments, kubeconfig=governor)
    left = set(console.items("ssec", web)) - {"kept"}
    console.cluster.kubectl("delete", "ssec", "-n", web, "--ignore-not-found", *left, "none")


def test_ctrl_c_while_the_api_server_does_not_answer_ends_every_verb(tmp_path: Path):
    table = {verb: row for verb, row in TABLE.items() if takes_kubeconfig(verb)}
    assert len(table) > len(GROUPS)
    for name in ("definitions", "cases", "pod", "key", "values", "stdin"):
        (tmp_path / name).write_text("")
    words = dict.fromkeys(("name", "web", "organization"), "web")
    words |= {name: str(tmp_path / name) for name in ("key", "values", "definitions", "cases", "pod")}
    asked = prompt_words("web", "web", tmp_path)
    inputs = {f"import {source}": Path(asked[source]).read_text() for source in ("sem", "circleci", "names")}
    inputs["import dotenv"] = "A=typed\n"

    def interrupted(verb: str) -> tuple[int, bool, bool]:
        stdin = tmp_path / f"stdin-{verb}"
        stdin.write_text(inputs.get(verb, "typed"))
        command = [word.format(**words) for word in table[verb].command]
        # Standard input is the terminal here, which nobody types at.
        command = [str(stdin) if word == "-" else word for word in command]
        with socket.create_server(("127.0.0.1", 0)) as server, TemporaryDirectory(dir=MEMORY) as memory:
            server.settimeout(60)
            path = tmp_path / f"kubeconfig-{verb}"
            path.write_text(json.dumps(silent_cluster(server.getsockname()[1])))
            place = ("--kubeconfig", str(path))
            words_of_verb = (command[0], *place, *command[1:]) if command[0] == "keys" else (*command, *place)
            variables = {"TMPDIR": memory, "HOME": memory, "XDG_RUNTIME_DIR": memory}
            with Terminal(*words_of_verb, environment=variables) as terminal:
                connection, _ = server.accept()
                with connection:
                    assert connection.recv(1)
                    terminal.interrupt(once=verb == "run")
                    code, _ = terminal.end()
                    assert terminal.echoes
                return code, b"Traceback" in terminal.shown, bool(list(Path(memory).iterdir()))

    with ThreadPoolExecutor(4) as pool:
        results = dict(zip(table, pool.map(interrupted, table), strict=True))

    # `run` is stopped, as servers are.
    assert results == {verb: (0 if verb == "run" else 130, False, False) for verb in table}


def test_ctrl_c_while_the_api_server_no_longer_answers_ends_run_and_says_what_may_be_left(
    console: Console, installed: InstalledOperator, own_control_plane: ControlPlane, tmp_path: Path
):
    silent = [Fault(method, WEBHOOKS, Cut.NEVER, 100) for method in ("PATCH", "DELETE")]
    with someone_elses_operator(installed), interrupted_run(own_control_plane, silent, tmp_path) as (code, shown):
        assert code == 1
        assert "Traceback" not in shown
        (remedy,) = re.findall(r"remove them with: kubectl (.*)", shown)
        assert left(console) != set()
        console.cluster.kubectl(*remedy.split())
        assert left(console) == set()


def test_ctrl_c_leaves_no_webhook_that_the_api_server_stores_after_its_deletion(
    console: Console, installed: InstalledOperator, own_control_plane: ControlPlane, tmp_path: Path
):
    late = [Fault("PATCH", WEBHOOKS, Cut.LATE, 1)]
    with someone_elses_operator(installed), interrupted_run(own_control_plane, late, tmp_path) as (code, shown):
        assert late[0].served == 1
        assert "Traceback" not in shown
        if code:
            # Only because the deletions take longer on a busy machine than the command waits.
            assert "the API server did not delete them in time" in shown
            (remedy,) = re.findall(r"remove them with: kubectl (.*)", shown)
            console.cluster.kubectl(*remedy.split())
        assert left(console) == set()


@contextmanager
def someone_elses_operator(installed: InstalledOperator) -> Iterator[None]:
    """Stop the installed operator, whose webhooks and policies `run` replaces and removes, and install it again."""
    installed.start()
    installed.stop()
    try:
        yield
    finally:
        installed.install()
        installed.start()


@contextmanager
def interrupted_run(cluster: ControlPlane, faults: list[Fault], folder: Path) -> Iterator[tuple[int, str]]:
    """Press Ctrl-C when a fault has happened to `run --install`; yield the exit code and the screen."""
    with FaultProxy(cluster.server, cluster.certificate_authority) as proxy:
        proxy.faults += faults
        kubeconfig = proxy.kubeconfig(cluster.kubeconfig, folder / "kubeconfig")
        arguments = ("run", "--install", "--kubeconfig", str(kubeconfig))
        with Terminal(*arguments, environment=RunningOperator.environment(cluster)) as terminal:
            wait_until(lambda: any(fault.served for fault in faults), "the webhooks are applied", seconds=SECONDS)
            terminal.interrupt(once=True)
            code, _ = terminal.end()
            yield code, " ".join(terminal.shown.decode().split("\r\n"))


def left(console: Console) -> set[str]:
    """Return the names of all webhook configurations, policies and bindings."""
    kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    listed = console.cluster.get(f"mutatingwebhookconfigurations,validatingwebhookconfigurations,{kinds}")
    return {item["metadata"]["name"] for item in listed["items"]}


def silent_cluster(port: int) -> dict[str, Any]:
    """Return the kubeconfig of an API server without TLS on this machine."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "silent", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "person", "user": {"token": "none"}}],
        "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "person", "namespace": "web"}}],
        "current-context": "silent",
    }


def takes_kubeconfig(verb: str) -> bool:
    """Tell whether a command asks the API server and then ends."""
    options = {option for parameter in dict(commands())[verb].params for option in parameter.opts}
    return verb not in SERVERS and ("--kubeconfig" in options or verb.startswith("keys "))
