"""The commands for installing, the first job, upgrading and uninstalling, executed as the documents have them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster.run_directory import REPOSITORY
from tests.e2e.machine import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

README = REPOSITORY / "README.md"
CHART_README = REPOSITORY / "helm" / "scoped-secrets" / "README.md"
VALUE = "readme-example-value"
# The node has the image already, and there is no registry to push it to.
ELSEWHERE = re.compile(r"^(make image|docker|podman|buildah)\b")
SECONDS = 240
EXAMPLE_NAMESPACES = ("acme", "web", "web-production")


def sections(document: Path) -> dict[str, str]:
    """Return a document's sections by their headings of the second level."""
    parts = re.split(r"(?m)^## (.+)$", document.read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def scripts(document: Path, heading: str) -> list[str]:
    """Return the console blocks of a section, in their order, without the commands for other machines."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", sections(document)[heading])
    kept = ("".join(line for line in block.splitlines(True) if not ELSEWHERE.match(line)) for block in blocks)
    return [block for block in kept if block.strip()]


def run(machine: Machine, script: str) -> str:
    """Run a block in the checkout as a person would, but stop at the first command that fails."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=REPOSITORY,
        env=machine.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}\n{machine.described()}"
    return result.stdout


@pytest.fixture
def clean(machine: Machine) -> Iterator[Machine]:
    """A cluster in which nothing is installed, before and after."""
    yield machine
    machine.cluster.kubectl("delete", "namespace", *EXAMPLE_NAMESPACES, "--ignore-not-found", timeout=120)
    machine.uninstall()


def test_documented_commands_install_run_a_job_upgrade_and_uninstall(clean: Machine):
    machine = clean
    for script in scripts(README, "Install"):
        run(machine, script)
    (first_job,) = scripts(README, "Your first job")
    log = run(machine, first_job)
    for line in ("region     eu-west-1", "account    web-production", "registry   acme-ci"):
        assert line in log.splitlines()
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)

    for script in scripts(CHART_README, "Upgrade"):
        run(machine, script)
    machine.run_job(namespace, VALUE)

    for script in scripts(CHART_README, "Uninstall"):
        run(machine, script)
    assert [name for name in machine.objects() if f" {SYSTEM}" in name] == []
    machine.cluster.kubectl("delete", "namespace", namespace, timeout=60)
