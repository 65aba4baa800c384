"""The HTTP shell: limits, media types and connections. It knows nothing of what is asked (DESIGN section 9).

Built on aiohttp's low-level server: routing by a dictionary, no middleware, no access log. Every text that it answers
with is a constant, because anybody who reaches the port can send anything.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from aiohttp import web

from scoped_secrets.admission.review import MalformedReviewError, Review, parse_review
from scoped_secrets.logs import context

__all__ = ["MAX_BODY_BYTES", "Answer", "Document", "Limits", "Observer", "ReviewServer"]

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""The largest review: the API server's own limit for a request is 3 MiB."""

Answer: TypeAlias = Callable[[Review], Awaitable[bytes]]
"""Returns the response's body for a review; it must not raise."""

Document: TypeAlias = Callable[[], bytes | None]
"""Returns a plain text that is for everybody, ``None`` while there is none."""

Observer: TypeAlias = Callable[[str, int, float], None]
"""Is told of every answer: the path, the HTTP status, and the seconds since the headers had been read."""

_JSON: Final = "application/json"
_OUR_FAULT: Final = 500
_CLOSE_SECONDS: Final = 0.5

_logger = logging.getLogger(__name__)


class Limits:
    """Bounds of what clients can make the server hold; seconds and bytes.

    Attributes:
        connections: Open connections; beyond it, the one that has said nothing for the longest time goes.
        buffered_bytes: Bytes of bodies that are being read, of all connections together.
        first_request_seconds: Time for the first request's headers.
        body_seconds: Time for a body.
        idle_seconds: How long a connection is kept open between requests. More than the 90 s of Go's clients, so
            that the API server is the one that closes.
    """

    def __init__(
        self,
        *,
        connections: int = 512,
        buffered_bytes: int = 64 * 1024 * 1024,
        first_request_seconds: float = 10.0,
        body_seconds: float = 5.0,
        idle_seconds: float = 120.0,
    ) -> None:
        """Take the bounds; the defaults suit a process with 512 MiB."""
        self.connections = connections
        self.buffered_bytes = buffered_bytes
        self.first_request_seconds = first_request_seconds
        self.body_seconds = body_seconds
        self.idle_seconds = idle_seconds


class ReviewServer:
    """Serves admission reviews over TLS, in the event loop in which it was started."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        tls: ssl.SSLContext,
        limits: Limits | None = None,
        *,
        documents: Mapping[str, Document] | None = None,
        observe: Observer = lambda path, status, seconds: None,  # noqa: ARG005 - nobody observes
    ) -> None:
        """Take what answers at each path, and the TLS context, whose certificate may change at any time.

        Args:
            answers: The webhooks, by path.
            tls: The TLS context.
            limits: Bounds of what clients can make the server hold.
            documents: What anybody may read, by path.
            observe: Is told of every answer but documents; of a path that is not known, too.
        """
        self._answers = answers
        self._documents = documents or {}
        self._observe = observe
        self._tls = tls
        self._limits = limits or Limits()
        self._connections: _Connections | None = None
        self._listener: asyncio.Server | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._buffered = 0
        self._is_draining = False

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which matters when 0 was given."""
        connections = _Connections(self._handle, self._limits)
        self._connections = connections
        self._listener = await asyncio.get_running_loop().create_server(
            connections, host, port, ssl=self._tls, ssl_handshake_timeout=5.0, ssl_shutdown_timeout=2.0, backlog=512
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def drain(self) -> None:
        """Close each connection after its next answer, so that clients move to another replica."""
        self._is_draining = True

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more connections, finish the reviews that have begun, and close."""
        self.drain()
        if self._listener is None or self._connections is None:
            return
        self._listener.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        await self._connections.close()
        # Not before: from Python 3.12 on it waits for all connections.
        await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self._connections is not None:
            self._connections.heard_from(request.protocol)
        self._in_flight += 1
        self._idle.clear()
        try:
            response = await self._respond(request)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        if self._is_draining:
            response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        document = self._documents.get(request.path)
        if document is not None:
            return _shown(request, document())
        began = time.perf_counter()
        response = await self._review(request)
        self._observe(request.path, response.status, time.perf_counter() - began)
        return response

    async def _review(self, request: web.BaseRequest) -> web.Response:
        """Answer a review, or refuse what is none."""
        answer = self._answers.get(request.path)
        if answer is None:
            return _failure(404, "there is no such webhook")
        body = _refusal(request) or await self._read(request)
        if isinstance(body, web.Response):
            return body
        try:
            review = parse_review(body)
        except MalformedReviewError as error:
            return _failure(400, str(error))
        return web.Response(body=await answer(review), content_type=_JSON)

    async def _read(self, request: web.BaseRequest) -> bytes | web.Response:
        """Return the body, or the refusal of one that is too large, too slow or one too many."""
        content = request.content
        if content.is_eof():
            # It came together with the headers, as most do.
            return content.read_nowait()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while chunk := await content.readany():
                    size += len(chunk)
                    self._buffered += len(chunk)
                    if size > MAX_BODY_BYTES:
                        return _failure(413, "the body is larger than 3 MiB")
                    if self._buffered > self._limits.buffered_bytes:
                        return _failure(503, "too many large requests at once; try again", {"Retry-After": "1"})
                    chunks.append(chunk)
        except TimeoutError:
            return _failure(408, "the body came too slowly")
        except web.RequestPayloadError:
            return _failure(400, "the body is incomplete")
        finally:
            self._buffered -= size
        return b"".join(chunks)


class _Connection(web.RequestHandler):
    """One connection; what it says about errors is constant, and it logs nothing of them."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; it repeats the input.
    ) -> web.StreamResponse:
        """Answer a request that is no HTTP, or that failed."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("a part of the response has been sent")
        if status == _OUR_FAULT:
            self.log_exception(exc_info=exc)
        return _failure(status, "the request cannot be answered")

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002 - aiohttp's signature
        """Log the type only: the text of the exception may hold the request."""
        _logger.error(
            "a request could not be answered",
            extra=context(error=type(kw.get("exc_info")).__name__),
        )


class _Connections(web.Server):
    """All connections, with a bound on their number and on the patience with silent ones."""

    def __init__(self, handler: Callable[[web.BaseRequest], Any], limits: Limits) -> None:
        super().__init__(handler)
        self._limits = limits
        self._silent: dict[web.RequestHandler, asyncio.Transport] = {}
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._closed = asyncio.Event()

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for no access log; its stub forgets it.
            auto_decompress=False,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=1.0,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = self._silent[handler] = transport
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.first_request_seconds, self._drop_silent, handler)
        if len(self._open) > self._limits.connections:
            # Whoever waits longest without a request goes first; the API server does not wait.
            self._drop_silent(next(iter(self._silent)))

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._silent.pop(handler, None)
        self._open.pop(handler, None)
        if not self._open:
            self._closed.set()
        super().connection_lost(handler, exc)

    def heard_from(self, handler: web.RequestHandler) -> None:
        """Note that a connection has made a request."""
        self._silent.pop(handler, None)

    async def close(self) -> None:
        """Close every connection: politely, and after a moment in any case."""
        await self.shutdown(_CLOSE_SECONDS)
        for abort in (False, True):
            self._closed.clear()
            if not self._open:
                break
            for transport in self._open.values() if abort else ():
                transport.abort()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _CLOSE_SECONDS)
        # The sockets themselves are closed by what the loop does next.
        await asyncio.sleep(0)

    def _drop_silent(self, handler: web.RequestHandler) -> None:
        transport = self._silent.pop(handler, None)
        if transport is not None:
            transport.abort()


def _refusal(request: web.BaseRequest) -> web.Response | None:
    """Return the refusal of a request whose headers tell enough."""
    if request.method != "POST":
        return _failure(405, "webhooks are called with POST", {"Allow": "POST"})
    # A compressed body could be small here and large in memory; the API server sends none.
    if request.content_type != _JSON or "Content-Encoding" in request.headers:
        return _failure(415, "the body must be application/json, not compressed")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return _failure(413, "the body is larger than 3 MiB")
    return None


def _shown(request: web.BaseRequest, document: bytes | None) -> web.Response:
    """Return a public document; asked for by people and rarely, so its connection is not kept."""
    if request.method not in {"GET", "HEAD"}:
        return _failure(405, "this is read with GET", {"Allow": "GET, HEAD"})
    if document is None:
        return _failure(503, "this is not known yet; try again", {"Retry-After": "1"})
    response = web.Response(body=document, content_type="text/plain", charset="us-ascii")
    response.force_close()
    return response


def _failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a refusal, after which the connection is closed: what is left of the request is not read."""
    response = web.Response(status=status, text=f"{text}\n", headers=headers)
    response.force_close()
    return response
