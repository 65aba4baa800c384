"""A proxy between one client and the API server that answers some requests wrongly, late, in part or not at all.

Plain HTTP on loopback on the client's side. The client's token goes through, so that the API server sees who asks.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 30.0
_CLOSE_SECONDS = 0.25
_MAX_BODY = 16 * 1024 * 1024
_HOP_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})


class Cut(Enum):
    """A way to break a connection."""

    IN_REQUEST = auto()
    """While the body is still on its way."""
    IN_RESPONSE = auto()
    """In the middle of the answer; what was asked for is done."""
    BEFORE_RESPONSE = auto()
    """Before the answer; what was asked for is done."""
    NEVER = auto()
    """Not at all: there is no answer, and the client has to lose its patience."""
    LATE = auto()
    """As `NEVER`, and the request is carried out once the object is deleted, before the deletion is answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy's own; ``{body}`` in its text is what the client sent, as API servers may repeat it."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """Return a refusal in the API server's form that repeats the whole object, in its message and in its details."""
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": status,
        "reason": reason,
        "message": "the object is invalid: Invalid value: {body}",
        "details": {"causes": [{"reason": "FieldValueInvalid", "message": "{body}", "field": "data"}]},
    }
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, json.dumps(document), named)


@dataclass(slots=True)
class Fault:
    """What happens to the first requests of one kind.

    Attributes:
        method: The requests' method.
        path: A regular expression for the whole path.
        what: What happens to them.
        times: To how many it happens.
        served: To how many it has happened.
    """

    method: str
    path: str
    what: Answer | Cut
    times: int = 2
    served: int = 0

    def is_for(self, request: web.Request) -> bool:
        """Tell whether a request is one of those."""
        is_one = request.method == self.method and re.fullmatch(self.path, request.path) is not None
        return is_one and self.served < self.times


class FaultProxy:
    """The proxy, in a thread of its own."""

    def __init__(self, server: str, authority: Path) -> None:
        """Take the API server's address and the certificate of its authority."""
        self.faults: list[Fault] = []
        self.port = 0
        self.refused = 0
        """How many requests outages were the answer to."""
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_out = False
        self._open: set[asyncio.Transport] = set()
        self._late: dict[str, tuple[web.Request, bytes]] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        assert self._started.wait(_START_SECONDS), "the proxy does not start"
        return self

    def __exit__(self, *exception: object) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def kubeconfig(self, original: Path, path: Path) -> Path:
        """Write a kubeconfig like another one that leads through the proxy."""
        content = json.loads(original.read_text())
        (content["clusters"][0]["cluster"],) = [{"server": f"http://{_LOOPBACK}:{self.port}"}]
        path.touch(0o600)
        path.write_text(json.dumps(content))
        return path

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Answer everything with 503 for a while, and cut what is open: watches would outlive it otherwise."""
        self._is_out = True
        self.cut()
        try:
            yield
        finally:
            self._is_out = False

    def cut(self) -> None:
        """Cut what is open; new requests are answered."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def _cut_all(self) -> None:
        for transport in list(self._open):
            transport.abort()

    async def _run(self) -> None:
        await self._serve()
        # Closing a connection takes a few turns of the loop, and aiohttp does not say when it is done.
        await asyncio.sleep(_CLOSE_SECONDS)

    async def _serve(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await self._answer(request, session)

            application = web.Application(client_max_size=_MAX_BODY)
            application.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, _LOOPBACK, 0).start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()
            await _end_others()

    async def _answer(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        if self._is_out:
            self.refused += 1
            return web.Response(status=503, text="no server is available to handle this request")
        fault = next((fault for fault in self.faults if fault.is_for(request)), None)
        if fault is None and request.method == "DELETE" and request.path in self._late:
            return await self._delete_before_late(request, session)
        if fault is None:
            return await self._pass_on(request, session)
        fault.served += 1
        match fault.what:
            case Answer(status, text, headers):
                body = await request.text()
                quoted = json.dumps(body)[1:-1]
                sent = text.replace("{body}", quoted)
                return web.Response(status=status, text=sent, headers=headers, content_type="application/json")
            case Cut.NEVER:
                await request.read()
                await self._stop.wait()
            case Cut.LATE:
                self._late[request.path] = (request, await request.read())
                await self._stop.wait()
            case Cut.IN_RESPONSE:
                return await self._begin_only(request, session)
            case Cut.BEFORE_RESPONSE:
                async with self._ask(request, session, await request.read()) as response:
                    await response.read()
            case Cut.IN_REQUEST:
                pass
        return _cut(request)

    async def _pass_on(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        transport = request.transport
        async with self._ask(request, session, await request.read()) as response:
            answer = web.StreamResponse(status=response.status, headers=_passed(response.headers))
            await answer.prepare(request)
            if transport is not None:
                self._open.add(transport)
            try:
                # Pieces as they come: a watch has no end.
                async for piece in response.content.iter_any():
                    await answer.write(piece)
                await answer.write_eof()
            except ConnectionResetError:
                # The client has gone, or an outage has cut it off.
                pass
            finally:
                self._open.discard(transport)
            return answer

    async def _delete_before_late(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Delete an object, carry out the late request for it, and answer the deletion."""
        async with self._ask(request, session, await request.read()) as deletion:
            answer = web.Response(status=deletion.status, body=await deletion.read(), content_type="application/json")
        late, body = self._late.pop(request.path)
        async with self._ask(late, session, body) as response:
            await response.read()
        return answer

    async def _begin_only(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Answer with everything that was sent, and stop in the middle of it."""
        body = await request.read()
        async with self._ask(request, session, body) as response:
            await response.read()
            answer = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
            answer.content_length = len(body)
            await answer.prepare(request)
            await answer.write(body[: len(body) // 2])
        return _cut(request)

    def _ask(self, request: web.Request, session: aiohttp.ClientSession, body: bytes) -> Any:
        headers = _passed(request.headers)
        return session.request(request.method, f"{self._server}{request.raw_path}", data=body or None, headers=headers)


async def _end_others() -> None:
    """End what still waits for a client, or for the API server."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _passed(headers: Any) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name.lower() not in _HOP_HEADERS}


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    # Nobody gets it.
    return web.Response(status=500)
