"""The root command: its help and its verbs."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.main import cli

VERBS = cli.list_commands(click.Context(cli))


def test_help_shows_the_whole_line_of_every_verb():
    shown = " ".join(CliRunner().invoke(cli, ["--help"], terminal_width=120).output.split())
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        line = " ".join((command.help or "").partition("\n\n")[0].split())
        assert f"{verb} {line}" in shown


def test_help_imports_no_framework():
    program = (
        "import sys; from scoped_secrets.cli.main import cli; cli(['--help'], standalone_mode=False); "
        "print([name for name in ('kopf', 'aiohttp', 'kubernetes', 'pydantic', 'cryptography') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_of_help(verb):
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")
