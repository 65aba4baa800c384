"""How long it takes to create definitions, which are sealed on their way: small ones, and one of 100 entries."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.bench.measure import cpu_seconds, in_turn
from tests.bench.objects import ENTRIES, FLOOR_LABEL, PODS, collection, definition, large_definition
from tests.bench.report import Goal, Row, compare, quantile

if TYPE_CHECKING:
    from tests.bench.api import Load
    from tests.bench.objects import Creation
    from tests.bench.stage import Stage

NAME = "creation"

_SAMPLE = 100
_SAMPLE_LABEL = "bench-sample"
_LARGE_SAMPLE = 40
_WARM_UP = 5


async def run(stage: Stage) -> list[Row]:
    """Create samples through our webhooks, and the same objects as ours stores them through the null webhook."""
    await stage.wait_for_hook()
    stage.say("creation of definitions")
    numbers = itertools.count()
    stored = await _sealed(stage, definition(PODS, "sample"), "null")
    sides = {
        "null": partial(_create, stage, numbers, stored["spec"]),
        "ours": partial(_create, stage, numbers, None),
    }
    rounds = await in_turn(stage.scale.rounds, sides, stage.say)
    path = collection(names.SCOPED_SECRET_PLURAL, PODS)
    await stage.bare.delete_all(path, labelSelector=_SAMPLE_LABEL)
    ours, floor = ([1000 / load.per_second for load in rounds[side]] for side in ("ours", "null"))
    return [compare(NAME, "one definition, c=16", "ms", ours, floor, "null"), *await _large(stage)]


async def _large(stage: Stage) -> list[Row]:
    """Let definitions of many entries be admitted, one at a time and with a dry run: nothing else works.

    The null webhook sees the same manifest, and in a second floor what ours makes of it: a hundred sealed texts, which
    the API server has to take in, copy and answer with whoever made them. Within a round the sides alternate often, so
    that what the machine does for others meanwhile slows all of them.
    """
    stage.say(f"admission of definitions with {ENTRIES} entries")
    large = large_definition("large")
    sides = {
        "ours": (stage.ours.admission_pid, large),
        "null": (stage.floors.null.pid, large_definition("large", label="null")),
        "sealed": (stage.floors.null.pid, (large[0], await _sealed(stage, large, "null"))),
    }
    for pid, body in sides.values():
        await _admit(stage, pid, body, _WARM_UP)
    turns = stage.scale.turns
    work = {side: partial(_admit, stage, *given, _LARGE_SAMPLE // turns) for side, given in sides.items()}
    p50: dict[str, list[float]] = {side: [] for side in sides}
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(1, stage.scale.rounds + 1):
        stage.say(f"  round {number} of {stage.scale.rounds}")
        for side, taken in (await in_turn(turns, work)).items():
            p50[side].append(quantile([latency for latencies, _ in taken for latency in latencies], 0.5))
            cpu[side].append(sum(seconds for _, seconds in taken) * 1000 / (turns * (_LARGE_SAMPLE // turns)))
    what = f"{ENTRIES} entries, c=1"
    return [
        compare(NAME, f"p50, {what}", "ms", p50["ours"], p50["null"], "null", Goal(1.5, of_ratio=True)),
        compare(NAME, "  the same against the null webhook and sealed texts", "ms", p50["ours"], p50["sealed"], "null"),
        compare(NAME, "  CPU per definition, two reviews", "ms", cpu["ours"], cpu["null"], "null", Goal(5)),
    ]


async def _admit(stage: Stage, pid: int, body: Creation, count: int) -> tuple[list[float], float]:
    """Return the latencies in milliseconds, and the webhook's processor time in seconds."""
    before = cpu_seconds(pid)
    load = await stage.bare.create_all([body] * count, concurrency=1, dryRun="All")
    return load.latencies, cpu_seconds(pid) - before


async def _sealed(stage: Stage, creation: Creation, floor: str) -> dict[str, Any]:
    """Return what our webhooks make of a definition, with the label of a floor."""
    path, body = creation
    answer = json.loads(await stage.bare.create(path, body, dryRun="All"))
    metadata = {**body["metadata"], "labels": {FLOOR_LABEL: floor}}
    return {**body, "metadata": metadata, "spec": answer["spec"]}


async def _create(stage: Stage, numbers: itertools.count[int], stored: dict[str, Any] | None) -> Load:
    """Create definitions with what is stored of one through the null webhook, without it through ours."""
    labels = {_SAMPLE_LABEL: "true"} | ({FLOOR_LABEL: "null"} if stored else {})
    sample = [definition(PODS, f"sample-{next(numbers)}", **labels) for _ in range(_SAMPLE)]
    return await stage.bare.create_all((path, {**body, "spec": stored} if stored else body) for path, body in sample)
