"""What both processes share: probes, metrics, hardening, and a handler for failed callbacks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from aiohttp import web

from scoped_secrets.config import MetricsSettings
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.logs import context
from scoped_secrets.process_hardening import harden_process

__all__ = ["METRICS_TYPE", "Problems", "guard_process", "serve_metrics", "serve_probes"]

Problems: TypeAlias = Callable[[], Iterable[str]]
"""Returns what is wrong in constant sentences without names; nothing when the process is healthy."""

_Answer: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus."""

_logger = logging.getLogger(__name__)


def guard_process(loop: asyncio.AbstractEventLoop) -> None:
    """Keep values out of core files and out of messages about failed callbacks."""
    harden_process()
    loop.set_exception_handler(_log_type)


@asynccontextmanager
async def serve_probes(host: str, port: int, alive: Problems, ready: Problems) -> AsyncIterator[int]:
    """Serve ``/healthz`` and ``/readyz`` inside the block, and yield the port.

    The event loop that they report on answers them: an answer shows that the loop runs.

    Args:
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.
        alive: Problems that only a restart can solve.
        ready: Problems that keep the process from its work.

    Raises:
        ConfigurationError: The port cannot be opened.
    """
    async with _serve("--probe", host, port, {"/healthz": _probe(alive), "/readyz": _probe(ready)}) as bound:
        yield bound


@asynccontextmanager
async def serve_metrics(settings: MetricsSettings | None, render: Callable[[], bytes]) -> AsyncIterator[int | None]:
    """Serve ``/metrics`` inside the block, and yield the port.

    The event loop of the caller renders them: it owns the state that they read.

    Args:
        settings: Where to listen; ``None`` serves nothing and yields ``None``.
        render: Returns the metrics as text.

    Raises:
        ConfigurationError: The port cannot be opened.
    """
    if settings is None:
        yield None
        return

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"Content-Type": METRICS_TYPE})

    async with _serve("--metrics", settings.host, settings.port, {"/metrics": answer}) as bound:
        yield bound


@asynccontextmanager
async def _serve(flag: str, host: str, port: int, answers: Mapping[str, _Answer]) -> AsyncIterator[int]:
    """Answer GET at these paths inside the block, and yield the port.

    Args:
        flag: The prefix of the flags for host and port.
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.
        answers: What answers, by path.

    Raises:
        ConfigurationError: The port cannot be opened.
    """
    application = web.Application()
    for path, answer in answers.items():
        application.router.add_get(path, answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            raise ConfigurationError(f"{flag}-host and {flag}-port name no address that can be opened") from None
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()


def _probe(problems: Problems) -> _Answer:
    async def answer(_: web.Request) -> web.Response:
        found = list(problems())
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        return web.Response(status=status, text="\n".join(found or ["ok"]) + "\n")

    return answer


def _log_type(loop: asyncio.AbstractEventLoop, details: Mapping[str, Any]) -> None:  # noqa: ARG001 - asyncio's signature
    """Log the type of an unhandled exception; asyncio's handler prints callback arguments, which are bodies."""
    _logger.error("a callback failed", extra=context(error=type(details.get("exception")).__name__))
