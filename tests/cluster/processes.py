"""Programs that run in the background: starting, waiting for, ending and finding them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# The environment variable that every process of a cluster carries, with its folder as the value.
MARKER = "SCOPED_SECRETS_RUN_DIRECTORY"

# Linux hands out ports from 32768 upwards for outgoing connections. A port below stays ours while a
# server is stopped and started again.
PORTS = range(20000, 32000)
LOG_LINES_IN_ERRORS = 15
POLL_SECONDS = 0.05
KILL_SECONDS = 20.0


class Program:
    """One program of the cluster, in a session of its own, with its output in a log file."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        cwd: Path | None = None,
    ) -> None:
        """Start the program; `arguments` begin with the path of its binary."""
        self.name = name
        self.log = log
        with log.open("ab") as output:
            # A session of its own keeps Ctrl-C in the terminal from ending the program before us.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended."""
        return self._process.poll() is None

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Ask the program to end, and kill it when it has not within the grace period."""
        self._process.terminate()
        self.wait_for_end(grace_seconds)

    def wait_for_end(self, grace_seconds: float = 10.0) -> None:
        """Wait for the program to end, and kill it when it has not within the grace period."""
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the program without asking."""
        self._process.kill()
        self._process.wait()

    def children(self) -> list[int]:
        """Return the process ids of the processes that the program has started itself."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def last_log_lines(self) -> str:
        """Return the end of the log for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line[:400]}" for line in lines[-LOG_LINES_IN_ERRORS:])


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float,
    programs: Iterable[Program] = (),
) -> None:
    """Wait for a condition.

    Args:
        condition: Asked every 50 ms, or half of the time when it takes longer than that: a condition that runs a
            program must leave the processor to what it waits for.
        what: Completes the sentence "… did not happen".
        seconds: The deadline.
        programs: Programs that must keep running; when one ends, waiting on is pointless.

    Raises:
        StartError: The deadline passed or a program ended.
    """
    watched = tuple(programs)
    deadline = time.monotonic() + seconds
    asked = time.monotonic()
    while not condition():
        took = time.monotonic() - asked
        for program in watched:
            if not program.is_running:
                lines = program.last_log_lines()
                raise StartError(f"{program.name} ended while waiting for {what}:\n{lines}")
        if time.monotonic() > deadline:
            details = "".join(f"\n{one.name}:\n{one.last_log_lines()}" for one in watched)
            raise StartError(f"{what}: not within {seconds:g} seconds{details}")
        time.sleep(max(POLL_SECONDS, took))
        asked = time.monotonic()


def free_port() -> int:
    """Return a loopback port that nobody listens on now, outside the range of outgoing ports."""
    random = SystemRandom()
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartError("no free port between 20000 and 32000 on 127.0.0.1: end what uses them")


def kill_marked(run_directory: Path) -> None:
    """Kill every process that carries the folder in its environment, and wait until they are gone.

    Raises:
        ClusterError: A process survives, for instance because it hangs in the kernel.
    """
    deadline = time.monotonic() + KILL_SECONDS
    # Once more after each round: a process may have started another before it was killed.
    while marked := marked_processes(run_directory):
        for pid in marked:
            if not _kill_if_marked(pid, run_directory, deadline):
                raise ClusterError(f"process {pid} of {run_directory} cannot be killed")


def marked_processes(run_directory: Path) -> list[int]:
    """Return the ids of the running processes of a cluster, other than this one."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and _is_marked(pid, run_directory)]


def _is_marked(pid: int, run_directory: Path) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        try:
            return f"{MARKER}={run_directory}".encode() in (folder / "environ").read_bytes().split(b"\0")
        except PermissionError:
            # The operator shows its environment to root only. Everybody sees its arguments, and the kubeconfig's path
            # among them.
            return f"{run_directory}/".encode() in (folder / "cmdline").read_bytes()
    except OSError:
        # It ended meanwhile.
        return False


def _kill_if_marked(pid: int, run_directory: Path, deadline: float) -> bool:
    """Kill a process, wait for its end, and tell whether it ended before the deadline.

    The descriptor pins the process and the second look is at the pinned one: when the id is given to
    another process in the meantime, that one is left alone. The first process of a process namespace
    ends only after all others in it have ended.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not _is_marked(pid, run_directory):
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        seconds = max(0.0, deadline - time.monotonic())
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
