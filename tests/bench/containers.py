"""From the POST of a pod to its phase Succeeded, on a real node and a quiet machine, one pod at a time.

The floor is the same pod, with the variables, volumes and mounts that an injected one has, and a Secret made by hand.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from tests.bench.bundles import take_bundle
from tests.bench.hand_made import HandMade
from tests.bench.measure import in_turn
from tests.bench.objects import PODS, RUN_LABEL, collection, pod
from tests.bench.report import Row, compare
from tests.bench.sightings import Sightings
from tests.cluster.node import Node

if TYPE_CHECKING:
    from tests.bench.stage import Stage

NAME = "containers"

_PODS, _SECRETS = collection("pods", PODS), collection("secrets", PODS)


async def run(stage: Stage) -> list[Row]:
    """Run one pod at a time.

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
            await bench.run(by_hand=True)
            await bench.run(by_hand=False)
            stage.say("containers, one at a time")
            sides = {side: partial(bench.run, by_hand=side == "floor") for side in ("floor", "ours")}
            rounds = await in_turn(stage.scale.rounds, sides, stage.say)
    figure = "POST → Succeeded, one at a time"
    return [compare(NAME, figure, "s", rounds["ours"], rounds["floor"], "Secrets by hand")]


class _Bench:
    """One side after the other in one namespace, which each leaves empty."""

    def __init__(self, stage: Stage, sightings: Sightings, hand_made: HandMade, image: str) -> None:
        self._stage = stage
        self._sightings = sightings
        self._hand_made = hand_made
        self._image = image
        self._numbers = count()

    async def run(self, *, by_hand: bool) -> float:
        """Return the seconds of one pod."""
        name, bare = f"run-{next(self._numbers)}", self._stage.bare
        if by_hand:
            await bare.create(_SECRETS, self._hand_made.secret(name))
        body = self._hand_made.pod(name) if by_hand else pod(name, image=self._image)
        began = time.perf_counter()
        await bare.create(_PODS, body)
        await self._sightings.wait(self._sightings.finished, [name], "ends of pods")
        for path in (_PODS, _SECRETS):
            await bare.delete_all(path, labelSelector=RUN_LABEL)
        await self._sightings.wait(self._sightings.gone, [name], "pods' removals")
        return self._sightings.finished[name] - began
