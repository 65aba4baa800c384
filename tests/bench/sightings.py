"""When one bare watcher has seen what."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from scoped_secrets import names
from tests.bench.objects import collection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from tests.bench.api import Bare

_SECONDS = 180.0
_JOB_LABEL = "batch.kubernetes.io/job-name"


class Sightings:
    """First times by what was seen: a pod's UID, a bundle's pod's UID, a name, a pod's phase.

    The name of a Job's pod is its Job's.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.pods: dict[str, float] = {}
        self.finished: dict[str, float] = {}
        self.failed: set[str] = set()
        self.secrets: dict[str, float] = {}
        self.gone: set[str] = set()
        self._changed = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def of(cls, bare: Bare, namespace: str) -> AsyncIterator[Self]:
        """Watch a namespace's pods and Secrets from now on."""
        sightings = cls()
        watches = []
        for resource, see in (("pods", sightings._see_pod), ("secrets", sightings._see_secret)):
            path = collection(resource, namespace)
            version = (await bare.get(path))["metadata"]["resourceVersion"]
            watches.append(asyncio.create_task(sightings._follow(bare, path, version, see)))
        try:
            yield sightings
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def wait(self, seen: Collection[str], expected: Collection[str], what: str) -> None:
        """Wait until everything that is expected was seen.

        Raises:
            TimeoutError: It takes too long.
            RuntimeError: A pod failed.
        """
        try:
            async with asyncio.timeout(_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self.failed or all(one in seen for one in expected))
        except TimeoutError:
            missing = sum(one not in seen for one in expected)
            raise TimeoutError(f"{missing} of {len(expected)} {what} were not seen within {_SECONDS:.0f} s") from None
        if self.failed:
            raise RuntimeError(f"pods failed: {', '.join(sorted(self.failed))}")

    async def _follow(
        self, bare: Bare, path: str, version: str, see: Callable[[float, str, dict[str, Any]], None]
    ) -> None:
        async for moment, event, body in bare.watch(path, resourceVersion=version):
            async with self._changed:
                see(moment, event, body)
                self._changed.notify_all()

    def _see_pod(self, moment: float, event: str, body: dict[str, Any]) -> None:
        metadata, phase = body["metadata"], body["status"].get("phase")
        name = metadata.get("labels", {}).get(_JOB_LABEL, metadata["name"])
        self.pods.setdefault(metadata["uid"], moment)
        if event == "DELETED":
            self.gone.add(name)
        elif phase == "Succeeded":
            self.finished.setdefault(name, moment)
        elif phase == "Failed":
            self.failed.add(name)

    def _see_secret(self, moment: float, event: str, body: dict[str, Any]) -> None:
        key = body["metadata"].get("labels", {}).get(names.POD_UID_LABEL, body["metadata"]["name"])
        if event == "DELETED":
            self.gone.add(key)
        else:
            self.secrets.setdefault(key, moment)
