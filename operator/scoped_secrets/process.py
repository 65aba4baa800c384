"""What both processes have in common: probes, metrics, private memory, and silence about callbacks' arguments."""

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
"""Tells what is wrong in constant sentences, without any name; nothing when all is well."""

_Answer: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The format that every Prometheus reads, and what else collects its metrics."""

_logger = logging.getLogger(__name__)


def guard_process(loop: asyncio.AbstractEventLoop) -> None:
    """Keep plaintext in memory: no core file has it, and no message about a failed callback quotes its arguments."""
    harden_process()
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
        ConfigurationError: The port cannot be opened.
    """
    async with _serve("--probe", host, port, {"/healthz": _probe(alive), "/readyz": _probe(ready)}) as bound:
        yield bound


@asynccontextmanager
async def serve_metrics(settings: MetricsSettings | None, render: Callable[[], bytes]) -> AsyncIterator[int | None]:
    """Answer ``/metrics`` inside of the block, and give the port.

    They are rendered in the event loop of the caller, which owns all that they tell about.

    Args:
        settings: Where to listen; without them nothing is served and there is no port.
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
    """Answer GET at these paths inside of the block, and give the port.

    Args:
        flag: How the flags begin that say where to listen.
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
    """Log an exception that nobody awaits; asyncio's own handler prints arguments of callbacks, which are bodies."""
    _logger.error("a callback failed", extra=context(error=type(details.get("exception")).__name__))
