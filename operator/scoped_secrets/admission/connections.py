"""Bounds on the connections to the webhooks' port, and constant answers to requests that are not valid HTTP.

aiohttp's own server has no limit on connections and closes none that has sent no request yet. It also repeats an
invalid request in its answer and in its log.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from scoped_secrets.logs import context

__all__ = ["TLS_SHUTDOWN_SECONDS", "BoundedConnections", "Limits", "failure"]

TLS_SHUTDOWN_SECONDS: Final = 2.0
"""How long a client may take to receive the last answer and to end TLS before its connection is aborted."""

_CANCEL_SECONDS: Final = 0.5
_INTERNAL_SERVER_ERROR: Final = 500

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of what clients can make the server hold, in seconds and bytes. The defaults suit a process with 512 MiB.

    Attributes:
        connections: Open connections. Beyond it, the server closes the oldest one that has sent no request.
        buffered_bytes: Bytes of the bodies that are being read, over all connections.
        first_request_seconds: Time for the headers of a connection's first request.
        body_seconds: Time for a body.
        idle_seconds: How long a connection stays open between requests. It exceeds the 90 s of Go's clients, so that
            the API server closes first.
    """

    connections: int = 512
    buffered_bytes: int = 64 * 1024 * 1024
    first_request_seconds: float = 10.0
    body_seconds: float = 5.0
    idle_seconds: float = 120.0


class BoundedConnections(web.Server):
    """The open connections. It bounds their number and how long one may stay silent before its first request."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], limits: Limits) -> None:
        """Take what answers requests; it reports each one with `heard_from`."""
        super().__init__(handler)
        self._limits = limits
        self._silent: dict[web.RequestHandler, asyncio.Transport] = {}
        self._open: set[web.RequestHandler] = set()
        self._all_closed = asyncio.Event()

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp accepts None for no access log; its annotation does not.
            auto_decompress=False,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=1.0,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Add a connection; it replaces the oldest silent one when there are too many."""
        super().connection_made(handler, transport)
        self._open.add(handler)
        self._silent[handler] = transport
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.first_request_seconds, self._abort_silent, handler)
        if len(self._open) > self._limits.connections:
            # The API server sends a request at once, so it is never the oldest silent connection.
            self._abort_silent(next(iter(self._silent)))

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Remove a connection."""
        self._silent.pop(handler, None)
        self._open.discard(handler)
        if not self._open:
            self._all_closed.set()
        super().connection_lost(handler, exc)

    def heard_from(self, handler: web.RequestHandler) -> None:
        """Record that a connection has sent a request."""
        self._silent.pop(handler, None)

    async def close(self) -> None:
        """Cancel what is still being answered, and close every connection within `TLS_SHUTDOWN_SECONDS`."""
        self._all_closed.clear()
        await self.shutdown(_CANCEL_SECONDS)
        if self._open:
            with suppress(TimeoutError):
                # A moment longer than TLS may take, which then aborts the connection itself.
                await asyncio.wait_for(self._all_closed.wait(), TLS_SHUTDOWN_SECONDS + _CANCEL_SECONDS)
        # The event loop closes the sockets in its next iteration.
        await asyncio.sleep(0)

    def _abort_silent(self, handler: web.RequestHandler) -> None:
        transport = self._silent.pop(handler, None)
        if transport is not None:
            transport.abort()


class _Connection(web.RequestHandler):
    """One connection. Its answers to errors are constant, and its log lines hold nothing of the request."""

    __slots__ = ()

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


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response that closes the connection, because the rest of the request is not read."""
    response = web.Response(status=status, text=f"{text}\n", headers=headers)
    response.force_close()
    return response
