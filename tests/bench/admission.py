"""Admission: pods are created with a dry run, so that only the API server and its webhooks work.

Each round goes through all sides several times, some pods each, in changing order: what the machine does for others
meanwhile then slows all of them. A round's ratio is the median of the ratios of its turns; that of the 99th percentile,
for which a turn has too few pods, is the ratio of all pods of the round.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from tests.bench.api import CONCURRENCY
from tests.bench.measure import cpu_seconds, in_turn
from tests.bench.objects import BARE, PODS, POLICY, collection, job_pod, pod
from tests.bench.report import Goal, Row, compare, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

NAME = "admission"

_WARM_UP = 30
# Of many at once, so many times the pods of one at a time, in this share of the turns.
_AT_ONCE_FACTOR = 8
_AT_ONCE_TURNS = 2
_MICROSECONDS = 1_000_000
OWN_VALUES = "own values"
"""The side of pods of our webhooks that have values and an annotation of their own, as those of a CI engine have."""
_JOBS = itertools.count()
_FLAT = Goal(1.05, of_ratio=True)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One side's turn, or all its turns of a round."""

    latencies: list[float]
    """Milliseconds of each pod."""
    seconds: float
    webhook_cpu: float
    """Processor seconds of the webhook's process; 0 without one."""
    server_cpu: float
    """Processor seconds of the API server."""

    @property
    def p50(self) -> float:
        return quantile(self.latencies, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.latencies, 0.99)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def cpu(self) -> float:
        """Microseconds of the webhook's process per pod, of all its reviews."""
        return self.webhook_cpu * _MICROSECONDS / len(self.latencies)

    @property
    def server(self) -> float:
        """Microseconds of the API server per pod."""
        return self.server_cpu * _MICROSECONDS / len(self.latencies)


_Rounds: TypeAlias = dict[str, list[list[_Turn]]]
"""The turns of each round of each side."""
_Figure: TypeAlias = Callable[[_Turn], float]


def _p99(one: _Turn) -> float:
    return one.p99


class AdmissionBench:
    """Measures with ever more definitions, and compares the least with the most."""

    def __init__(self) -> None:
        """Begin without measurements."""
        self._rounds: dict[tuple[int, int], _Rounds] = {}

    async def run(self, stage: Stage) -> list[Row]:
        """Measure all sides with the definitions that exist."""
        await stage.wait_for_hook()
        rows = [
            Row(NAME, "bytes of the patch, as the floors' too", "B", stage.patch_bytes),
        ]
        for concurrency in (1, CONCURRENCY):
            stage.say(f"admission with {stage.size:,} definitions, {concurrency} at once")
            rounds = await _measure(stage, concurrency)
            self._rounds[stage.size, concurrency] = rounds
            rows += _rows(f"{stage.size:,} definitions, c={concurrency}", rounds)
        return rows if stage.size == stage.scale.sizes[0] else [*rows[1:], *self._flat(stage)]

    def _flat(self, stage: Stage) -> list[Row]:
        """Return how the ratios to the floors change from the least to the most definitions.

        A latency of now and one of minutes ago are of different moments; their ratios to floors of the same moments can
        be compared. Processor time has no goal here: that of a process which waits between two pods depends on what the
        caches of the processor hold, and differently than that of the small null webhook. `micro` judges it, where both
        numbers of definitions take turns.
        """
        least, most = stage.scale.sizes[0], stage.scale.sizes[-1]

        def row(figure: str, floor: str, of: _Figure, goal: Goal | None, concurrency: int) -> Row:
            few, many = (
                _ratios(of, rounds["ours"], rounds[floor])
                for rounds in (self._rounds[size, concurrency] for size in (least, most))
            )
            what = f"{figure}, {most:,} beside {least:,} definitions, c={concurrency}"
            base = statistics.median(few)
            ratios = tuple(each / base for each in many)
            return Row(NAME, what, "x", statistics.median(many), base, f"x {floor}", ratios, goal)

        return [
            row(figure, floor, of, goal, concurrency)
            for concurrency in (1, CONCURRENCY)
            for figure, floor, of, goal in (
                ("p50 to ready patch", "patch", lambda one: one.p50, _FLAT),
                ("CPU to null", "null", lambda one: one.cpu, None),
            )
        ]


async def _measure(stage: Stage, concurrency: int) -> _Rounds:
    null, kopf = stage.floors.null.pid, stage.floors.kopf.pid
    # The label "none" is that of no floor, and nothing mutates its pods; our policies see them as they see all.
    sides = {
        BARE: 0,
        "none": 0,
        "null": null,
        "patch": null,
        "ours": stage.ours.admission_pid,
        OWN_VALUES: stage.ours.admission_pid,
        "kopf": kopf,
        POLICY: 0,
    }
    for side, pid in sides.items():
        await _turn(stage, side, pid, _WARM_UP, concurrency)
    scale = stage.scale
    # Many at once fill the API server's memory several times a second. A turn that holds no collection of its garbage
    # takes half as long as one that holds a whole one, so that turns are long enough for some.
    factor, share = (1, 1) if concurrency == 1 else (_AT_ONCE_FACTOR, _AT_ONCE_TURNS)
    turns = scale.turns // share
    pods = scale.admitted * factor // turns
    work = {side: partial(_turn, stage, side, pid, pods, concurrency) for side, pid in sides.items()}
    rounds: _Rounds = {side: [] for side in sides}
    for number in range(1, scale.rounds + 1):
        stage.say(f"  round {number} of {scale.rounds}")
        for side, taken in (await in_turn(turns, work)).items():
            rounds[side].append(taken)
    return rounds


async def _turn(stage: Stage, side: str, pid: int, pods: int, concurrency: int) -> _Turn:
    label = None if side == "ours" else side
    subjects = (job_pod(f"job-{next(_JOBS)}") if side == OWN_VALUES else pod(f"pod-{n}", label) for n in range(pods))
    bodies = [(collection("pods", PODS), subject) for subject in subjects]
    server = stage.cluster.program("kube-apiserver").pid
    before = [cpu_seconds(each) if each else 0.0 for each in (pid, server)]
    load = await stage.bare.create_all(bodies, concurrency, dryRun="All")
    after = [cpu_seconds(each) if each else 0.0 for each in (pid, server)]
    return _Turn(load.latencies, load.seconds, after[0] - before[0], after[1] - before[1])


def _sum(turns: Sequence[_Turn]) -> _Turn:
    return _Turn(
        [latency for one in turns for latency in one.latencies],
        sum(one.seconds for one in turns),
        sum(one.webhook_cpu for one in turns),
        sum(one.server_cpu for one in turns),
    )


def _ratios(of: _Figure, ours: Sequence[Sequence[_Turn]], floor: Sequence[Sequence[_Turn]]) -> tuple[float, ...]:
    """Return one ratio per round: the median of its turns' ratios."""
    return tuple(
        statistics.median(of(mine) / of(theirs) for mine, theirs in zip(*turns, strict=True))
        for turns in zip(ours, floor, strict=True)
    )


def _rows(where: str, rounds: _Rounds) -> list[Row]:
    wholes = {side: [_sum(turns) for turns in each] for side, each in rounds.items()}

    def row(figure: str, unit: str, of: _Figure, side: str, floor: str, goal: Goal | None = None) -> Row:
        ours, other = ([of(whole) for whole in wholes[each]] for each in (side, floor))
        compared = compare(NAME, figure, unit, ours, other, floor, goal)
        return compared if of is _p99 else replace(compared, ratios=_ratios(of, rounds[side], rounds[floor]))

    rows = [
        row(f"p50, {where}", "ms", lambda one: one.p50, "ours", "patch", Goal(1.10, of_ratio=True)),
        row(f"p99, {where}", "ms", _p99, "ours", "patch", Goal(1.15, of_ratio=True)),
        row("  pods per second", "/s", lambda one: one.rate, "ours", "patch", Goal(0.9, of_ratio=True, is_least=True)),
        row("  CPU per pod", "µs", lambda one: one.cpu, "ours", "null", Goal(2.0, of_ratio=True)),
        row("  CPU of the API server per pod", "µs", lambda one: one.server, "ours", "patch"),
        row(
            "  CPU per pod with values of its own",
            "µs",
            lambda one: one.cpu,
            OWN_VALUES,
            "null",
            Goal(2.0, of_ratio=True),
        ),
        row("  p50 of such pods", "ms", lambda one: one.p50, OWN_VALUES, "patch"),
        row("  p50 against the null webhook", "ms", lambda one: one.p50, "ours", "null"),
        row("  p50 against no webhook", "ms", lambda one: one.p50, "ours", "none"),
        row("  p50 against neither webhook nor policy", "ms", lambda one: one.p50, "ours", BARE),
        row("  the policies alone, p50", "ms", lambda one: one.p50, "none", BARE),
        row("  the policies alone, CPU of the API server per pod", "µs", lambda one: one.server, "none", BARE),
        row("  the ready patch alone, p50", "ms", lambda one: one.p50, "patch", "none"),
    ]
    for side, what in (("kopf", "kopf's server"), (POLICY, "MutatingAdmissionPolicy")):
        rows += [
            row(f"  {what}, p50", "ms", lambda one: one.p50, side, "patch"),
            row(f"  {what}, p99", "ms", _p99, side, "patch"),
            row(f"  {what}, pods per second", "/s", lambda one: one.rate, side, "patch"),
        ]
    return [
        *rows,
        row("  kopf's server, CPU per pod", "µs", lambda one: one.cpu, "kopf", "null"),
        row("  MutatingAdmissionPolicy, CPU of the API server per pod", "µs", lambda one: one.server, POLICY, "patch"),
    ]
