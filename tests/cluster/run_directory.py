"""The folder that everything of one cluster lives in, and how it goes away whatever happens.

A cluster is one folder below the system's temporary folder. Whoever owns it holds a lock on the file
`lock` in it for as long as it lives; the kernel lets go of the lock when the owner dies, however it
dies. Every process of the cluster carries the folder's path in its environment, so all of them can be
found without any record that a crash could leave incomplete.

Three things bring a cluster to its end, and each of them does the same work (`clean_up`):

- the owner closes it;
- the owner dies, and a small watcher process beside it notices (`tests.cluster.reaper`);
- both were killed, and the next cluster that starts finds the lock free.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.cluster.cgroups import remove_cgroup
from tests.cluster.errors import ClusterError
from tests.cluster.processes import MARKER, kill_marked

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "scoped-secrets-cluster-"
REPOSITORY = Path(__file__).resolve().parents[2]

# A folder without a lock is one that is being made right now, or whose maker died in that moment.
UNLOCKED_GRACE_SECONDS = 60.0


class RunDirectory:
    """One cluster's folder, locked by this process until it is closed."""

    def __init__(self, path: Path, lock: int, watcher: subprocess.Popen[bytes]) -> None:
        """Hold the open descriptor of the lock and the watcher; `create` makes both."""
        self.path = path
        self._lock = lock
        self._watcher = watcher
        self._closed = False
        self._reservations: list[socket.socket] = []

    @classmethod
    def create(cls, purpose: str) -> Self:
        """Make and lock a new folder, after removing what dead owners left behind.

        Args:
            purpose: What `python -m tests.cluster status` says that the cluster is for.

        Raises:
            ClusterError: The machine does not run Linux.
        """
        if not Path("/proc/self/environ").exists():
            raise ClusterError("a cluster of our own needs Linux: set USE_EXISTING_CLUSTER=true and KUBECONFIG")
        clean_abandoned()
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        owner = {"pid": os.getpid(), "purpose": purpose}
        (path / "owner.json").write_text(json.dumps(owner))
        lock = _create_locked(path / "lock")
        return cls(path, lock, _start_watcher(path))

    def folder(self, name: str) -> Path:
        """Return the folder `name` in the run directory, made if need be, readable by us only."""
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def environment(self) -> dict[str, str]:
        """Return the environment for a program of this cluster: nothing personal, and the mark."""
        return {
            "HOME": str(self.folder("home")),
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": str(self.folder("temporary")),
            MARKER: str(self.path),
        }

    def reserve(self, name: str) -> bool:
        """Reserve a name on this machine until the end of the cluster; return whether no other cluster has it.

        The name is that of a socket without a file, which the kernel removes when this process ends, however it ends.
        """
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0{PREFIX}{name}")
        except OSError as error:
            reservation.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._reservations.append(reservation)
        return True

    def close(self) -> None:
        """End the cluster's processes and remove the folder; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            clean_up(self.path)
        finally:
            for reservation in self._reservations:
                reservation.close()
            os.close(self._lock)
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()
            self._watcher.wait()


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What `python -m tests.cluster status` tells of one run directory."""

    path: Path
    owner_pid: int
    purpose: str
    is_alive: bool


def run_statuses() -> list[RunStatus]:
    """Return every run directory of this user, oldest first."""
    return [_status(path) for path in _run_directories()]


def clean_abandoned() -> list[Path]:
    """End and remove every cluster whose owner is dead; return the folders that were removed."""
    return [path for path in _run_directories() if _clean_if_abandoned(path)]


def wait_and_clean(path: Path) -> None:
    """Wait until nobody holds the folder's lock, then clean it up unless its owner has done it."""
    with contextlib.suppress(FileNotFoundError), _lock_of(path, wait=True):
        clean_up(path)


def clean_up(path: Path) -> None:
    """End every process of the folder, unmount what is below it, remove its cgroups and itself.

    The caller holds the folder's lock. Doing it twice, or after half of it was done, is fine.
    """
    kill_marked(path)
    _unmount_below(path)
    remove_cgroup(path.name)
    # The lock goes last, so that whoever waits for it finds nothing left to do.
    for entry in list(path.iterdir()):
        if entry.name == "lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (path / "lock").unlink(missing_ok=True)
    path.rmdir()


def _create_locked(path: Path) -> int:
    """Create a lock file that is already locked when it appears under its name."""
    unnamed = path.with_suffix(".new")
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(path)
    return descriptor


def _start_watcher(path: Path) -> subprocess.Popen[bytes]:
    """Start the process that cleans up when the pipe to us breaks, out of reach of our signals."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.reaper", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        start_new_session=True,
    )


def _run_directories() -> Iterator[Path]:
    """Yield the folders that are ours by name, type and owner, oldest first.

    The temporary folder is everybody's, so a name alone proves nothing: root must not be led to kill
    or remove on behalf of another user's folder.
    """
    found = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            details = path.lstat()
            if stat.S_ISDIR(details.st_mode) and details.st_uid == os.geteuid():
                found.append((details.st_ctime, path))
    yield from (path for _, path in sorted(found))


def _clean_if_abandoned(path: Path) -> bool:
    try:
        with _lock_of(path, wait=False):
            clean_up(path)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return _remove_unlocked(path)
    except (ClusterError, OSError) as error:
        # What one dead run has left must not keep every later run from starting.
        print(f"[test cluster] {path} is still there: {error}", file=sys.stderr)
        return False


def _remove_unlocked(path: Path) -> bool:
    """Remove a folder whose maker died before it was locked; nothing can run in it yet."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if age < UNLOCKED_GRACE_SECONDS or (path / "lock").exists():
        return False
    shutil.rmtree(path, ignore_errors=True)
    return True


@contextlib.contextmanager
def _lock_of(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        BlockingIOError: Somebody holds it and we do not wait.
        FileNotFoundError: The folder has no lock, or lost it while we waited.
    """
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the run directory is gone", str(path))
        yield
    finally:
        os.close(descriptor)


def _status(path: Path) -> RunStatus:
    try:
        owner = json.loads((path / "owner.json").read_text())
    except FileNotFoundError:
        owner = {"pid": 0, "purpose": "unknown"}
    try:
        with _lock_of(path, wait=False):
            is_alive = False
    except FileNotFoundError:
        is_alive = False
    except BlockingIOError:
        is_alive = True
    return RunStatus(path, owner["pid"], owner["purpose"], is_alive)


def _unmount_below(path: Path) -> None:
    """Unmount everything below the folder, the innermost first.

    Raises:
        ClusterError: Something stays mounted; removing files could then reach into it.
    """
    for mount in reversed(_mounts_below(path)):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    if left := _mounts_below(path):
        raise ClusterError(f"{left[0]} cannot be unmounted: unmount it, then run this again")


def _mounts_below(path: Path) -> list[str]:
    """Return the mount points below the folder, in the order in which they were mounted."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except FileNotFoundError:
        return []
    # The kernel writes blanks and backslashes in paths as octal escapes.
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if point.startswith(f"{path}/")]
