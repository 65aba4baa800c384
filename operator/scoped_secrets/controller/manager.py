"""The manager: owns the inventories and the work queue, and dispatches to the reconcilers.

It depends on no kind of work: `reconcilers.RECONCILERS` lists them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final

from scoped_secrets.audit import AuditLog
from scoped_secrets.clock import utc_now
from scoped_secrets.controller.condition_counts import ConditionCounts, ConditionKey
from scoped_secrets.controller.pods import Pods, list_pods
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.reconcilers import RECONCILERS
from scoped_secrets.controller.value_age import ResealedTexts
from scoped_secrets.controller.workqueue.queue import Attempt, Outcome, WorkQueue
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.bundle_names import is_genuine
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.keys import Keys
from scoped_secrets.logs import context
from scoped_secrets.metrics import ControllerMetrics

__all__ = ["Manager", "Request"]

logger = logging.getLogger(__name__)

_OBJECTS_AT_ONCE: Final = 50
"""How many objects a resync compares before other tasks of the event loop run."""


@dataclass(frozen=True, slots=True)
class Request:
    """One item of the work queue: a reconciler and a key of it."""

    reconciler: Reconciler
    key: str


class Manager:
    """Keeps the inventories up to date, and runs the reconcilers while it leads; a standby runs none."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        keys: Callable[[], Keys],
        settings: DecisionSettings,
        organization: str,
        workers: int,
        metrics: ControllerMetrics,
        audit: AuditLog | None = None,
        sweeps: bool = False,
        records_fingerprints: bool = True,
        reconcilers: Iterable[Callable[[ReconcilerContext], Reconciler]] = RECONCILERS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Put the parts together; nothing starts.

        Args:
            cluster: The API server.
            keys: Returns the present keys.
            settings: The operator's configuration.
            organization: The organization of namespaces that have only a project.
            workers: How many keys are reconciled at once.
            metrics: Counts reconciles and errors.
            audit: The audit log; by default nothing is written.
            sweeps: Whether pods that were not injected are deleted.
            records_fingerprints: Whether fingerprints of values that were sealed without one are kept in statuses.
            reconcilers: The kinds of work, in the order of a resync.
            clock: Returns the seconds of a monotonic clock.
            now: Returns the present time, with a time zone.
        """
        self._cluster = cluster
        self._clock = clock
        self._metrics = metrics
        self.informer = Informer(
            Inventory(),
            default_organization=organization,
            keep_sealed=True,
            keep_status=True,
            clock=clock,
            on_change=self._on_changes,
        )

        def is_made_for_pod(namespace: str, identity: str, base: str) -> bool:
            present = keys()
            return is_genuine(present.fingerprint_key, namespace, identity, base, present.former_fingerprint_keys)

        self.pods = Pods(is_made_for_pod)
        self.completed = asyncio.Event()
        """Set once everything was listed."""
        self._complete_since = inf
        self._leads_since = inf
        self._condition_counts: ConditionCounts[tuple[str, str]] = ConditionCounts()
        shared = ReconcilerContext(
            cluster=cluster,
            informer=self.informer,
            pods=self.pods,
            keys=keys,
            recorder=EventRecorder(cluster),
            settings=settings,
            metrics=metrics,
            audit=audit or AuditLog(),
            condition_counts=self._condition_counts,
            resealed_texts=ResealedTexts(),
            sweeps=sweeps,
            records_fingerprints=records_fingerprints,
            complete_since=lambda: self._complete_since,
            leads_since=lambda: self._leads_since,
            enqueue=self.enqueue,
            clock=clock,
            now=now,
        )
        self._reconcilers = {each.kind: each for each in (build(shared) for build in reconcilers)}
        self.queue: WorkQueue[Request] = WorkQueue(
            _reconcile, concurrency=workers, describe=_describe, on_attempt=self._count
        )

    @property
    def is_complete(self) -> bool:
        """Tell whether everything was listed at least once."""
        return self._complete_since < inf

    async def relist(self) -> None:
        """List everything, drop what was deleted, and enqueue every key that then needs work.

        Raises:
            ClusterError: Something could not be listed; the inventories keep what they have.
        """
        await self.informer.relist(self._cluster)
        await list_pods(self._cluster, self.pods, self._clock)
        if not self.is_complete:
            self._complete_since = self._clock()
            self.completed.set()
            logger.info(
                "the inventory is complete",
                extra=context(definitions=len(self.informer.inventory), pods=len(self.pods)),
            )
        for reconciler in self._reconcilers.values():
            reconciler.on_relist()
        await self._resync()

    async def lead(self) -> None:
        """Begin to reconcile: enqueue every key that needs work."""
        # Another leader may have written statuses meanwhile; the resync counts all conditions again.
        self._condition_counts.clear()
        self._leads_since = self._clock()
        self.queue.resume()
        await self._resync()

    async def step_down(self, seconds: float) -> None:
        """Start no more work, and let what has started finish within so many seconds."""
        if not await self.queue.drain(seconds):
            logger.warning("work was cancelled at the end of leadership")

    async def on_keys_changed(self, *, check_pods: bool) -> None:
        """Enqueue every key that needs work after the operator's keys have changed.

        Args:
            check_pods: Whether the fingerprint keys changed, so that names of bundles that looked foreign may be
                genuine.

        Raises:
            ClusterError: The pods could not be listed.
        """
        if check_pods:
            self.pods.invalidate()
            await list_pods(self._cluster, self.pods, self._clock)
        await self._resync()

    def on_pod(self, event_type: str | None, body: dict[str, Any]) -> None:
        """Apply one watch event of a pod."""
        record = self.pods.apply(event_type, body, self._clock())
        if record is None or self.queue.is_paused:
            return
        for reconciler in self._reconcilers.values():
            self._add(reconciler, reconciler.on_pod(record))

    def enqueue(self, kind: str, pending: Pending) -> None:
        """Add a key of the reconciler of this kind to the work queue."""
        self._add(self._reconcilers[kind], (pending,))

    def conditions(self) -> Iterator[tuple[str, ConditionKey, int]]:
        """Yield kind, condition and the number of objects; only the leader's numbers are up to date."""
        return self._condition_counts.numbers()

    def _on_changes(self, changes: Changes) -> None:
        if self.queue.is_paused:
            # A new leader resyncs everything; a standby collects no keys until then.
            return
        for reconciler in self._reconcilers.values():
            self._add(reconciler, reconciler.on_changes(changes))

    async def _resync(self) -> None:
        """Enqueue every key that needs work, one kind of work after the other."""
        if self.queue.is_paused or not self.is_complete:
            return
        objects = 0
        for reconciler in self._reconcilers.values():
            for pending in reconciler.pending():
                if pending is not None:
                    self._add(reconciler, (pending,))
                objects += 1
                if objects % _OBJECTS_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _add(self, reconciler: Reconciler, pending: Iterable[Pending]) -> None:
        for each in pending:
            self.queue.add(Request(reconciler, each.key), each.priority, each.delay)

    def _count(self, request: Request, attempt: Attempt) -> None:
        kind = request.reconciler.kind
        self._metrics.count_reconcile(kind, attempt.result, attempt.seconds)
        if attempt.error is not None:
            # The project has few error classes; the number of foreign ones is not bounded.
            is_own = isinstance(attempt.error, ScopedSecretsError)
            self._metrics.count_error(kind, type(attempt.error).__name__ if is_own else "other")


async def _reconcile(request: Request) -> Outcome:
    return await request.reconciler.reconcile(request.key)


def _describe(request: Request) -> Mapping[str, object]:
    """Return what log lines say about a request: the kind of work, and the object."""
    return {"kind": request.reconciler.kind, "object": request.reconciler.describe(request.key)}
