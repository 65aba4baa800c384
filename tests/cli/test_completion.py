"""Completion in each shell that is on the machine, and of `kubectl scoped-secrets`."""

import os
import shutil
import subprocess
import sys

import pytest

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "from scoped_secrets.cli.main import main; main()"
KUBECTL = "from scoped_secrets.cli.completion import complete_for_kubectl; complete_for_kubectl()"


def script(shell):
    program = [sys.executable, "-m", "scoped_secrets", "completion", shell]
    return subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout


def completed(*words):
    program = [sys.executable, "-c", KUBECTL, *words]
    lines = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [line.partition("\t")[0] for line in lines]


@pytest.fixture
def path(tmp_path):
    """A PATH on which the program has its name, as an installation has it."""
    program = tmp_path / "scoped-secrets"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", SHELLS)
def test_script_of_a_shell_asks_our_program(shell, path):
    text = script(shell)
    assert f"_SCOPED_SECRETS_COMPLETE={shell}_complete" in text
    assert "scoped-secrets" in text
    # What the script runs when a person types a tab.
    words = "scoped-secrets uns"
    asked = {**path, "_SCOPED_SECRETS_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": "1"}
    # fish passes the word that is being typed.
    asked |= {"COMP_CWORD": "uns"} if shell == "fish" else {}
    shown = subprocess.run(["scoped-secrets"], env=asked, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "unset" in shown
    assert "create" not in shown


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_of_this_machine_accepts_the_script(shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on this machine")
    no_run = {"fish": "--no-execute"}.get(shell, "-n")
    result = subprocess.run(
        [program, no_run], input=script(shell), capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stderr == ""


def test_bash_completes_a_verb_and_a_flag(path):
    lines = f"""{script("bash")}
    COMP_WORDS=(scoped-secrets uns); COMP_CWORD=1; _scoped_secrets_completion scoped-secrets; echo "${{COMPREPLY[@]}}"
    COMPREPLY=()
    COMP_WORDS=(scoped-secrets import sem --ski); COMP_CWORD=3; _scoped_secrets_completion scoped-secrets
    echo "${{COMPREPLY[@]}}"
    """
    bash = ["bash", "--norc"]
    shown = subprocess.run(bash, input=lines, env=path, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.split() == ["unset", "--skip-hidden"]


def test_kubectl_gets_completions_in_its_protocol():
    assert completed("uns") == ["unset", ":4"]
    assert completed("import", "do") == ["dotenv", ":4"]
    assert completed("import", "sem", "x", "--dry-run", "") == ["client", "server", ":4"]
    assert "create" in completed("")


def test_completion_of_verbs_imports_no_framework(path):
    program = (
        "import sys\nfrom scoped_secrets.cli.completion import complete_for_kubectl\nsys.argv = ['', '']\n"
        "complete_for_kubectl()\n"
        "print([name for name in ('kopf', 'aiohttp', 'kubernetes', 'cryptography') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"
