"""The processes in the operator's pods, as the machine sees them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used.

    Attributes:
        memory: Resident bytes.
        seconds: Of CPU since its start.
        taken_at: When, by the monotonic clock.
    """

    memory: int
    seconds: float
    taken_at: float


def find_process(pod: str) -> int:
    """Return the id of the operator's process in a pod.

    Raises:
        AssertionError: There is none, or more than one.
    """
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_in(entry, pod)]
    assert len(found) == 1, f"{pod} has {len(found)} processes"
    return found[0]


def kill(pod: str) -> None:
    """Kill the operator's process in a pod, without a chance for it to do anything."""
    os.kill(find_process(pod), signal.SIGKILL)


def usage(pid: int) -> Usage:
    """Return what a process has used until now."""
    # proc(5): the command's name, in parentheses, may hold blanks; user and system time are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), seconds, time.monotonic())


def busy(before: Usage, after: Usage) -> float:
    """Return the share of one core that was used between two moments."""
    return (after.seconds - before.seconds) / (after.taken_at - before.taken_at)


def _is_in(entry: Path, pod: str) -> bool:
    """Tell whether a process is the operator's in a pod; its environment has the pod's name as the host's."""
    try:
        environment = (entry / "environ").read_bytes().split(b"\0")
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"HOSTNAME={pod}".encode() in environment and b"scoped_secrets" in arguments
