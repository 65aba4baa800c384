"""The probes of the process, on a port of their own without TLS: constant words, no names."""

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

__all__ = ["ProbeServer"]


class ProbeServer:
    """Answers ``/healthz`` and ``/readyz`` from the event loop that it tells about.

    ``/healthz`` needs nothing but that loop, so its answer is the proof that the loop turns.
    """

    def __init__(self, problems: Callable[[], Iterable[str]]) -> None:
        """Take what tells why the process is not ready."""
        self._problems = problems
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which matters when 0 was given."""
        self._server = web.Server(self._handle, access_log=None, keepalive_timeout=30.0)
        self._listener = await asyncio.get_running_loop().create_server(self._server, host, port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the port."""
        if self._listener is not None and self._server is not None:
            self._listener.close()
            await self._server.shutdown(1.0)
            await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="probes are read with GET\n", headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/healthz":
                return web.Response(text="ok\n")
            case "/readyz":
                problems = list(self._problems())
                return web.Response(status=503 if problems else 200, text="\n".join([*problems, ""]) or "ok\n")
            case _:
                return web.Response(status=404, text="there is no such probe\n")
