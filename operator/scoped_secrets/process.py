"""What both processes have in common: probes, no core dumps, and silence about what callbacks were given."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeAlias

from aiohttp import web

from scoped_secrets.logs import context

__all__ = ["Problems", "guard_process", "serve_probes"]

Problems: TypeAlias = Callable[[], Iterable[str]]
"""Tells what is wrong in constant sentences, without any name; nothing when all is well."""

_logger = logging.getLogger(__name__)


def guard_process(loop: asyncio.AbstractEventLoop) -> None:
    """Keep plaintext in memory: no core file has it, and no message about a failed callback quotes its arguments."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    loop.set_exception_handler(_log_type)


@asynccontextmanager
async def serve_probes(host: str, port: int, alive: Problems, ready: Problems) -> AsyncIterator[int]:
    """Answer ``/healthz`` and ``/readyz`` inside of the block, and give the port.

    They are answered by the event loop that they tell about: that there is an answer shows that it turns.

    Args:
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.
        alive: What only a restart can mend.
        ready: What keeps the process from its work.

    Raises:
        OSError: The port cannot be opened.
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
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        return web.Response(status=status, text="\n".join(found or ["ok"]) + "\n")

    return answer


def _log_type(loop: asyncio.AbstractEventLoop, details: Mapping[str, Any]) -> None:  # noqa: ARG001 - asyncio's signature
    """Log an exception that nobody awaits; asyncio's own handler prints arguments of callbacks, which are bodies."""
    _logger.error("a callback failed", extra=context(error=type(details.get("exception")).__name__))
