"""``python -m tests.bench``: measure, print a table and write JSON."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import admission, bundles, command_line, containers, creation, gate, micro, restarts
from tests.bench.admission import AdmissionBench
from tests.bench.api import Bare
from tests.bench.measure import FULL, QUICK
from tests.bench.ours import Ours
from tests.bench.report import Report
from tests.bench.stage import Stage
from tests.cluster.assets import find_assets
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError, NodeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from tests.bench.measure import Scale
    from tests.bench.report import Row

_STARTS = (restarts.RESTART, restarts.GROWTH, restarts.MEMORY)
NAMES = (
    micro.NAME,
    command_line.NAME,
    creation.NAME,
    admission.NAME,
    bundles.NAME,
    containers.NAME,
    gate.NAME,
    *_STARTS,
)


def main(arguments: Sequence[str]) -> int:
    """Run the benches that are asked for; return 0 unless something broke, whatever the figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and 1,000 definitions: minutes, not a judgement"
    )
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL
    # A shell ignores Ctrl-C for what it starts in the background, and asyncio then does not handle it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    report = Report()
    try:
        asyncio.run(measure(report, scale, options.only))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if report.rows:
            print(f"\n{report.table()}\n")
            report.write_json(options.json, asdict(scale))
    return 0


async def measure(report: Report, scale: Scale, only: Collection[str]) -> None:
    """Fill the report."""
    if micro.NAME in only or restarts.GROWTH in only:
        print("micro: the pure parts, without a cluster", flush=True)
        report.rows += [row for row in await micro.run(scale) if row.bench in only]
    if set(only) <= {micro.NAME}:
        return
    print("starting a control plane, the operator and the floors", flush=True)
    async with AsyncExitStack() as stack:
        stage = await _set_up(stack, scale)
        pods = AdmissionBench()
        await _few_definitions(stage, pods, report, only)
        await _many_definitions(stage, pods, report, only)


async def _set_up(stack: AsyncExitStack, scale: Scale) -> Stage:
    """Start the cluster and the operator, create next to no definitions, and start the floors."""
    cluster = stack.enter_context(ControlPlane.start(find_assets(os.environ), purpose="bench", audit=True))
    bare = await stack.enter_async_context(Bare.open(cluster.kubeconfig))
    ours = Ours(cluster)
    stack.push_async_callback(ours.stop)
    ours.install()
    await ours.start_controller()
    await ours.start_admission(bare)
    stage = Stage(cluster, bare, ours, scale)
    await stage.grow(scale.sizes[0])
    await stage.start_floors()
    stack.callback(stage.floors.stop)
    return stage


async def _few_definitions(stage: Stage, pods: AdmissionBench, report: Report, only: Collection[str]) -> None:
    parts = {
        command_line.NAME: command_line.run,
        creation.NAME: creation.run,
        admission.NAME: pods.run,
        bundles.NAME: bundles.run,
        containers.NAME: containers.run,
        gate.NAME: gate.run,
    }
    for name, run in parts.items():
        if name in only:
            await _add(report, name, run(stage))


async def _many_definitions(stage: Stage, pods: AdmissionBench, report: Report, only: Collection[str]) -> None:
    if set(_STARTS) & set(only):
        rows = await restarts.run(stage)
        report.rows += [row for row in rows if row.bench in only]
    if admission.NAME in only:
        await stage.grow(stage.scale.sizes[-1])
        await _add(report, admission.NAME, pods.run(stage))


async def _add(report: Report, name: str, rows: Awaitable[list[Row]]) -> None:
    try:
        report.rows += await rows
    except NodeUnavailableError as reason:
        report.skipped[name] = str(reason)


def _interrupt(_number: int, _frame: object) -> None:
    # asyncio unwinds what runs at Ctrl-C only.
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
