"""A bare client: what any program would need at the least."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

# More requests at once wait in the server instead of here.
CONCURRENCY = 16
_ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Load:
    """What it took to create many objects.

    Attributes:
        latencies: Milliseconds of each request.
        seconds: Time from the first request to the last answer.
        answers: The objects as they were created, in the order of the answers.
    """

    latencies: list[float]
    seconds: float
    answers: list[bytes]

    @property
    def per_second(self) -> float:
        """Return the throughput."""
        return len(self.latencies) / self.seconds


class Bare:
    """aiohttp, a token and JSON."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        """Hold the session; ``open`` makes one."""
        self.session = session
        self.server = server

    @classmethod
    @asynccontextmanager
    async def open(cls, kubeconfig: Path) -> AsyncIterator[Self]:
        """Connect as the user of a kubeconfig that has a token."""
        # The test cluster writes JSON, and reading YAML would take longer than to connect.
        content = json.loads(kubeconfig.read_text())  # noqa: ASYNC240 - one small file, before anything runs.
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        # Watches hold connections of their own.
        connector = aiohttp.TCPConnector(limit=CONCURRENCY * 2, ssl=context)
        headers = {"Authorization": f"Bearer {user['token']}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield cls(session, cluster["server"])

    async def create(self, path: str, body: dict[str, Any], **parameters: str) -> bytes:
        """Create an object and return the answer; one that exists is fine."""
        async with self.session.post(self.server + path, json=body, params=parameters) as response:
            answer = await response.read()
            if not response.ok and response.status != 409:
                raise RuntimeError(f"POST {path}: {response.status} {answer[:_ERROR_CHARACTERS]!r}")
            return answer

    async def create_all(
        self, pairs: Iterable[tuple[str, dict[str, Any]]], concurrency: int = CONCURRENCY, **parameters: str
    ) -> Load:
        """Create many objects, so many at a time."""
        queue = iter(pairs)
        latencies: list[float] = []
        answers: list[bytes] = []

        async def work() -> None:
            for path, body in queue:
                began = time.perf_counter()
                answers.append(await self.create(path, body, **parameters))
                latencies.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return Load(latencies, time.perf_counter() - began, answers)

    async def get(self, path: str) -> dict[str, Any]:
        """Return an object."""
        async with self.session.get(self.server + path) as response:
            response.raise_for_status()
            body: dict[str, Any] = await response.json()
            return body

    async def delete_all(self, path: str, **parameters: str) -> None:
        """Delete a collection at once."""
        parameters["gracePeriodSeconds"] = "0"
        async with self.session.delete(self.server + path, params=parameters) as response:
            await response.read()
            response.raise_for_status()

    async def pages(self, path: str, limit: int = 500, selector: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield page by page a whole collection, or what a label selector matches."""
        token = ""
        while True:
            given = {"continue": token, "labelSelector": selector}
            parameters = {"limit": str(limit)} | {key: value for key, value in given.items() if value}
            async with self.session.get(self.server + path, params=parameters) as response:
                response.raise_for_status()
                page = json.loads(await response.read())
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def watch(self, path: str, **parameters: str) -> AsyncIterator[tuple[float, str, dict[str, Any]]]:
        """Yield time, type and object of each event."""
        parameters |= {"watch": "true"}
        timeout = aiohttp.ClientTimeout(total=None)
        # A line is an object, and a Secret is longer than the usual limit of a line.
        async with self.session.get(
            self.server + path, params=parameters, timeout=timeout, read_bufsize=4 * 1024 * 1024
        ) as response:
            response.raise_for_status()
            async for line in response.content:
                event = json.loads(line)
                yield time.perf_counter(), event["type"], event["object"]
