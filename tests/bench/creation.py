"""How long it takes to create definitions, which are sealed on their way: small ones, and one of 100 entries."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

from scoped_secrets import names
from tests.bench.measure import cpu_seconds, in_turn
from tests.bench.micro import make_sealed
from tests.bench.objects import ENTRIES, FLOOR_LABEL, PODS, collection, definition, large_definition
from tests.bench.report import Goal, Row, compare, quantile

if TYPE_CHECKING:
    from tests.bench.api import Load
    from tests.bench.objects import Creation
    from tests.bench.stage import Stage

NAME = "creation"

_SAMPLE = 200
_SAMPLE_LABEL = "bench-sample"
_LARGE_SAMPLE = 30
_WARM_UP = 5


async def run(stage: Stage) -> list[Row]:
    """Create samples through our webhooks, and the same objects as they are stored through the null webhook."""
    await stage.wait_for_hook()
    stage.say("creation of definitions")
    numbers = itertools.count()
    sides = {side: partial(_create, stage, numbers, side) for side in ("null", "ours")}
    rounds = await in_turn(stage.scale.rounds, sides)
    path = collection(names.SCOPED_SECRET_PLURAL, PODS)
    await stage.bare.delete_all(path, labelSelector=_SAMPLE_LABEL)
    ours, floor = ([1000 / load.per_second for load in rounds[side]] for side in ("ours", "null"))
    return [compare(NAME, "one definition, c=16", "ms", ours, floor, "null"), *await _large(stage)]


async def _large(stage: Stage) -> list[Row]:
    """Let definitions of many entries be admitted, one at a time and with a dry run: nothing else works.

    The null webhook sees the same manifest, and in a second floor what ours makes of it: a hundred sealed texts, which
    the API server has to take in, copy and answer with whoever made them.
    """
    stage.say(f"admission of definitions with {ENTRIES} entries")
    sealed = make_sealed()
    sides = {
        "ours": (stage.ours.admission_pid, large_definition("large")),
        "null": (stage.floors.null.pid, large_definition("large", label="null")),
        "sealed": (stage.floors.null.pid, large_definition("large", label="null", sealed=sealed)),
    }
    for pid, body in sides.values():
        await _admit(stage, pid, body, _WARM_UP)
    work = {side: partial(_admit, stage, *given, _LARGE_SAMPLE) for side, given in sides.items()}
    rounds = await in_turn(stage.scale.rounds, work)
    p50, cpu = ({side: [each[index] for each in rounds[side]] for side in sides} for index in (0, 1))
    what = f"{ENTRIES} entries, c=1"
    return [
        compare(NAME, f"p50, {what}", "ms", p50["ours"], p50["null"], "null", Goal(1.5, of_ratio=True)),
        compare(NAME, "  the same against the null webhook and sealed texts", "ms", p50["ours"], p50["sealed"], "null"),
        compare(NAME, "  CPU per definition, two reviews", "ms", cpu["ours"], cpu["null"], "null", Goal(5)),
    ]


async def _admit(stage: Stage, pid: int, body: Creation, count: int) -> tuple[float, float]:
    """Return the median latency and the webhook's processor time, in milliseconds of one definition."""
    before = cpu_seconds(pid)
    load = await stage.bare.create_all([body] * count, concurrency=1, dryRun="All")
    return quantile(load.latencies, 0.5), (cpu_seconds(pid) - before) * 1000 / count


async def _create(stage: Stage, numbers: itertools.count[int], side: str) -> Load:
    labels = {_SAMPLE_LABEL: "true"} | ({FLOOR_LABEL: "null"} if side == "null" else {})
    sealed = make_sealed() if side == "null" else None
    sample = [definition(PODS, f"sample-{next(numbers)}", sealed=sealed, **labels) for _ in range(_SAMPLE)]
    return await stage.bare.create_all(sample)
