"""Runs kopf's watches, restarts them when they end, and lists the inventory's objects again.

kopf ends on an unknown error in a watch, on an expired list and after a while without an API server (DESIGN section 9).
Here, that ends the watches only: the process continues with what it knows. kopf runs in a thread and an event loop of
its own, because it cancels all other tasks of its loop; events are handed over to the loop that owns the inventory.
"""

import asyncio
import gc
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.kopf_adapter import run_kopf
from scoped_secrets.kube.watch_handlers import EventHandler, WatchHandler
from scoped_secrets.logs import context, require_guard

__all__ = ["WatchSupervisor"]

_logger = logging.getLogger(__name__)

_FIRST_BACKOFF: Final = 0.5
_MAX_BACKOFF: Final = 30.0
# Watches that ran for so long were healthy: the back-off starts again from its first step.
_HEALTHY_SECONDS: Final = 60.0
# By then kopf has finished its own initial lists, so that its watches report every later deletion.
_SETTLE_SECONDS: Final = 5.0
_KOPF: Final = "kopf"
# kopf takes a while to end; the sum is well below the grace period in which Kubernetes lets a process end.
_STOP_SECONDS: Final = 8.0
_CANCEL_SECONDS: Final = 4.0


class WatchSupervisor:
    """Keeps the watches of all handlers running.

    Attributes:
        restarts: How often the watches ended by themselves.
        is_watching: Whether kopf is running now.
    """

    def __init__(
        self,
        handlers: Iterable[WatchHandler],
        relist: Callable[[], Awaitable[None]],
        *,
        kubeconfig: str | None = None,
        resync_seconds: float = 300.0,
        settle_seconds: float = _SETTLE_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            handlers: What to watch. The handlers are called in the event loop of `run`.
            relist: Lists all objects and drops the deleted ones (`Informer.relist`); called in the loop of `run`.
            kubeconfig: As for `Cluster.connect`.
            resync_seconds: Time between two lists.
            settle_seconds: Time from a start of the watches to the list that closes the gap before them.
            chance: Returns numbers from 0 to 1, so that many processes do not retry at the same time.
        """
        self.restarts = 0
        self.is_watching = False
        self._handlers = tuple(handlers)
        self._relist = relist
        self._kubeconfig = kubeconfig
        self._resync_seconds = resync_seconds
        self._settle_seconds = settle_seconds
        self._chance = chance
        self._is_primed = False
        self._is_listed = asyncio.Event()
        self._has_started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """List and watch, and restart the watches whenever they end, until told to stop.

        The caller handles signals: kopf receives them only in the main thread.

        Raises:
            ConfigurationError: kopf's DEBUG lines, which hold objects, would be written.
        """
        require_guard(_KOPF)
        tasks = (
            asyncio.create_task(stop.wait(), name="stop of the watches"),
            asyncio.create_task(self._relist_forever(), name="resync of the inventory"),
            asyncio.create_task(self._watch_forever(), name="watches"),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _watch_forever(self) -> None:
        # kopf discovers its resources once, when it starts; the first list has shown that they exist.
        await self._is_listed.wait()
        failures = 0
        while True:
            began = time.monotonic()
            reason = await self._watch_once()
            self.restarts += 1
            failures = 1 if time.monotonic() - began > _HEALTHY_SECONDS else failures + 1
            backoff = self._backoff(failures)
            _logger.warning("the watches ended", extra=context(error=reason, retry_in=f"{backoff:.1f}s"))
            await asyncio.sleep(backoff)

    async def _watch_once(self) -> str:
        """Run kopf until it ends by itself, and return the reason; stop it when cancelled."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        thread = _WatchThread(self._handlers, self._kubeconfig, ended)
        thread.start()
        self.is_watching = True
        self._has_started.set()
        try:
            return await asyncio.shield(ended)
        finally:
            self.is_watching = False
            await thread.stop()

    async def _relist_forever(self) -> None:
        failures = 0
        while True:
            pause = self._resync_seconds
            try:
                with nullcontext() if self._is_primed else _before_collector():
                    await self._relist()
                self._is_primed = True
            except ClusterError as error:
                failures += 1
                pause = self._backoff(failures)
                _logger.warning(
                    "the inventory could not be listed", extra=context(error=error, retry_in=f"{pause:.1f}s")
                )
            else:
                self._is_listed.set()
                # After an outage the watches may return later than this list.
                pause = self._settle_seconds if failures else pause
                failures = 0
            await self._wait_for_resync(pause)

    async def _wait_for_resync(self, seconds: float) -> None:
        """Wait until the next list is due: after so many seconds, or when watches that just started have settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_started.wait()
        if self._has_started.is_set():
            self._has_started.clear()
            await asyncio.sleep(self._settle_seconds)

    def _backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        # The exponent is bounded because a float is: an outage may last for days.
        return min(_FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), _MAX_BACKOFF) * (0.5 + self._chance() / 2)


@contextmanager
def _before_collector() -> Iterator[None]:
    """Leave what the block makes to reference counts.

    A full collection reads all objects: with 10,000 definitions it would take 0.5 s, in which nothing else runs, and
    several of them a quarter of the first list's CPU.
    """
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()


class _WatchThread:
    """One run of kopf, in a thread and an event loop of its own."""

    def __init__(self, handlers: Iterable[WatchHandler], kubeconfig: str | None, ended: asyncio.Future[str]) -> None:
        """Take what to watch, and the future that receives the reason why kopf ended; its loop runs the handlers."""
        self._handlers = handlers
        self._kubeconfig = kubeconfig
        self._ended = ended
        self._owner = ended.get_loop()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[str | None] | None = None
        # A daemon, so that a watch that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=_KOPF, daemon=True)

    def start(self) -> None:
        """Start kopf."""
        self._thread.start()

    async def stop(self) -> None:
        """Ask kopf to end, then cancel it; after a timeout abandon it, because it may wait forever."""
        for end, seconds in ((self._stop.set, _STOP_SECONDS), (self._cancel, _CANCEL_SECONDS)):
            # A closed loop has ended already.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(end)
            await asyncio.wait((self._ended,), timeout=seconds)
            if self._ended.done():
                self._thread.join()
                return
        _logger.warning("the watches do not end and are abandoned")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                reason = runner.run(self._watch()) or "none"
        except BaseException as error:  # noqa: BLE001 - the supervisor needs to know about every end.
            # The type only: the text of a watch's error may hold an object.
            reason = type(error).__name__
        # The owner's loop may be closed when the watches were abandoned.
        with suppress(RuntimeError):
            self._owner.call_soon_threadsafe(self._set_ended, reason)

    def _set_ended(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _watch(self) -> str | None:
        self._task = asyncio.current_task()
        return await run_kopf(self._handlers, self._dispatch, kubeconfig=self._kubeconfig, stop=self._stop)

    def _dispatch(self, handle: EventHandler, event_type: str | None, body: dict[str, Any]) -> None:
        """Have a handler called in the owner's loop."""
        self._owner.call_soon_threadsafe(handle, event_type, body)
