"""The root command: its help and its verbs."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scoped_secrets.cli.main import cli
from scoped_secrets.crypto.certificates import plan_certificates

VERBS = cli.list_commands(click.Context(cli))


def commands(name: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and those behind it, with their names."""
    assert command is not None
    yield name, command
    if isinstance(command, click.Group):
        for verb, inner in command.commands.items():
            yield from commands(f"{name} {verb}", inner)


COMMANDS = dict(each for verb in VERBS for each in commands(verb, cli.get_command(click.Context(cli), verb)))
# They act as the ServiceAccount of their pod or, for development, as the user of a kubeconfig.
PROCESSES = {"admission", "controller", "run"}
# Its parts have the flags.
GROUPS = {"import"}
OFFLINE = {"completion", "crds", "lint", "render", "test"}
# They concern what is in the operator's namespace.
WITHOUT_NAMESPACE = {"keys", "keys rotate", "keys rotate-fingerprint", "keys retire", "public-key"}
IDENTITY = {"--kubeconfig", "--context", "--as", "--as-group", "--as-uid"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - PROCESSES - GROUPS - OFFLINE))
def test_every_verb_that_talks_to_the_cluster_takes_the_flags_of_kubectl(name: str):
    flags = {flag for parameter in COMMANDS[name].params for flag in parameter.opts}

    assert flags >= IDENTITY
    assert ("--namespace" in flags) is (name not in WITHOUT_NAMESPACE)
    assert ("-n" in flags) is (name not in WITHOUT_NAMESPACE)


@pytest.mark.parametrize("name", sorted(OFFLINE | GROUPS))
def test_a_verb_that_talks_to_no_cluster_takes_none_of_them(name: str):
    assert not IDENTITY & {flag for parameter in COMMANDS[name].params for flag in parameter.opts}


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


def test_the_client_librarys_files_of_credentials_are_gone_when_a_command_ends(tmp_path: Path):
    temporary, kubeconfig = tmp_path / "temporary", tmp_path / "kubeconfig"
    temporary.mkdir()
    authority = plan_certificates(None, ["test"], datetime.now(UTC), bundle_published=False).authority
    encoded = base64.b64encode(authority.certificate_pem()).decode()
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": encoded}
    content = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": "none"}}],
    }
    kubeconfig.write_text(json.dumps(content))
    program = (sys.executable, "-m", "scoped_secrets", "keys", "--kubeconfig", str(kubeconfig))
    result = subprocess.run(
        program, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert list(temporary.iterdir()) == []
