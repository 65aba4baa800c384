"""What the scheduling gate saves: jobs on a busy node, and jobs that wait for a controller that is away.

From the POST of a Job to the phase Succeeded of its pod, on a real node. The floor is the same Job with a Secret made
by hand. Beside it stand Jobs whose pods are gated until their bundle exists, and Jobs without the gate, which wait for
the kubelet to look again.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.bench.bundles import take_bundle
from tests.bench.hand_made import HandMade
from tests.bench.measure import in_turn
from tests.bench.objects import PODS, RUN_LABEL, collection, job, pod
from tests.bench.report import Goal, Row, compare, quantile
from tests.bench.sightings import Sightings
from tests.cluster.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.stage import Stage

NAME = "gate"

_JOBS, _SECRETS = collection("jobs", PODS), collection("secrets", PODS)
_BY_HAND, _GATED, _NOT_GATED = "by hand", "gated", "not gated"
_FLOOR = "Secrets by hand"
# Jobs that wait during an outage: so few that the node runs them nearly as fast as one.
_WAITING = 3
_P50, _P99 = Goal(1.05, of_ratio=True), Goal(1.15, of_ratio=True)
_LATE = Goal(2.0)


async def run(stage: Stage) -> list[Row]:
    """Run jobs on a busy machine, then jobs during outages of the controller.

    Raises:
        NodeUnavailableError: This machine cannot run pods.
    """
    await stage.wait_for_hook()
    async with Sightings.of(stage.bare, PODS) as sightings:
        # Nothing runs the model pod yet, so that its bundle stays until it was read.
        bundle = await take_bundle(stage, sightings)
        stage.say("starting a node")
        with Node.start(stage.cluster) as node:
            bench = _Bench(stage, sightings, await HandMade.like(stage, bundle, node.image), node.image)
            for side in (_BY_HAND, _GATED):
                await bench.jobs(side, 1)
            try:
                return [*await _busy(stage, bench), *await _outages(stage, bench)]
            finally:
                await bench.set_gate(is_on=True)


async def _busy(stage: Stage, bench: _Bench) -> list[Row]:
    at_once = stage.scale.containers
    stage.say(f"gate, {at_once} jobs at once on a busy machine")
    sides = {side: partial(bench.busy_jobs, side, at_once) for side in (_BY_HAND, _GATED, _NOT_GATED)}
    rounds = await in_turn(stage.scale.container_rounds, sides, stage.say)
    return [
        row
        for side, p50, p99 in ((_GATED, _P50, _P99), (_NOT_GATED, None, None))
        for row in (
            _row(f"{at_once} jobs at once, busy, {side}, p50", rounds, side, 0.5, p50),
            _row(f"{at_once} jobs at once, busy, {side}, p99", rounds, side, 0.99, p99),
        )
    ]


def _row(figure: str, rounds: Mapping[str, Sequence[list[float]]], side: str, share: float, goal: Goal | None) -> Row:
    ours, floor = ([quantile(seconds, share) for seconds in rounds[each]] for each in (side, _BY_HAND))
    return compare(NAME, figure, "s", ours, floor, _FLOOR, goal)


async def _outages(stage: Stage, bench: _Bench) -> list[Row]:
    alone = statistics.median([max(await bench.jobs(_BY_HAND, _WAITING)) for _ in range(stage.scale.rounds)])
    rows = []
    for seconds in stage.scale.outages:
        for side, goal in ((_GATED, _LATE), (_NOT_GATED, None)):
            stage.say(f"gate, {_WAITING} jobs wait while the controller is away for {seconds:.0f} s, {side}")
            last = await bench.outage(side, seconds)
            what = f"controller away for {seconds:.0f} s, {side}, last of {_WAITING} jobs after its return"
            rows += [
                Row(NAME, what, "s", last, alone, _FLOOR, (last / alone,)),
                Row(NAME, "  later than with Secrets by hand", "s", last - alone, goal=goal),
            ]
    return rows


class _Bench:
    """One side after the other in one namespace, which each leaves empty."""

    def __init__(self, stage: Stage, sightings: Sightings, hand_made: HandMade, image: str) -> None:
        self._stage = stage
        self._sightings = sightings
        self._hand_made = hand_made
        self._image = image
        self._numbers = count()
        self._is_gated = True

    async def set_gate(self, *, is_on: bool) -> None:
        """Have admission gate pods or not, which takes a restart."""
        if self._is_gated != is_on:
            await self._stage.ours.start_admission(self._stage.bare, gate=is_on)
            await self._stage.wait_for_hook(gated=is_on)
            self._is_gated = is_on

    async def busy_jobs(self, side: str, at_once: int) -> list[float]:
        """Return the seconds of each job, while programs that compute take all processors."""
        await self._prepare(side)
        with self._stage.busy():
            return await self.jobs(side, at_once)

    async def jobs(self, side: str, at_once: int) -> list[float]:
        """Return the seconds of each job."""
        began = await self._post(side, at_once)
        await self._sightings.wait(self._sightings.finished, began, "ends of jobs")
        await self._remove(began)
        return [self._sightings.finished[name] - moment for name, moment in began.items()]

    async def outage(self, side: str, seconds: float) -> float:
        """Return how long after the controller's return the last job has ended.

        The jobs are posted when the controller has stopped, so that their pods wait all the time that it is away.
        """
        ours = self._stage.ours
        await self._prepare(side)
        await ours.stop_controller()
        away = time.perf_counter()
        created = list(await self._post(side, _WAITING))
        await asyncio.sleep(max(0.0, away + seconds - time.perf_counter()))
        await ours.start_controller()
        returned = time.perf_counter()
        await self._sightings.wait(self._sightings.finished, created, "ends of jobs")
        await self._remove(created)
        return max(self._sightings.finished[name] for name in created) - returned

    async def _prepare(self, side: str) -> None:
        if side != _BY_HAND:
            await self.set_gate(is_on=side == _GATED)

    async def _post(self, side: str, at_once: int) -> dict[str, float]:
        """Create jobs, and return when each was posted."""
        bare = self._stage.bare
        created = [f"job-{next(self._numbers)}" for _ in range(at_once)]
        if side == _BY_HAND:
            await bare.create_all((_SECRETS, self._hand_made.secret(name)) for name in created)
        bodies = {
            name: job(self._hand_made.pod(name) if side == _BY_HAND else pod(name, image=self._image))
            for name in created
        }
        began: dict[str, float] = {}

        def posted() -> Iterator[tuple[str, dict[str, Any]]]:
            for name, body in bodies.items():
                began[name] = time.perf_counter()
                yield _JOBS, body

        await bare.create_all(posted())
        return began

    async def _remove(self, created: Sequence[str] | Mapping[str, float]) -> None:
        await self._stage.bare.delete_all(_JOBS, labelSelector=RUN_LABEL, propagationPolicy="Background")
        await self._sightings.wait(self._sightings.gone, list(created), "jobs' removals")
        await self._stage.bare.delete_all(_SECRETS, labelSelector=RUN_LABEL)
