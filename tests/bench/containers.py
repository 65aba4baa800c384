"""From the POST of a pod to its phase Succeeded, on a real node.

The floor is the same pod, with the variables, volumes and mounts that an injected one has, and a Secret made by hand.
"""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.bench.bundles import ONE, take_bundle
from tests.bench.measure import in_turn
from tests.bench.objects import PODS, collection, pod
from tests.bench.report import Row, compare, quantile
from tests.bench.sightings import Sightings
from tests.cluster.node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.stage import Stage

NAME = "containers"

_PODS, _SECRETS = collection("pods", PODS), collection("secrets", PODS)
_LABEL = "bench"
_HAND_MADE = "hand-made"


async def run(stage: Stage) -> list[Row]:
    """Run pods one at a time and many at once.

    Raises:
        NodeUnavailableError: This machine cannot run pods.
    """
    await stage.wait_for_hook()
    rows: list[Row] = []
    async with Sightings.of(stage.bare, PODS) as sightings:
        # Nothing runs the model pod yet, so that its bundle stays until it was read.
        bundle = await take_bundle(stage, sightings)
        with Node.start(stage.cluster) as node:
            bench = _Bench(stage, sightings, bundle, await _injected(stage, node.image))
            await bench.run(1, by_hand=True)
            await bench.run(1, by_hand=False)
            for at_once in (1, stage.scale.containers):
                many = f"{at_once} at once" if at_once > 1 else ONE
                stage.say(f"containers, {many}")
                sides = {side: partial(bench.run, at_once, by_hand=side == "floor") for side in ("floor", "ours")}
                rounds = await in_turn(stage.scale.rounds, sides)
                rows += _rows(many, rounds)
    return rows


async def _injected(stage: Stage, image: str) -> dict[str, Any]:
    """Return what admission makes of the benches' pod."""
    answer = await stage.bare.create(_PODS, pod("model", image=image), dryRun="All")
    injected: dict[str, Any] = json.loads(answer)
    return injected


class _Bench:
    """One side after the other in one namespace, which each leaves empty."""

    def __init__(self, stage: Stage, sightings: Sightings, bundle: dict[str, Any], injected: dict[str, Any]) -> None:
        self._stage = stage
        self._sightings = sightings
        self._bundle = bundle
        self._injected = injected
        self._image: str = injected["spec"]["containers"][0]["image"]
        self._numbers = count()

    async def run(self, at_once: int, *, by_hand: bool) -> list[float]:
        """Return the seconds of each pod."""
        created = [f"run-{next(self._numbers)}" for _ in range(at_once)]
        bare = self._stage.bare
        if by_hand:
            await bare.create_all((_SECRETS, self._secret(name)) for name in created)
        bodies = {name: self._hand_made(name) if by_hand else pod(name, image=self._image) for name in created}
        began = {}

        def posted() -> Any:
            for name, body in bodies.items():
                began[name] = time.perf_counter()
                yield _PODS, body

        await bare.create_all(posted())
        await self._sightings.wait(self._sightings.finished, created, "ends of pods")
        for path in (_PODS, _SECRETS):
            await bare.delete_all(path, labelSelector=_LABEL)
        await self._sightings.wait(self._sightings.gone, created, "pods' removals")
        return [self._sightings.finished[name] - began[name] for name in created]

    def _secret(self, name: str) -> dict[str, Any]:
        return {**self._bundle, "metadata": {**self._bundle["metadata"], "name": f"{_HAND_MADE}-{name}"}}

    def _hand_made(self, name: str) -> dict[str, Any]:
        """Return the injected pod with a Secret of a person's instead of the bundle."""
        spec = self._injected["spec"]
        [volume] = [volume for volume in spec["volumes"] if volume["name"] == names.VOLUME_NAME]
        [bundle] = {source["secret"]["name"] for source in volume["projected"]["sources"]}
        spec = json.loads(json.dumps(spec).replace(bundle, f"{_HAND_MADE}-{name}"))
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {_LABEL: "true"}}, "spec": spec}


def _rows(many: str, rounds: Mapping[str, Sequence[list[float]]]) -> list[Row]:
    def row(figure: str, share: float) -> Row:
        sides = ([quantile(seconds, share) for seconds in rounds[side]] for side in ("ours", "floor"))
        ours, floor = sides
        return compare(NAME, f"POST → Succeeded, {many}, {figure}", "s", ours, floor, "Secrets by hand")

    return [row("each", 1.0)] if many == ONE else [row("p50", 0.5), row("slowest", 1.0)]
