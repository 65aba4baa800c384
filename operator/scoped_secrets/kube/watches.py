"""Runs kopf's watches, starts them again when they end, and has the inventory repaired.

kopf ends on an unknown error in a watch, on an expired list and after a while without an API server (DESIGN section 9).
Here that ends only the watches: the process goes on with what it knows. kopf gets a thread and an event loop of its
own, because it cancels whatever else it finds in its loop; events are handed over to the loop that owns the inventory.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

import kopf

# Arguments of kopf.operator whose types kopf does not export.
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from scoped_secrets import names
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.client import PAGE_OBJECTS
from scoped_secrets.kube.credentials import login
from scoped_secrets.kube.informer import Informer, Kind
from scoped_secrets.logs import context, require_guard

__all__ = ["PODS", "Resource", "WatchSupervisor", "watch", "watch_inventory", "watch_settings"]

_logger = logging.getLogger(__name__)

EventHandler: TypeAlias = Callable[[str | None, dict[str, Any]], None]
"""Takes an event's type, None for an object of the initial list, and the object."""

_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 30.0
# Watches that lived for so long were healthy: what ended them is a new misfortune.
_HEALTHY_SECONDS: Final = 60.0
# Until then kopf has taken its own lists, so that whatever vanishes later is reported by its watches.
_SETTLE_SECONDS: Final = 5.0
_KOPF: Final = "kopf"
# kopf needs a moment to end; the sum is well below the time that Kubernetes gives a process to end.
_STOP_SECONDS: Final = 8.0
_CANCEL_SECONDS: Final = 4.0
_CLOSE_SECONDS: Final = 0.25


class Resource(NamedTuple):
    """What to watch."""

    group: str
    version: str
    plural: str


PODS: Final = Resource("", "v1", "pods")
_RESOURCES: Final[Mapping[Kind, Resource]] = {
    Kind.NAMESPACE: Resource("", "v1", "namespaces"),
    Kind.SCOPED_SECRET: Resource(names.GROUP, names.VERSION, names.SCOPED_SECRET_PLURAL),
    Kind.SECRET_POLICY: Resource(names.GROUP, names.VERSION, names.SECRET_POLICY_PLURAL),
}


def watch(
    registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop, resource: Resource, handle: EventHandler
) -> None:
    """Have every event of a resource handled in another thread's event loop.

    Args:
        registry: Where kopf finds its handlers.
        loop: The loop in which `handle` is called.
        resource: What to watch, cluster-wide.
        handle: Must not block and must not raise.
    """

    # Asynchronous only because kopf would call a plain function in a thread for each event.
    async def hand_over(event: kopf.RawEvent, **_: object) -> None:
        loop.call_soon_threadsafe(handle, event["type"], dict(event["object"]))

    kopf.on.event(*resource, id=f"watch-{resource.plural}", registry=registry)(hand_over)


def watch_inventory(registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop, informer: Informer) -> None:
    """Have the events of all kinds that the inventory is made of applied to a feed, in the loop that owns it."""

    def applier(kind: Kind) -> EventHandler:
        return lambda event_type, body: informer.apply(kind, event_type, body)

    for kind, resource in _RESOURCES.items():
        watch(registry, loop, resource, applier(kind))


class WatchSupervisor:
    """Keeps the watches of one registry alive.

    Attributes:
        restarts: How often the watches ended by themselves.
        is_watching: Whether kopf runs at this moment.
    """

    def __init__(
        self,
        registry: kopf.OperatorRegistry,
        repair: Callable[[], Awaitable[None]],
        *,
        kubeconfig: str | None = None,
        label_selectors: Mapping[Resource, str] | None = None,
        resync_seconds: float = 300.0,
        settle_seconds: float = _SETTLE_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            registry: kopf's handlers: see `watch`. Only event handlers belong here, for all others leave traces.
            repair: Lists everything and drops what is gone (`Informer.prime`); called in the loop of `run`.
            kubeconfig: As for `Cluster.connect`.
            label_selectors: Which objects of a resource are watched at all, by its label selector.
            resync_seconds: Time between two repairs.
            settle_seconds: Time from a start of the watches to the repair that closes the gap before them.
            chance: Numbers from 0 to 1, so that many processes do not come back at the same moment.
        """
        kopf.on.login(id="login", registry=registry)(_login_handler(kubeconfig))
        self.restarts = 0
        self.is_watching = False
        self._registry = registry
        self._repair = repair
        self._label_selectors = label_selectors or {}
        self._resync_seconds = resync_seconds
        self._settle_seconds = settle_seconds
        self._chance = chance
        self._is_listed = asyncio.Event()
        self._has_started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Repair, watch, and begin again whenever the watches end, until told to stop.

        Signals are the caller's: kopf receives them only in the main thread.

        Raises:
            ConfigurationError: kopf's DEBUG lines would be written, with the objects in them.
        """
        require_guard(_KOPF)
        tasks = (
            asyncio.create_task(stop.wait(), name="stop of the watches"),
            asyncio.create_task(self._repair_forever(), name="repair of the inventory"),
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
        # kopf looks for its resources once, when it starts; the first list has proved that they exist.
        await self._is_listed.wait()
        failures = 0
        while True:
            began = time.monotonic()
            failure = await self._watch_once()
            self.restarts += 1
            failures = 1 if time.monotonic() - began > _HEALTHY_SECONDS else failures + 1
            pause = self._pause(failures)
            _logger.warning("the watches ended", extra=context(error=failure, again_in=f"{pause:.1f}s"))
            await asyncio.sleep(pause)

    async def _watch_once(self) -> str:
        """Run kopf until it ends by itself, and return why; stop it when cancelled."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        watches = _Watches(self._registry, watch_settings(self._label_selectors), ended)
        watches.start()
        self.is_watching = True
        self._has_started.set()
        try:
            return await asyncio.shield(ended)
        finally:
            self.is_watching = False
            await watches.stop()

    async def _repair_forever(self) -> None:
        failures = 0
        while True:
            pause = self._resync_seconds
            try:
                await self._repair()
            except ClusterError as error:
                failures += 1
                pause = self._pause(failures)
                _logger.warning("the inventory is not repaired", extra=context(error=error, again_in=f"{pause:.1f}s"))
            else:
                self._is_listed.set()
                # After an outage the watches may come back later than this list did.
                pause = self._settle_seconds if failures else pause
                failures = 0
            await self._wait_for_repair(pause)

    async def _wait_for_repair(self, seconds: float) -> None:
        """Wait until the next repair is due: after so many seconds, or when watches that just started have settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_started.wait()
        if self._has_started.is_set():
            self._has_started.clear()
            await asyncio.sleep(self._settle_seconds)

    def _pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        # The exponent is bounded, because a float is: an outage may last for days.
        return min(_FIRST_DELAY * 2.0 ** min(failures - 1, 16), _LAST_DELAY) * (0.5 + self._chance() / 2)


class _Watches:
    """One run of kopf, in a thread and an event loop of its own."""

    def __init__(
        self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, ended: asyncio.Future[str]
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._ended = ended
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._operation: asyncio.Task[None] | None = None
        self._failure = "none"
        # A daemon, so that a watch that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=_KOPF, daemon=True)

    def start(self) -> None:
        """Start kopf."""
        self._thread.start()

    async def stop(self) -> None:
        """Ask kopf to end, then make it; after a while leave it behind, for it may wait for what never comes."""
        for end, seconds in ((self._stop.set, _STOP_SECONDS), (self._cancel, _CANCEL_SECONDS)):
            # A closed loop has ended already.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(end)
            await asyncio.wait((self._ended,), timeout=seconds)
            if self._ended.done():
                self._thread.join()
                return
        _logger.warning("watches that do not end are left behind")

    def _cancel(self) -> None:
        if self._operation is not None:
            self._operation.cancel()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - whatever ends the watches, the supervisor must hear of it.
            # Its type is all that is told: a watch's error holds an object.
            self._failure = type(error).__name__
        # Nobody listens any more to watches that were left behind.
        with suppress(RuntimeError):
            self._ended.get_loop().call_soon_threadsafe(self._tell_end)

    def _tell_end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(self._failure)

    async def _operate(self) -> None:
        self._operation = asyncio.current_task()
        insights = Insights()
        # kopf cancels in the end what it did not find when it began, so this comes first.
        checking = asyncio.create_task(self._check_served(insights))
        try:
            # Standalone and cluster-wide: kopf's peering is no leader election, and would freeze a second replica.
            await kopf.operator(
                registry=self._registry,
                settings=self._settings,
                standalone=True,
                clusterwide=True,
                stop_flag=self._stop,
                insights=insights,
                memories=_NoMemories(),
                # Only peering needs it; by default kopf asks for the user's name, and in a container the user has none.
                identity=Identity(names.DISTRIBUTION),
            )
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)
            # Closing a TLS connection takes a few turns of the loop, and aiohttp does not say when it is done.
            await asyncio.sleep(_CLOSE_SECONDS)

    async def _check_served(self, insights: Insights) -> None:
        """End watches that kopf does not even begin.

        An API server that has just started does not know the CRDs for a moment. kopf then warns, and goes on for ever
        without those resources.
        """
        await insights.ready_resources.wait()
        selectors = self._registry._watching.get_all_selectors()  # noqa: SLF001 - kopf tells it nowhere else.
        if not all(selector.select(insights.watched_resources) for selector in selectors):
            self._failure = "a resource is not known to the API server"
            self._stop.set()


class _NoMemories(ResourceMemories):
    """Remembers no object: kopf would keep a kilobyte for each, also of those that vanished while a watch was down.

    What is remembered serves handlers of other kinds than ours, and pauses after handlers that raise, as ours must not.
    """

    async def recall(self, raw_body: Any, **options: Any) -> ResourceMemory:
        """Return a new memory, as kopf does for objects that do not exist yet."""
        return await super().recall(raw_body, **options | {"ephemeral": True})


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing: kopf would deep-copy each object, and write it into an annotation if it handled changes."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002 - kopf's signature.
        """Return an empty state."""
        return {}

    def fetch(self, *, body: Any) -> None:
        """Return no state."""

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Store no state."""


def watch_settings(label_selectors: Mapping[Resource, str]) -> kopf.OperatorSettings:
    """Return settings with which kopf watches, keeps little, writes nothing and can be started again.

    Each value was measured or is explained in DESIGN section 9.
    """
    settings = kopf.OperatorSettings()
    # When kopf ends by itself, this would kill the process ten minutes later.
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.01
    settings.watching.chunk_size = PAGE_OBJECTS
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    # Short, so that watches are back soon after an outage; about three minutes in all, then the supervisor takes over.
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, *[5] * 35)
    settings.persistence.finalizer = f"{names.GROUP}/never"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    for resource, selector in label_selectors.items():
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings


def _login_handler(kubeconfig: str | None) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    async def log_in(**_: object) -> kopf.ConnectionInfo:
        return await login(kubeconfig)

    return log_in
