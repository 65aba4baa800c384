"""Admission: pods are created with a dry run, so that only the API server and its webhooks work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.api import CONCURRENCY, Load
from tests.bench.measure import cpu_seconds, in_turn
from tests.bench.objects import PODS, collection, pod
from tests.bench.report import Goal, Row, compare, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

NAME = "admission"

# One mutating and one validating webhook see each pod.
_REVIEWS_PER_POD = 2
_WARM_UP = 50
_AT_ONCE_FACTOR = 4
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Round:
    """One side's round; processor time of the webhook's process in microseconds per review."""

    load: Load
    cpu: float

    def latency(self, share: float) -> float:
        return quantile(self.load.latencies, share)


async def run(stage: Stage) -> list[Row]:
    """Measure no webhook, the null webhook, one that patches, and ours, with the definitions that exist."""
    await stage.wait_for_hook()
    rows: list[Row] = []
    for concurrency in (1, CONCURRENCY):
        stage.say(f"admission with {stage.size:,} definitions, {concurrency} at once")
        pods = stage.scale.pods * (1 if concurrency == 1 else _AT_ONCE_FACTOR)
        # The label "none" is nobody's.
        sides = {
            "none": 0,
            "null": stage.null_webhook.pid,
            "patch": stage.null_webhook.pid,
            "ours": stage.ours.admission_pid,
        }
        for side, pid in sides.items():
            await _round(stage, side, pid, _WARM_UP, concurrency)
        work = {side: partial(_round, stage, side, pid, pods, concurrency) for side, pid in sides.items()}
        rounds = await in_turn(stage.scale.rounds, work)
        rows += _rows(f"{stage.size:,} definitions, c={concurrency}", **rounds)
    return rows


async def _round(stage: Stage, side: str, pid: int, pods: int, concurrency: int) -> _Round:
    label = None if side == "ours" else side
    bodies = [(collection("pods", PODS), pod(f"pod-{number}", label)) for number in range(pods)]
    before = cpu_seconds(pid) if pid else 0.0
    load = await stage.bare.create_all(bodies, concurrency, dryRun="All")
    used = cpu_seconds(pid) - before if pid else 0.0
    return _Round(load, used * _MICROSECONDS / (pods * _REVIEWS_PER_POD))


def _rows(
    where: str, none: Sequence[_Round], null: Sequence[_Round], patch: Sequence[_Round], ours: Sequence[_Round]
) -> list[Row]:
    def latencies(rounds: Sequence[_Round], share: float) -> list[float]:
        return [one.latency(share) for one in rounds]

    def throughput(rounds: Sequence[_Round]) -> list[float]:
        return [one.load.per_second for one in rounds]

    p50, p99 = 0.5, 0.99
    return [
        compare(
            NAME, f"p50, {where}", "ms", latencies(ours, p50), latencies(null, p50), "null", Goal(1.25, of_ratio=True)
        ),
        compare(
            NAME, f"p99, {where}", "ms", latencies(ours, p99), latencies(null, p99), "null", Goal(1.30, of_ratio=True)
        ),
        compare(
            NAME,
            "  the same against a webhook that patches, p50",
            "ms",
            latencies(ours, p50),
            latencies(patch, p50),
            "patch",
        ),
        compare(NAME, "  p99", "ms", latencies(ours, p99), latencies(patch, p99), "patch"),
        compare(NAME, "  the same against no webhook, p50", "ms", latencies(ours, p50), latencies(none, p50), "none"),
        compare(NAME, "  the null webhook against none, p50", "ms", latencies(null, p50), latencies(none, p50), "none"),
        compare(NAME, "  pods per second", "/s", throughput(ours), throughput(null), "null"),
        compare(NAME, "  CPU per review", "µs", [one.cpu for one in ours], [one.cpu for one in null], "null"),
    ]
