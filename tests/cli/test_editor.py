"""The file that an editor gets: in memory, for its owner only, and gone afterwards, whatever happens."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from scoped_secrets.cli.editor import draft
from scoped_secrets.cli.secret_input import InputError
from scoped_secrets.errors import ConfigurationError

MEMORY = "/dev/shm"  # noqa: S108 - the folder in memory that Linux has.


def script(tmp_path: Path, body: str) -> str:
    """Return the command of an editor that runs a program with the file as `path`."""
    program = tmp_path / "editor.py"
    program.write_text(
        f"import pathlib, sys, time\npath = pathlib.Path(sys.argv[1])\nseen = pathlib.Path({str(tmp_path)!r})\n"
        + textwrap.dedent(body)
    )
    return f"{sys.executable} {program}"


def test_editor_gets_the_text_in_a_private_file_that_is_gone_afterwards(tmp_path):
    editor = script(tmp_path, "(seen / 'path').write_text(str(path))\npath.write_text(path.read_text() + 'more')\n")
    with draft("aws", {"EDITOR": editor}) as text:
        assert text.edit("text ") == "text more"
        path = Path((tmp_path / "path").read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.suffix == ".yaml"
    assert not path.parent.exists()


@pytest.mark.skipif(not os.access(MEMORY, os.W_OK), reason="needs a folder in memory")
def test_file_is_in_memory_where_there_is_some(tmp_path):
    editor = script(tmp_path, "(seen / 'path').write_text(str(path))\n")
    with draft("aws", {"EDITOR": editor}) as text:
        text.edit("x")
    assert (tmp_path / "path").read_text().startswith(f"{MEMORY}/")


def test_editor_that_fails_or_saves_no_text_changes_nothing(tmp_path):
    for body, words in (("sys.exit(3)", "exit code 3"), ("path.write_bytes(b'\\xff')", "no UTF-8 text")):
        with draft("aws", {"KUBE_EDITOR": script(tmp_path, body)}) as text, pytest.raises(InputError, match=words):
            text.edit("x")


def test_editor_that_is_not_there_is_told_with_a_remedy():
    with draft("aws", {"EDITOR": "/nothing/here"}) as text, pytest.raises(ConfigurationError, match="KUBE_EDITOR"):
        text.edit("x")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_leaves_no_file_behind(number, tmp_path):
    editor = script(
        tmp_path, "(seen / 'new').write_text(str(path)); (seen / 'new').rename(seen / 'path'); time.sleep(60)"
    )
    program = (
        "from scoped_secrets.cli.editor import draft\n"
        f"with draft('aws', {{'EDITOR': {editor!r}}}) as text:\n    text.edit('x')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "path").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
    path = Path((tmp_path / "path").read_text())
    # As a terminal does: to the editor too.
    os.killpg(process.pid, number)

    assert process.wait(timeout=30) != 0
    assert not path.parent.exists()
