"""`python -m tests.cluster` gives a person a cluster and takes it away again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.processes import marked_processes
from tests.cluster.run_directory import REPOSITORY
from tests.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.control_plane import ControlPlane

    Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run the command with a temporary folder of its own, which nobody else's clusters are in."""
    temporary = tmp_path_factory.mktemp("t")

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.cluster", *arguments],
            cwd=REPOSITORY,
            env={**ENVIRONMENT, "TMPDIR": str(temporary), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.mark.integration
def test_up_detached_stays_until_down(command: Command, own_control_plane: ControlPlane):
    up = command("up", "--detach")
    kubeconfig = Path(re.findall(r"^export KUBECONFIG=(\S+)$", up.stdout, re.MULTILINE)[0])
    ready = own_control_plane.kubectl("get", "--raw", "/readyz", f"--kubeconfig={kubeconfig}")
    status = command("status")

    down = command("down")

    assert up.returncode == 0
    assert ready.stdout == "ok"
    assert "person: owner" in status.stdout
    assert down.stdout == f"ended {kubeconfig.parent}\n"
    assert not kubeconfig.parent.exists()
    assert marked_processes(kubeconfig.parent) == []
    assert command("status").stdout == "no cluster is running\n"


def test_down_without_a_cluster_says_so(command: Command):
    assert command("down").stdout == "no cluster of `up` is running\n"


def test_a_cluster_that_cannot_start_is_one_line_and_code_1(command: Command, tmp_path: Path):
    up = command("up", KUBEBUILDER_ASSETS=str(tmp_path))

    assert up.returncode == 1
    assert up.stderr.startswith("error: ")
    assert up.stderr.count("\n") == 1
