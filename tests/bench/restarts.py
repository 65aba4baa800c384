"""Starts of fresh processes with ever more definitions: time, memory and their growth, and a bare list beside them.

The list stands beside a controller that restarts while many pods with bundles wait for a node.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.measure import in_turn, resident_megabytes
from tests.bench.objects import PODS_OF_ALL_NAMESPACES, waiting_pods
from tests.bench.ours import CONTROLLER_USER, Start
from tests.bench.report import Goal, Row, compare, growth
from tests.cluster.errors import StartError
from tests.support.audit_log import AuditLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.bench.stage import Stage

RESTART, GROWTH, MEMORY = "restart", "growth", "memory"

# So long after its start a process has done what a start makes it do: watches, statuses, the sweep for old bundles.
_QUIET_SECONDS = 5.0
_MOST_QUIET_SECONDS = 600.0
_POLL_SECONDS = 1.0
_IMPORTS = """
import json, resource
import scoped_secrets.cli.controller
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime}))
"""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Starts with one number of definitions, and megabytes a while after the last of them."""

    controller: list[Start]
    controller_memory: float
    admission_memory: float


async def run(stage: Stage) -> list[Row]:
    """Grow the cluster step by step; then restart beside a bare list, at the largest size."""
    samples = {}
    for size in stage.scale.sizes:
        await stage.grow(size)
        samples[size] = await _sample(stage)
    return [*await _beside_the_floor(stage), *_growth_rows(stage, samples), *await _memory_rows(samples)]


async def _sample(stage: Stage) -> _Sample:
    ours, bare = stage.ours, stage.bare
    controller = [await ours.start_controller() for _ in range(stage.scale.restarts)]
    admission = await ours.start_admission(bare)
    await asyncio.sleep(_QUIET_SECONDS)
    sample = _Sample(controller, resident_megabytes(ours.controller_pid), resident_megabytes(ours.admission_pid))
    stage.say(
        f"{stage.size:,} definitions: controller ready in {controller[-1].seconds:.2f} s with "
        f"{sample.controller_memory:.0f} MB, admission in {admission.seconds:.2f} s with "
        f"{sample.admission_memory:.0f} MB"
    )
    return sample


async def _beside_the_floor(stage: Stage) -> list[Row]:
    audit = AuditLog(stage.cluster)
    writes: list[int] = []
    calls: list[int] = []

    async def ours() -> Start:
        # The one before has given its Lease back by then.
        await stage.ours.stop_controller()
        since = audit.mark()
        start = await stage.ours.start_controller()
        calls.append(await _wait_quiet(audit, since))
        writes.append(len(audit.writes(CONTROLLER_USER, since)))
        return start

    pods = stage.scale.restart_pods
    await _create_pods(stage, pods)
    stage.say(f"restart with {stage.size:,} definitions and {pods:,} pods beside a bare list")
    sides: dict[str, Callable[[], Awaitable[Start]]] = {
        "floor": partial(_bare_list, stage),
        "ours": ours,
        "import": _import,
    }
    rounds = await in_turn(stage.scale.rounds, sides, stage.say)
    seconds = {side: [start.seconds for start in starts] for side, starts in rounds.items()}
    cpu = {side: [start.cpu for start in starts] for side, starts in rounds.items()}
    what = f"{stage.size:,} definitions, {pods:,} pods"
    return [
        compare(
            RESTART,
            f"{what}, until ready",
            "s",
            seconds["ours"],
            seconds["floor"],
            "bare list",
            Goal(3, of_ratio=True),
        ),
        compare(RESTART, f"{what}, CPU", "s", cpu["ours"], cpu["floor"], "bare list"),
        Row(RESTART, "  of this, interpreter and imports", "s", statistics.median(seconds["import"])),
        Row(RESTART, "  write requests", "", max(writes), goal=Goal(0)),
        Row(RESTART, "  all requests until it is idle", "", statistics.median(calls)),
    ]


async def _create_pods(stage: Stage, pods: int) -> None:
    """Create pods, and wait until each has its bundle: then its gate is gone."""
    stage.say(f"creating {pods:,} pods and their bundles")
    load = await stage.bare.create_all(waiting_pods(pods, stage.size))
    began = time.monotonic()
    while True:
        gated = 0
        async for page in stage.bare.pages(PODS_OF_ALL_NAMESPACES):
            gated += sum("schedulingGates" in pod["spec"] for pod in page["items"])
        elapsed = time.monotonic() - began
        if not gated:
            stage.say(f"created {pods:,} pods in {load.seconds:.1f} s; all had bundles {elapsed:.1f} s later")
            return
        if elapsed > _MOST_QUIET_SECONDS:
            raise StartError(f"{gated} pods have no bundle after {elapsed:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


async def _wait_quiet(audit: AuditLog, since: int) -> int:
    """Wait until the controller has asked nothing for a while, and return how often it has asked."""
    seen, changed, began = -1, time.monotonic(), time.monotonic()
    while (now := time.monotonic()) - changed < _QUIET_SECONDS:
        if now - began > _MOST_QUIET_SECONDS:
            raise StartError(f"the controller is still not idle {_MOST_QUIET_SECONDS:.0f} s after its start")
        count = sum(call.resource != "leases" for call in audit.calls(CONTROLLER_USER, since))
        if count != seen:
            seen, changed = count, now
        await asyncio.sleep(_POLL_SECONDS)
    return seen


async def _bare_list(stage: Stage) -> Start:
    return await _process("-m", "tests.bench.bare_list", str(stage.cluster.kubeconfig))


async def _import() -> Start:
    return await _process("-c", _IMPORTS)


async def _process(*arguments: str) -> Start:
    """Run a process to its end; it prints its processor time."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    elapsed = time.perf_counter() - began
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]} ended with {process.returncode}")
    return Start(elapsed, json.loads(output)["cpu"])


def _growth_rows(stage: Stage, samples: Mapping[int, _Sample]) -> list[Row]:
    """Return how a start grows, by what it takes above a start with next to no definitions."""

    figures: dict[str, Callable[[Start], float]] = {
        "time": lambda start: start.seconds,
        "CPU": lambda start: start.cpu,
    }
    rows = []
    for name, figure in figures.items():
        best = {size: min(map(figure, sample.controller)) for size, sample in samples.items()}
        exponent = growth(best)
        if exponent is None:
            stage.say(
                f"growth of the {name} of a restart: the machine was too busy, or the definitions too few, to tell"
            )
        else:
            rows.append(Row(GROWTH, f"restart, log-log slope of the {name}", "", exponent, goal=Goal(1.1)))
    return rows


async def _memory_rows(samples: Mapping[int, _Sample]) -> list[Row]:
    (fewest, least), *_, (most, largest) = samples.items()
    thousands = (most - fewest) / 1000
    empty = await _empty_process()
    pairs = {
        "controller": (least.controller_memory, largest.controller_memory),
        "admission": (least.admission_memory, largest.admission_memory),
    }
    rows = []
    for process, (before, after) in pairs.items():
        per_thousand = (after - before) / thousands
        rows += [
            Row(MEMORY, f"{process}, {fewest:,} definitions", "MB", before, empty, "interpreter with aiohttp"),
            Row(MEMORY, f"{process}, {most:,} definitions", "MB", after, empty, "interpreter with aiohttp"),
            Row(MEMORY, f"{process}, per 1,000 definitions", "MB", per_thousand, goal=Goal(5)),
        ]
    return rows


async def _empty_process() -> float:
    """Return the megabytes of an interpreter that has imported asyncio and aiohttp."""
    pipe = asyncio.subprocess.PIPE
    program = "import asyncio, aiohttp; print(flush=True); input()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    try:
        if process.stdout is not None:
            await process.stdout.readline()
        return resident_megabytes(process.pid)
    finally:
        await process.communicate(b"\n")
