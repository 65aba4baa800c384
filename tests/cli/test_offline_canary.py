"""The commands that read files print no value, whatever is wrong with the files."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.operations.files import NAMESPACES, definition, pod, write

from scoped_secrets.cli.main import cli
from scoped_secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-2b8fd0"
FORMS = (CANARY, base64.b64encode(CANARY.encode()).decode())
VALUES = definition(
    "acme/aws",
    env=[{"name": "KEY", "value": CANARY}, {"name": "REGION", "value": CANARY, "sensitive": False}],
    files=[
        {"path": "/etc/a", "content": f"-----BEGIN {CANARY}-----"},
        {"path": "/etc/b", "contentBase64": FORMS[1]},
        {"env": "KUBECONFIG", "content": CANARY},
    ],
)
FILES: dict[str, dict[str, Any] | str] = {
    "sound": VALUES,
    "a value as a key": definition("acme/aws", env=[{"name": "KEY", CANARY: "x"}]),
    "a value as a name": definition("acme/aws", env=[{"name": f"{CANARY}=", "value": "x"}]),
    "a value of another type": definition("acme/aws", env={"KEY": CANARY}),
    "a value in another field": definition("acme/aws", env=[{"name": "KEY", "sealed": CANARY}]),
    "no base64": definition("acme/aws", files=[{"path": "a", "contentBase64": f"!{CANARY}"}]),
    "no YAML": f"apiVersion: v1\nkind: [{CANARY}\n",
    "a tag": f"apiVersion: v1\nkind: !{CANARY} {CANARY}\n",
    "an alias of nothing": f"apiVersion: v1\nkind: *{CANARY}\n",
    "a tab": f"apiVersion: v1\nkind:\n\t{CANARY}: x\n",
    "an expired one": definition("acme/aws", env=[{"name": "KEY", "value": CANARY}], expireTime="2020-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("what", FILES)
def test_no_output_of_an_offline_command_holds_a_value(what: str, tmp_path: Path):
    write(tmp_path, "files/namespaces.yaml", NAMESPACES)
    write(tmp_path, "files/secrets.yaml", FILES[what])
    job = write(tmp_path, "pod.yaml", pod("web/build", "aws"))
    cases = write(
        tmp_path,
        "cases.yaml",
        {
            "definitions": ["files"],
            "cases": [{"name": "x", "job": {"namespace": "web", "secrets": "aws"}, "expect": {"variables": []}}],
        },
    )
    files = str(tmp_path / "files")
    commands = [["lint", "-f", files, "-o", form] for form in ("table", "json")]
    commands += [["render", "-f", files, "--pod", job, "-o", form] for form in ("yaml", "patch", "diff")]
    commands += [["test", "-f", cases, "-o", form] for form in ("table", "json", "junit")]

    for command in commands:
        printed = run(command) if what == "sound" else run_here(command)

        assert printed
        assert not any(form in printed for form in FORMS), command
        assert "Traceback" not in printed


def run(command: list[str]) -> str:
    """Return what a process prints."""
    program = [sys.executable, "-m", "scoped_secrets", *command]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    return ended.stdout + ended.stderr


def run_here(command: list[str]) -> str:
    """Return what this process prints for a command, with the error that ends it, as `main` prints it."""
    result = CliRunner().invoke(cli, command)
    assert result.exception is None or isinstance(result.exception, (SystemExit, ConfigurationError))
    return f"{result.output}{result.exception}"
