"""The commands of the README's first minute do what it says, from a checkout and without a cluster."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scoped_secrets.api.job_cases import parse_cases

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "operator" / "docs" / "offline.md")


def commands() -> list[str]:
    """Return the commands of the README about the examples."""
    lines = DOCUMENTS[0].read_text().splitlines()
    return [line for line in lines if line.startswith("scoped-secrets ") and "manifests/examples" in line]


def test_the_first_minute_has_commands():
    assert len(commands()) == 3


@pytest.mark.parametrize("line", commands())
def test_command_of_the_first_minute_needs_no_cluster(line: str):
    _, *arguments = shlex.split(line)
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}

    ended = subprocess.run(
        [sys.executable, "-m", "scoped_secrets", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    is_refused = "05-refused" in line
    assert ended.returncode == is_refused, ended.stderr
    assert ("PolicyDenied: bundle 'aws' is denied by policy 'acme/production'" in ended.stderr) is is_refused


def test_cases_of_the_documentation_are_valid():
    text = DOCUMENTS[1].read_text()
    (block,) = [each for each in text.split("```") if each.startswith("yaml\ndefinitions:")]

    assert len(parse_cases(yaml.safe_load(block.removeprefix("yaml\n"))).cases) == 3
