"""How long it takes to create definitions, which are sealed on their way."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

from scoped_secrets import names
from tests.bench.measure import in_turn
from tests.bench.micro import make_sealed
from tests.bench.objects import FLOOR_LABEL, PODS, collection, definition
from tests.bench.report import Row, compare

if TYPE_CHECKING:
    from tests.bench.api import Load
    from tests.bench.stage import Stage

NAME = "creation"

_SAMPLE = 200
_SAMPLE_LABEL = "bench-sample"


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
    return [compare(NAME, "one definition, c=16", "ms", ours, floor, "null")]


async def _create(stage: Stage, numbers: itertools.count[int], side: str) -> Load:
    labels = {_SAMPLE_LABEL: "true"} | ({FLOOR_LABEL: "null"} if side == "null" else {})
    sealed = make_sealed() if side == "null" else None
    sample = [definition(PODS, f"sample-{next(numbers)}", sealed=sealed, **labels) for _ in range(_SAMPLE)]
    return await stage.bare.create_all(sample)
