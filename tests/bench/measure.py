"""What a process used, and what happens in turn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_Result = TypeVar("_Result")

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the command's name, which may hold anything.
_USER_TICKS, _SYSTEM_TICKS = 11, 12
_KIBIBYTES_PER_MEGABYTE = 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    restarts: int
    """Restarts per number of definitions."""
    sizes: tuple[int, ...]
    """Numbers of definitions, ascending; the first is next to none."""
    pods: int
    """Pods that are admitted per round, one at a time; four times as many at once."""
    bundles: int
    """Bundles per round, and at once."""
    containers: int
    """Pods that run at once."""


FULL = Scale(rounds=5, restarts=3, sizes=(10, 1000, 2000, 5000, 10_000), pods=300, bundles=100, containers=20)
QUICK = Scale(rounds=3, restarts=1, sizes=(10, 500, 1000), pods=100, bundles=40, containers=10)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its ended threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_SECOND


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIBIBYTES_PER_MEGABYTE
    raise RuntimeError(f"process {pid} has ended")


async def in_turn(rounds: int, sides: Mapping[str, Callable[[], Awaitable[_Result]]]) -> dict[str, list[_Result]]:
    """Do A-B-A-B: return one result per round of each side."""
    results: dict[str, list[_Result]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(await side())
    return results
