"""The probes of the controller, on a port of their own: constant sentences, no names."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

__all__ = ["Problems", "serve_probes"]

Problems = Callable[[], Iterable[str]]
"""Tells what is wrong, one sentence each; nothing when all is well."""

_OK = 200
_UNAVAILABLE = 503


@asynccontextmanager
async def serve_probes(host: str, port: int, alive: Problems, ready: Problems) -> AsyncIterator[int]:
    """Answer ``/healthz`` and ``/readyz`` inside of the block, and give the port.

    Args:
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.
        alive: What only a restart can mend.
        ready: What keeps the process from its work as leader or standby.
    """
    application = web.Application()
    application.router.add_get("/healthz", _answer(alive))
    application.router.add_get("/readyz", _answer(ready))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()


def _answer(problems: Problems) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = list(problems())
        return web.Response(status=_UNAVAILABLE if found else _OK, text="\n".join(found or ["ok"]) + "\n")

    return answer
