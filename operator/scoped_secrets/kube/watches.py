"""Runs kopf's watches from a list on, restarts them when they end, and lists the inventory's objects again.

Each watch begins at the resourceVersion of a complete list, so that no change is lost between the two. A watch that
cannot continue, because its version has expired, asks for a new list. kopf ends on an unknown error in a watch and
after a while without an API server (DESIGN section 9). Here, that ends the watches only: the process continues with
what it knows. kopf runs in a thread and an event loop of its own, because it cancels all other tasks of its loop;
events are handed over to the loop that owns the inventory.
"""

import asyncio
import gc
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.kopf_adapter import run_kopf
from scoped_secrets.kube.version_tracker import is_before
from scoped_secrets.kube.watch_handlers import EventHandler, WatchHandler
from scoped_secrets.logs import context, require_guard

__all__ = ["WatchSupervisor"]

_logger = logging.getLogger(__name__)

_FIRST_BACKOFF: Final = 0.5
_MAX_BACKOFF: Final = 30.0
# Watches that ran for so long were healthy: the back-off starts again from its first step.
_HEALTHY_SECONDS: Final = 60.0
_KOPF: Final = "kopf"
# kopf takes a while to end; the sum is well below the grace period in which Kubernetes lets a process end.
_STOP_SECONDS: Final = 8.0
_CANCEL_SECONDS: Final = 4.0
_WENT_BACK: Final = "the versions of the API server went back; etcd was restored"
# After so many events the loop does other work that is due.
_EVENTS_AT_ONCE: Final = 50


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
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            handlers: What to watch. The handlers are called in the event loop of `run`.
            relist: Lists all objects and drops the deleted ones (`Informer.relist`); called in the loop of `run`.
            kubeconfig: As for `Cluster.connect`.
            resync_seconds: Time between two lists.
            chance: Returns numbers from 0 to 1, so that many processes do not retry at the same time.
        """
        self.restarts = 0
        self.is_watching = False
        self._handlers = tuple(handlers)
        self._relist = relist
        self._kubeconfig = kubeconfig
        self._resync_seconds = resync_seconds
        self._chance = chance
        self._is_primed = False
        self._is_wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._versions: Mapping[object, str] = {}
        self._went_back = asyncio.Event()

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
        failures = 0
        while True:
            # kopf discovers its resources once, when it starts; the list shows that they exist.
            await self._list()
            began = time.monotonic()
            reason = await self._watch_once()
            self.restarts += 1
            failures = 1 if time.monotonic() - began > _HEALTHY_SECONDS else failures + 1
            backoff = self._backoff(failures)
            _logger.warning("the watches ended", extra=context(error=reason, retry_in=f"{backoff:.1f}s"))
            await asyncio.sleep(backoff)

    async def _watch_once(self) -> str:
        """Run kopf until it ends by itself, or until its versions are void, and return the reason.

        When cancelled, kopf is stopped.
        """
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        thread = _WatchThread(self._handlers, self._list, self._kubeconfig, ended)
        self._went_back.clear()
        going_back = asyncio.create_task(self._went_back.wait())
        thread.start()
        self.is_watching = True
        try:
            await asyncio.wait((ended, going_back), return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else _WENT_BACK
        finally:
            self.is_watching = False
            going_back.cancel()
            await thread.stop()

    async def _list(self) -> None:
        """Wait for a complete list that begins from now on."""
        listed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(listed)
        self._is_wanted.set()
        await listed

    async def _relist_forever(self) -> None:
        failures = 0
        while True:
            # The watches ask for the first list.
            await self._wait_until_due()
            self._is_wanted.clear()
            waiting, self._waiting = self._waiting, []
            try:
                with nullcontext() if self._is_primed else _before_collector():
                    await self._relist()
            except ClusterError as error:
                failures += 1
                self._waiting += waiting
                self._is_wanted.set()
                pause = self._backoff(failures)
                _logger.warning(
                    "the inventory could not be listed", extra=context(error=error, retry_in=f"{pause:.1f}s")
                )
                await asyncio.sleep(pause)
            else:
                failures = 0
                self._is_primed = True
                self._compare_versions()
                for listed in waiting:
                    if not listed.done():
                        listed.set_result(None)

    async def _wait_until_due(self) -> None:
        """Wait until the next list is due: after a while, or when a watch waits for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._resync_seconds):
                await self._is_wanted.wait()

    def _compare_versions(self) -> None:
        """End the watches when the API server's versions went back: they would skip everything up to their own."""
        before = self._versions
        self._versions = {handler.resource: handler.listed_version() for handler in self._handlers}
        if any(is_before(version, before.get(resource, "")) for resource, version in self._versions.items()):
            self._went_back.set()

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

    def __init__(
        self,
        handlers: Iterable[WatchHandler],
        list_again: Callable[[], Coroutine[None, None, None]],
        kubeconfig: str | None,
        ended: asyncio.Future[str],
    ) -> None:
        """Prepare one run, right after a list.

        Args:
            handlers: What to watch.
            list_again: Lists everything; called in the loop of `ended`.
            kubeconfig: As for `Cluster.connect`.
            ended: Receives the reason why kopf ended; its loop runs the handlers.
        """
        self._handlers = tuple(handlers)
        self._list_again = list_again
        self._kubeconfig = kubeconfig
        self._ended = ended
        self._owner = ended.get_loop()
        # The versions of the list before the start, each for one begin.
        self._versions = {handler.resource: handler.listed_version() for handler in self._handlers}
        self._events = _Handover(self._owner)
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
        return await run_kopf(
            self._handlers, self._events.put, self._begin, kubeconfig=self._kubeconfig, stop=self._stop
        )

    async def _begin(self, handler: WatchHandler) -> str:
        """Return where a watch begins: at the list before the start, or at a new one; called in kopf's loop."""
        version = self._versions.pop(handler.resource, None)
        if version is None:
            listing = asyncio.run_coroutine_threadsafe(self._list_again(), self._owner)
            await asyncio.wrap_future(listing)
            version = handler.listed_version()
        return version


class _Handover:
    """Hands events from one thread over to the event loop of another, in their order.

    To wake a loop costs system calls in both threads, and each lets the other one take the interpreter. So the loop is
    woken once for all events that have come by the time when it runs.
    """

    def __init__(self, owner: asyncio.AbstractEventLoop) -> None:
        """Take the loop that runs the handlers."""
        self._owner = owner
        self._events: deque[tuple[EventHandler, str | None, dict[str, Any]]] = deque()
        self._is_due = False

    def put(self, handle: EventHandler, event_type: str | None, body: dict[str, Any]) -> None:
        """Have a handler called in the owner's loop."""
        self._events.append((handle, event_type, body))
        if not self._is_due:
            self._is_due = True
            self._owner.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First, so that an event that comes during the delivery wakes the loop again.
        self._is_due = False
        try:
            for _ in range(min(len(self._events), _EVENTS_AT_ONCE)):
                handle, event_type, body = self._events.popleft()
                handle(event_type, body)
        finally:
            if self._events and not self._is_due:
                self._is_due = True
                self._owner.call_soon(self._deliver)
