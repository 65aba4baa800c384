"""The cgroup that holds all containers of a node: made before it starts, removed after it ended."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from tests.cluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
# Every cgroup has this file. Version 2 has it in the root, version 1 in one folder per controller.
PROCESSES = "cgroup.procs"
# A cgroup of version 1 takes no process before these are set, and inherits neither.
INHERITED_BY_HAND = ("cpuset.cpus", "cpuset.mems")
# A group weighs as much as a single process beside it, so that on a busy machine all containers together would get no
# more time than one of its tests: twenty times the default of version 1 and of version 2.
WEIGHTS = {"cpu.shares": "20480", "cpu.weight": "2000"}
BUSY_SECONDS = 10.0
POLL_SECONDS = 0.05


def create_cgroup(name: str) -> None:
    """Create the cgroup `name` below the root of every hierarchy."""
    for hierarchy in _hierarchies():
        folder = hierarchy / name
        folder.mkdir()
        for setting in INHERITED_BY_HAND:
            if (folder / setting).exists() and (hierarchy / setting).exists():
                (folder / setting).write_text((hierarchy / setting).read_text())
        _enable_controllers(hierarchy)
        for setting, weight in WEIGHTS.items():
            if (folder / setting).exists():
                (folder / setting).write_text(weight)


def remove_cgroup(name: str) -> None:
    """Remove the cgroup `name` and those below it from every hierarchy; an absent one is fine.

    Raises:
        ClusterError: Something still runs in it.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            while not _is_removed(Path(folder)):
                if time.monotonic() > deadline:
                    raise ClusterError(f"the cgroup {folder} has processes: end them")
                time.sleep(POLL_SECONDS)


def _hierarchies() -> list[Path]:
    candidates = [ROOT, *ROOT.glob("*")]
    if (ROOT / PROCESSES).exists():
        return [ROOT]
    return [folder for folder in candidates if (folder / PROCESSES).exists()]


def _enable_controllers(hierarchy: Path) -> None:
    """Let cgroups below a hierarchy of version 2 have all controllers that it has itself."""
    available = hierarchy / "cgroup.controllers"
    if available.exists():
        for controller in available.read_text().split():
            # One that is in use by version 1, or refused in a container, is not there for anyone.
            with contextlib.suppress(OSError):
                (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")


def _is_removed(folder: Path) -> bool:
    """Remove one cgroup; it stays busy for a moment after its last process was killed."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
