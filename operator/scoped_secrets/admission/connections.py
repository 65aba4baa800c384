"""Bounds on the connections to the webhooks' port, and constant answers to requests that are not valid HTTP.

Every pod of a cluster may reach the port, and the API server calls from an address that is not known. A connection
therefore earns nothing by what it sent before: when there are too many, the one that has been idle longest is closed,
whichever client opened it. It is idle in its handshake, between requests, and while its headers or its body arrive.
From the last byte of a request to the answer it is never closed.

A review that can be answered without waiting is answered where its last bytes arrive: aiohttp would make a task and two
rounds of the event loop for it, which takes as much processor time as the answer. Everything else goes through aiohttp.

aiohttp's own server has no limit on connections, closes none that has sent no request yet, and sees none before its
TLS handshake has ended. It also repeats an invalid request in its answer and in its log. asyncio's TLS holds a buffer
of 256 KiB for each connection, and a slow reader of answers keeps them in memory for as long as it likes.
"""

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage

from scoped_secrets.admission.connection_limits import Limits
from scoped_secrets.admission.http_messages import AtOnce, failure, is_plain, plain_response, unread
from scoped_secrets.logs import context

__all__ = ["BoundedConnections", "TlsConnection", "connection_of"]

_HANDSHAKE_SECONDS: Final = 5
_TLS_SHUTDOWN_SECONDS: Final = 2
"""How long a client may take to receive the last answer and to end TLS before its connection is aborted."""

_TLS_BUFFER_BYTES: Final = 16 * 1024
"""What is read from a connection at once: a TLS record. asyncio's own size, 256 KiB, is allocated per connection."""

_REST_SECONDS: Final = 0.05
"""How long the rest of a body may take that is answered where it arrives, before aiohttp's task waits for it."""

_WRITE_BUFFER_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 32
_CANCEL_SECONDS: Final = 0.5
_INTERNAL_SERVER_ERROR: Final = 500

_logger = logging.getLogger(__name__)


class BoundedConnections(web.Server):
    """The open connections. It bounds their number, and what they make the server hold."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        tls: Callable[[], ssl.SSLContext],
        limits: Limits,
        at_once: AtOnce = lambda target, body: None,  # noqa: ARG005 - answers nothing
    ) -> None:
        """Take what answers requests.

        Args:
            handler: Answers requests; it calls `set_busy` and `set_reading`.
            tls: Returns the present TLS context.
            limits: What clients can make the server hold.
            at_once: Is asked first, about whole requests with JSON.
        """
        super().__init__(handler)
        self.limits = limits
        self.at_once = at_once
        self._tls = tls
        self._open: set[TlsConnection] = set()
        # In the order in which they became idle.
        self._idle: dict[TlsConnection, None] = {}
        self._idle_by_source: Counter[str] = Counter()
        # In the order in which they began.
        self._reading: dict[TlsConnection, int] = {}
        self._unsent: dict[TlsConnection, asyncio.TimerHandle] = {}
        self._all_closed = asyncio.Event()

    def accept(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new TCP connection: TLS, and HTTP within it."""
        return _HttpConnection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp accepts None for no access log; its annotation does not.
            auto_decompress=False,
            keepalive_timeout=self.limits.idle_seconds,
            lingering_time=1.0,
            max_headers=_MAX_HEADERS,
        ).secured(self, self._tls())

    def opened(self, connection: "TlsConnection") -> None:
        """Add a TCP connection, whose handshake follows."""
        self._open.add(connection)
        self._set_idle(connection)

    def closed(self, connection: "TlsConnection") -> None:
        """Remove a TCP connection."""
        self._open.discard(connection)
        self.set_busy(connection)
        self._reading.pop(connection, None)
        timer = self._unsent.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if not self._open:
            self._all_closed.set()

    def set_receiving(self, connection: "TlsConnection") -> None:
        """Record that a request begins to arrive: the rest of its headers makes the connection no younger."""
        self._set_idle(connection)

    def set_reading(self, connection: "TlsConnection", size: int) -> None:
        """Record the size of what has arrived of a body; close the slowest reading when they are too large together."""
        if connection not in self._reading:
            self._set_idle(connection)
        if connection in self._open:
            self._reading[connection] = size
        while sum(self._reading.values()) > self.limits.buffered_bytes:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            oldest.abort()

    def set_busy(self, connection: "TlsConnection") -> None:
        """Record that a connection has a whole request without an answer, and may not be closed."""
        self._reading.pop(connection, None)
        if connection in self._idle:
            del self._idle[connection]
            self._idle_by_source[connection.source] -= 1
            if not self._idle_by_source[connection.source]:
                del self._idle_by_source[connection.source]

    def set_answered(self, connection: "TlsConnection") -> None:
        """Record that an answer was made; the client has a limited time to receive it, and limited memory."""
        self._set_idle(connection)
        if connection.unsent_bytes and connection in self._open and connection not in self._unsent:
            call_later = asyncio.get_running_loop().call_later
            self._unsent[connection] = call_later(self.limits.answer_seconds, self._abort_unsent, connection)
        while sum(each.unsent_bytes for each in self._unsent) > self.limits.buffered_bytes:
            self._abort_unsent(next(iter(self._unsent)))

    def release(self) -> None:
        """Give requests whose rest is awaited to the handler."""
        for each in self.connections:
            if isinstance(each, _HttpConnection):
                each.release()

    async def close(self) -> None:
        """Cancel what is still being answered, and close every connection within a few seconds."""
        self._all_closed.clear()
        known = {each.tls for each in self.connections if isinstance(each, _HttpConnection)}
        for connection in self._open - known:
            # In its handshake.
            connection.abort()
        await self.shutdown(_CANCEL_SECONDS)
        if self._open:
            with suppress(TimeoutError):
                # A moment longer than TLS may take, which then aborts the connection itself.
                await asyncio.wait_for(self._all_closed.wait(), _TLS_SHUTDOWN_SECONDS + _CANCEL_SECONDS)
        # The event loop closes the sockets in its next iteration.
        await asyncio.sleep(0)

    def _set_idle(self, connection: "TlsConnection") -> None:
        """Record that a connection is idle from now on, and close another one if there are too many."""
        self.set_busy(connection)
        if connection not in self._open:
            return
        self._idle[connection] = None
        self._idle_by_source[connection.source] += 1
        victim = self._victim(connection.source)
        if victim is not None:
            self.set_busy(victim)
            victim.abort()

    def _victim(self, source: str) -> "TlsConnection | None":
        """Return the connection to close, if there are too many: the one that has been idle longest."""
        counts, limits = self._idle_by_source, self.limits
        if counts[source] > limits.connections_per_source:
            return next(each for each in self._idle if each.source == source)
        if len(self._idle) <= limits.connections:
            return None
        # Of an address with many, if there is one: a flood closes its own connections before those of others.
        many = (each for each in self._idle if counts[each.source] > limits.kept_per_source)
        return next(many, next(iter(self._idle)))

    def _abort_unsent(self, connection: "TlsConnection") -> None:
        timer = self._unsent.pop(connection, None)
        if timer is not None and connection.unsent_bytes:
            connection.abort()


class TlsConnection(SSLProtocol):
    """One TCP connection with its TLS, counted from the moment at which it is accepted.

    asyncio makes this protocol itself for a server with ``ssl``, and shows a connection only after its handshake. As
    the protocol of a server without ``ssl`` it does the same, with a buffer of our size. It is no documented class;
    test_connections.py compares what is used here with that of the present Python.
    """

    max_size = _TLS_BUFFER_BYTES

    def __init__(self, connections: BoundedConnections, http: web.RequestHandler, tls: ssl.SSLContext) -> None:
        """Take the HTTP protocol that begins after the handshake."""
        super().__init__(
            asyncio.get_running_loop(),
            http,
            tls,
            None,  # type: ignore[arg-type]  # Nothing waits for the handshake, which typeshed does not foresee.
            server_side=True,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
        )
        self._connections = connections
        self._tcp: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self.peer: tuple[Any, ...] = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and begin the handshake."""
        self._tcp = cast("asyncio.Transport", transport)
        self.peer = transport.get_extra_info("peername") or ("", 0)
        call_later = asyncio.get_running_loop().call_later
        self._silence = call_later(self._connections.limits.first_request_seconds, self.abort)
        self._connections.opened(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection no more."""
        self.heard()
        self._tcp = None
        self._connections.closed(self)
        super().connection_lost(exc)

    @property
    def source(self) -> str:
        """Return the address of the client."""
        return str(self.peer[0])

    @property
    def unsent_bytes(self) -> int:
        """Return the size of what was answered and neither received by the client nor buffered by the kernel."""
        return 0 if self._tcp is None else self._tcp.get_write_buffer_size()

    def heard(self) -> None:
        """Record that the connection has sent the headers of a request."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def abort(self) -> None:
        """Close the connection at once."""
        if self._tcp is not None:
            self._tcp.abort()


class _HttpConnection(web.RequestHandler):
    """HTTP of one connection. Its answers to errors are constant, and its log lines hold nothing of the request.

    Attributes:
        tls: The connection itself.
    """

    __slots__ = ("_awaited", "_bounds", "_header_bytes", "_is_closing", "tls")

    tls: TlsConnection

    def secured(self, connections: BoundedConnections, tls: ssl.SSLContext) -> TlsConnection:
        """Return the protocol of the TCP connection."""
        self._bounds = connections
        self._header_bytes = 0
        self._is_closing = False
        self._awaited: asyncio.TimerHandle | None = None
        self.tls = TlsConnection(connections, self, tls)
        return self.tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, after the handshake."""
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        # aiohttp's task waits for the next request, and must not begin with one that is answered here.
        waiter, self._waiter = self._waiter, None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if self._messages:
            # The headers are complete, and most often the body is too; otherwise `set_reading` follows.
            self._header_bytes = 0
            self.tls.heard()
            self._bounds.set_busy(self.tls)
            if waiter is not None and not waiter.done() and not self._is_answered_at_once():
                waiter.set_result(None)
        elif self._current_request is None and not self._is_closing:
            if not self._header_bytes:
                self._bounds.set_receiving(self.tls)
            self._header_bytes += len(data)
            if self._header_bytes > self._bounds.limits.header_bytes:
                self.tls.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._stop_awaiting()
        super().connection_lost(exc)

    def release(self) -> None:
        """Give a request whose rest is awaited to aiohttp's task."""
        self._stop_awaiting()
        if self._messages and self._waiter is not None and not self._waiter.done():
            self._bounds.set_busy(self.tls)
            self._waiter.set_result(None)

    def _stop_awaiting(self) -> None:
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _is_answered_at_once(self) -> bool:
        """Answer the only request, or wait a moment for the rest of its body; tell whether one of both is the case."""
        message, payload = self._messages[0]
        if (
            not isinstance(message, RawRequestMessage)
            or len(self._messages) > 1
            or self._buffer_paused
            # Without its timer, aiohttp would not close the connection when it is idle for too long.
            or not self._keepalive
            or self._keepalive_handle is None
            or not is_plain(message)
        ):
            self._stop_awaiting()
            return False
        if not payload.is_eof():
            # Go writes the first 4 KiB and the rest one after the other.
            if self._awaited is None:
                self._awaited = self._loop.call_later(_REST_SECONDS, self.release)
            self._bounds.set_reading(self.tls, payload.total_bytes)
            return True
        self._stop_awaiting()
        # Before the body is read, which makes aiohttp look for further requests.
        self._messages.popleft()
        body = payload.read_nowait()
        answer = self._bounds.at_once(message.path, body)
        transport = self.transport
        if answer is None or transport is None or transport.is_closing():
            self._messages.appendleft((message, unread(body, self, self._loop)))
            # To read the body may have counted as the arrival of another request.
            self._bounds.set_busy(self.tls)
            return False
        if self._parser is not None:
            self._parser.message_consumed()
        transport.write(plain_response(answer))
        self._bounds.requests_count += 1
        self._next_keepalive_close_time = self._loop.time() + self._bounds.limits.idle_seconds
        self._bounds.set_answered(self.tls)
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; the client has a limited time to receive it."""
        self._header_bytes = 0
        try:
            async with asyncio.timeout(self._bounds.limits.answer_seconds):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self.tls.abort()
            return resp, True
        finally:
            self._is_closing = not resp.keep_alive
            if not self._messages:
                self._bounds.set_answered(self.tls)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; the message repeats the request.
    ) -> web.StreamResponse:
        """Answer a request that is not valid HTTP or that failed."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("a part of the response has been sent")
        if status == _INTERNAL_SERVER_ERROR:
            self.log_exception(exc_info=exc)
        return failure(status, "the request cannot be answered")

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002 - aiohttp's signature
        """Log the type only, because the text of an exception may repeat the request."""
        _logger.error("request failed", extra=context(error=type(kw.get("exc_info")).__name__))


def connection_of(request: web.BaseRequest) -> TlsConnection:
    """Return the connection that sent a request."""
    return cast("_HttpConnection", request.protocol).tls
