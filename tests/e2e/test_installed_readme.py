"""The README's sections about installing, upgrading and removing, executed as they are written."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster.run_directory import REPOSITORY
from tests.e2e.machine import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

VALUE = "readme-example-value"
# The node has the image already, and there is no registry to push it to.
ELSEWHERE = re.compile(r"^(make image|docker|podman|buildah)\b")
SECONDS = 240
EXAMPLE_NAMESPACES = ("acme", "web", "web-production")


def sections() -> dict[str, str]:
    """Return the README's sections by their headings of the second level."""
    parts = re.split(r"(?m)^## (.+)$", (REPOSITORY / "README.md").read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def scripts(heading: str) -> list[str]:
    """Return the console blocks of a section, in their order, without what is not for this machine."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", sections()[heading])
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


def test_the_commands_for_installing_upgrading_and_removing_work_as_they_are_written(clean: Machine):
    machine = clean
    for script in scripts("Install"):
        run(machine, script)
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)

    for script in scripts("Upgrade"):
        run(machine, script)
    machine.run_job(namespace, VALUE)

    for script in scripts("Uninstall"):
        run(machine, script)
    assert [name for name in machine.objects() if f" {SYSTEM}" in name] == []
    machine.cluster.kubectl("delete", "namespace", namespace, timeout=60)
