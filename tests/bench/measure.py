"""What a process used, and what happens in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_Result = TypeVar("_Result")

# Linux derives the clock of a process's processor time from its id, as clock_getcpuclockid(3) does.
_CLOCK_SHIFT, _CLOCK_KIND = 3, 2
_KIBIBYTES_PER_MEGABYTE = 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    restarts: int
    """Restarts per number of definitions."""
    sizes: tuple[int, ...]
    """Numbers of definitions, ascending; the first is next to none."""
    admitted: int
    """Pods that are admitted per round and side, one at a time; four times as many at once."""
    turns: int
    """In so many parts of a round each side has its turn, so that all meet the same moments of the machine."""
    restart_pods: int
    """Pods that wait while the controller restarts."""
    bundles: int
    """Bundles per round."""
    at_once: int
    """Bundles at once."""
    backlog: int
    """Pods that wait for a controller to start."""
    containers: int
    """Jobs that run at once on the node."""
    container_rounds: int
    """Rounds of jobs, each of which takes many seconds."""
    outages: tuple[float, ...]
    """Seconds without a controller."""
    commands: int
    """Processes of a command line per round and side."""


FULL = Scale(
    rounds=5,
    restarts=3,
    sizes=(10, 1000, 2000, 5000, 10_000),
    admitted=160,
    turns=8,
    restart_pods=5000,
    bundles=120,
    at_once=40,
    backlog=400,
    containers=30,
    container_rounds=5,
    outages=(5.0, 20.0, 60.0),
    commands=20,
)
QUICK = Scale(
    rounds=3,
    restarts=1,
    sizes=(10, 500, 1000),
    admitted=40,
    turns=4,
    restart_pods=200,
    bundles=40,
    at_once=40,
    backlog=100,
    containers=10,
    container_rounds=1,
    outages=(5.0,),
    commands=10,
)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its ended threads included, to the nanosecond."""
    return time.clock_gettime(~pid << _CLOCK_SHIFT | _CLOCK_KIND)


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIBIBYTES_PER_MEGABYTE
    raise RuntimeError(f"process {pid} has ended")


async def in_turn(
    rounds: int,
    sides: Mapping[str, Callable[[], Awaitable[_Result]]],
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, list[_Result]]:
    """Do A-B-B-A: return one result per round of each side.

    Args:
        rounds: How often.
        sides: What each side does in a round.
        say: Receives the number of each round as it begins.
    """
    results: dict[str, list[_Result]] = {name: [] for name in sides}
    order = list(sides)
    for number in range(1, rounds + 1):
        say(f"  round {number} of {rounds}")
        for name in order:
            results[name].append(await sides[name]())
        # What a side leaves to the next one, such as work in the server, then meets each of them.
        order.reverse()
    return results
