"""What the figures are computed from."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial

import pytest

from tests.bench.measure import cpu_seconds, in_turn


def test_processor_time_of_a_process_is_that_of_its_threads():
    before, own = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.02:
        pass

    assert cpu_seconds(os.getpid()) - before == pytest.approx(time.process_time() - own, abs=0.01)


def test_sides_take_turns_in_changing_order():
    order = []

    async def side(name: str) -> int:
        order.append(name)
        return len(order)

    said: list[str] = []
    results = asyncio.run(in_turn(3, {name: partial(side, name) for name in "ab"}, said.append))

    assert order == list("abbaab")
    assert said == ["  round 1 of 3", "  round 2 of 3", "  round 3 of 3"]
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}
