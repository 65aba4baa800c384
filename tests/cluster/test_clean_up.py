"""Nothing of a cluster is left, however its owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.cgroups import ROOT
from tests.cluster.errors import NodeUnavailableError
from tests.cluster.node_tools import find_node_tools
from tests.cluster.processes import marked_processes, wait_until
from tests.cluster.run_directory import PREFIX, REPOSITORY, RunDirectory, clean_abandoned
from tests.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

GONE_SECONDS = 30.0
# Tests in two workers, each with a cluster's folder and a process in it, that never end by themselves.
WAITING_TESTS = """
import signal
import pytest
from tests.cluster.processes import Program
from tests.cluster.run_directory import RunDirectory

@pytest.mark.timeout(0)
@pytest.mark.parametrize("number", range(2))
def test_waits(number):
    directory = RunDirectory.create("test")
    try:
        Program("sleep", ["sleep", "600"], directory.path / "sleep.log", directory.environment())
        signal.pause()
    finally:
        directory.close()
"""


class Owner:
    """`python -m tests.cluster up` in a process of its own, with a temporary folder of its own."""

    def __init__(self, temporary: Path, *options: str) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "up", *options],
            cwd=REPOSITORY,
            env={**ENVIRONMENT, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.output: list[str] = []
        for line in iter(self.process.stdout.readline, ""):
            self.output.append(line)
            if line.startswith("export KUBECONFIG="):
                break
        (self.folder,) = temporary.glob(f"{PREFIX}*")

    def watchers(self) -> list[int]:
        """Return the processes that would clean up after the owner."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.folder).encode() in command and b"tests.cluster.reaper" in command:
                found.append(int(entry.name))
        return found

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.folder.exists(), "the folder is gone", seconds=GONE_SECONDS)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short temporary folder for this process and the owners, since sockets have short names.

    pytest's own are longer, and longer still in a worker of pytest-xdist.
    """
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        monkeypatch.undo()


@pytest.fixture
def owner(temporary: Path, control_plane: Cluster) -> Iterator[Owner]:
    # The shared control plane is not used; it has made sure that the programs are built.
    started = Owner(temporary)
    yield started
    started.end()
    started.wait_until_gone()


def assert_no_trace(folder: Path) -> None:
    assert not folder.exists()
    assert marked_processes(folder) == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert [*ROOT.glob(folder.name), *ROOT.glob(f"*/{folder.name}")] == []


@pytest.mark.integration
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cluster_ends_with_its_owner(owner: Owner, ending: signal.Signals):
    owner.process.send_signal(ending)

    assert owner.process.wait(GONE_SECONDS) == 0
    assert_no_trace(owner.folder)


@pytest.mark.integration
def test_a_killed_owner_leaves_nothing_behind(owner: Owner):
    assert len(marked_processes(owner.folder)) == 3

    os.killpg(owner.process.pid, signal.SIGKILL)

    owner.wait_until_gone()
    assert_no_trace(owner.folder)


@pytest.mark.integration
def test_the_next_run_cleans_up_when_everything_was_killed(owner: Owner):
    for watcher in owner.watchers():
        os.kill(watcher, signal.SIGKILL)
    owner.process.kill()
    owner.process.wait()
    assert len(marked_processes(owner.folder)) == 3

    assert clean_abandoned() == [owner.folder]

    assert_no_trace(owner.folder)


@pytest.mark.integration
def test_the_next_run_leaves_living_clusters_alone(owner: Owner):
    assert clean_abandoned() == []

    assert len(marked_processes(owner.folder)) == 3


@pytest.mark.integration
def test_a_second_cluster_runs_beside_the_first(owner: Owner, control_plane: Cluster):
    assert owner.folder.joinpath("kubeconfig").is_file()
    assert control_plane.kubectl("get", "--raw", "/readyz").stdout == "ok"


@pytest.mark.e2e
def test_killed_owner_leaves_no_node(temporary: Path, control_plane: Cluster):
    try:
        find_node_tools(ENVIRONMENT)
    except NodeUnavailableError as reason:
        if ENVIRONMENT.get("CI") == "true":
            raise
        pytest.skip(str(reason))
    owner = Owner(temporary, "--node")
    try:
        assert [*ROOT.glob(owner.folder.name), *ROOT.glob(f"*/{owner.folder.name}")] != []

        for watcher in owner.watchers():
            os.kill(watcher, signal.SIGKILL)
        owner.process.kill()
        owner.process.wait()
        clean_abandoned()

        assert_no_trace(owner.folder)
    finally:
        owner.end()
        clean_abandoned()


@pytest.mark.integration
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_with_workers_leaves_nothing_behind(temporary: Path, tmp_path: Path, ending: signal.Signals):
    (tmp_path / "test_waiting.py").write_text(WAITING_TESTS)
    options = ("-c", str(REPOSITORY / "pyproject.toml"), f"--rootdir={REPOSITORY}", f"--basetemp={tmp_path / 'base'}")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "-n", "2", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=REPOSITORY,
        env={**ENVIRONMENT, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        folders: list[Path] = []

        def is_waiting() -> bool:
            folders[:] = [folder for folder in temporary.glob(f"{PREFIX}*") if (folder / "lock").exists()]
            return len(folders) == 2 and all(marked_processes(folder) for folder in folders)

        wait_until(is_waiting, "both workers wait", seconds=GONE_SECONDS * 2)

        # To pytest alone, as a supervisor does it. Ctrl-C in a terminal reaches the workers as well.
        run.send_signal(ending)

        run.wait(GONE_SECONDS * 2)
        gone = "the workers' folders are gone"
        wait_until(lambda: not any(folder.exists() for folder in folders), gone, seconds=GONE_SECONDS * 2)
        for folder in folders:
            assert_no_trace(folder)
    finally:
        run.kill()
        run.wait()


def test_a_folder_of_another_user_is_not_touched(temporary: Path, monkeypatch):
    folder = temporary / f"{PREFIX}foreign"
    folder.mkdir()
    old = time.time() - 3600
    os.utime(folder, (old, old))
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    assert clean_abandoned() == []

    assert folder.is_dir()


def test_unlocked_run_directory_is_removed_after_a_minute(temporary: Path):
    young, old = temporary / f"{PREFIX}young", temporary / f"{PREFIX}old"
    young.mkdir()
    old.mkdir()
    an_hour_ago = time.time() - 3600
    os.utime(old, (an_hour_ago, an_hour_ago))

    assert clean_abandoned() == [old]

    assert young.is_dir()


def test_closing_twice_is_fine(temporary: Path):
    directory = RunDirectory.create("test")
    directory.folder("data").joinpath("file").write_text("content")

    directory.close()
    directory.close()

    assert list(temporary.iterdir()) == []
