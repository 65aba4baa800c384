"""The last words of a process: where it failed and with which type, never the text."""

from __future__ import annotations

import subprocess
import sys

import pytest

CANARY = "canary-91ab"
QUIET = "from scoped_secrets.excepthooks import install_excepthooks\ninstall_excepthooks()\n"
WAYS = {
    "ends the process": f"int('{CANARY}')",
    "has a cause": f"try:\n    int('{CANARY}')\nexcept ValueError as e:\n    raise KeyError('{CANARY}') from e",
    "ends a thread": f"import threading\nt = threading.Thread(target=int, args=('{CANARY}',))\nt.start()\nt.join()",
    "cannot be raised": f"class A:\n    def __del__(self):\n        int('{CANARY}')\nA()",
}


def last_words(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("way", WAYS)
def test_unhandled_exception_shows_its_type_and_not_its_text(way: str):
    said = last_words(QUIET + WAYS[way])

    assert "an exception was not handled: " in said
    assert "ValueError at " in said
    assert CANARY not in said


@pytest.mark.parametrize("way", WAYS)
def test_python_shows_the_text_by_default(way: str):
    assert CANARY in last_words(WAYS[way])


def test_the_command_line_is_quiet_and_fails():
    script = (
        f"import sys\nfrom scoped_secrets.cli import main\nmain.cli.main = lambda **_: int('{CANARY}')\nmain.main()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "an exception was not handled: ValueError" in result.stderr
    assert CANARY not in result.stderr
