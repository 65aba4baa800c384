"""From the moment a pod can be seen to the moment its bundle Secret can be seen, both by one bare watcher.

The floor is that watcher's own creation of the same Secrets. How many bundles a controller makes is measured with pods
that wait for it to start; otherwise the creation of the pods would be the limit.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.bench.api import CONCURRENCY
from tests.bench.measure import in_turn
from tests.bench.objects import PODS, RUN_LABEL, collection, pod
from tests.bench.report import Goal, Row, compare, quantile
from tests.bench.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.bench.objects import Creation
    from tests.bench.stage import Stage

NAME = "bundles"

_PODS, _SECRETS = collection("pods", PODS), collection("secrets", PODS)
_LATENCY = Goal(200.0)
_RATE = Goal(150.0, is_least=True)
ONE = "one at a time"


@dataclass(frozen=True, slots=True)
class _Round:
    """Milliseconds of each bundle, and bundles per second."""

    latencies: list[float]
    per_second: float


async def run(stage: Stage) -> list[Row]:
    """Create pods that nothing runs, one at a time and many at once."""
    await stage.wait_for_hook()
    rows: list[Row] = []
    async with Sightings.of(stage.bare, PODS) as sightings:
        bench = _Bench(stage, sightings, await take_bundle(stage, sightings))
        for at_once in (1, stage.scale.at_once):
            many = f"{at_once} at once" if at_once > 1 else ONE
            stage.say(f"bundles, {many}")
            sides = {"floor": partial(bench.floor, at_once), "ours": partial(bench.ours, at_once)}
            rounds = await in_turn(stage.scale.rounds, sides, stage.say)
            rows += _rows(many, rounds["ours"], rounds["floor"])
        backlog = stage.scale.backlog
        stage.say(f"bundles of {backlog} pods that wait for the controller")
        rounds = await in_turn(stage.scale.rounds, {"floor": bench.all_at_once, "ours": bench.backlog}, stage.say)
        ours, floor = ([one.per_second for one in rounds[side]] for side in ("ours", "floor"))
        rows.append(compare(NAME, f"rate with {backlog} pods that wait", "/s", ours, floor, "bare POST → seen", _RATE))
    return rows


async def take_bundle(stage: Stage, sightings: Sightings) -> dict[str, Any]:
    """Return the Secret of a pod, which is deleted again, as a body to create such a one."""
    uid = json.loads(await stage.bare.create(_PODS, pod("model")))["metadata"]["uid"]
    await sightings.wait(sightings.secrets, [uid], "bundle Secrets")
    listed = (await stage.bare.get(_SECRETS))["items"]
    [secret] = [item for item in listed if item["metadata"].get("labels", {}).get(names.POD_UID_LABEL) == uid]
    await stage.bare.delete_all(_PODS, labelSelector=RUN_LABEL)
    await sightings.wait(sightings.gone, [uid], "bundle Secrets' ends")
    return {
        "metadata": {"labels": {RUN_LABEL: "true"}},
        "data": secret["data"],
        "immutable": True,
        "type": secret["type"],
    }


class _Bench:
    """One side after the other in one namespace, which each leaves empty."""

    def __init__(self, stage: Stage, sightings: Sightings, bundle: dict[str, Any]) -> None:
        self._stage = stage
        self._sightings = sightings
        self._bundle = bundle
        self._numbers = count()

    async def floor(self, at_once: int, groups: int | None = None) -> _Round:
        """Create Secrets; each counts from its request on."""
        sent: dict[str, float] = {}
        for created in self._groups(at_once, groups):
            await self._stage.bare.create_all(self._secrets(created, sent), min(at_once, CONCURRENCY))
            await self._sightings.wait(self._sightings.secrets, created, "Secrets")
        await self._stage.bare.delete_all(_SECRETS, labelSelector=RUN_LABEL)
        await self._sightings.wait(self._sightings.gone, sent, "Secrets' ends")
        return _round(sent, self._sightings.secrets)

    async def all_at_once(self) -> _Round:
        """Create as many Secrets as pods wait."""
        return await self.floor(self._stage.scale.backlog, groups=1)

    async def backlog(self) -> _Round:
        """Create pods without a controller, then start one; the first bundle begins the time, which is no latency."""
        stage = self._stage
        await stage.ours.stop_controller()
        pods = ((_PODS, pod(f"bench-{next(self._numbers)}")) for _ in range(stage.scale.backlog))
        load = await stage.bare.create_all(pods)
        uids = [json.loads(answer)["metadata"]["uid"] for answer in load.answers]
        await stage.ours.start_controller()
        await self._sightings.wait(self._sightings.secrets, uids, "bundle Secrets")
        await self._remove(uids)
        seen = sorted(self._sightings.secrets[uid] for uid in uids)
        return _Round([], (len(seen) - 1) / (seen[-1] - seen[0]))

    async def ours(self, at_once: int) -> _Round:
        """Create pods; each bundle counts from the sight of its pod on."""
        uids: list[str] = []
        for created in self._groups(at_once):
            pods = ((_PODS, pod(name)) for name in created)
            load = await self._stage.bare.create_all(pods, min(at_once, CONCURRENCY))
            latest = [json.loads(answer)["metadata"]["uid"] for answer in load.answers]
            await self._sightings.wait(self._sightings.secrets, latest, "bundle Secrets")
            # The watches are two, and the one of pods may be behind.
            await self._sightings.wait(self._sightings.pods, latest, "pods")
            uids += latest
        await self._remove(uids)
        return _round({uid: self._sightings.pods[uid] for uid in uids}, self._sightings.secrets)

    async def _remove(self, uids: Sequence[str]) -> None:
        await self._stage.bare.delete_all(_PODS, labelSelector=RUN_LABEL)
        await self._sightings.wait(self._sightings.gone, uids, "bundle Secrets' ends")

    def _groups(self, size: int, groups: int | None = None) -> Iterator[list[str]]:
        """Yield new names, so many at once."""
        for _ in range(groups or self._stage.scale.bundles // size):
            yield [f"bench-{next(self._numbers)}" for _ in range(size)]

    def _secrets(self, created: Sequence[str], sent: dict[str, float]) -> Iterator[Creation]:
        for name in created:
            metadata = {**self._bundle["metadata"], "name": name}
            sent[name] = time.perf_counter()
            yield _SECRETS, {**self._bundle, "metadata": metadata}


def _round(began: Mapping[str, float], seen: Mapping[str, float]) -> _Round:
    latencies = [(seen[one] - moment) * 1000 for one, moment in began.items()]
    elapsed = max(seen[one] for one in began) - min(began.values())
    return _Round(latencies, len(latencies) / elapsed)


def _rows(many: str, ours: Sequence[_Round], floor: Sequence[_Round]) -> list[Row]:
    def row(figure: str, unit: str, of: Callable[[_Round], float], goal: Goal | None = None) -> Row:
        sides = ([of(one) for one in ours], [of(one) for one in floor])
        return compare(NAME, f"pod seen → bundle seen, {many}, {figure}", unit, *sides, "bare POST → seen", goal)

    rows = [
        row("p50", "ms", lambda one: quantile(one.latencies, 0.5)),
        row("p99", "ms", lambda one: quantile(one.latencies, 0.99), _LATENCY),
    ]
    return rows if many == ONE else [*rows, row("rate", "/s", lambda one: one.per_second)]
