"""Which keys have to be looked at, and who looks at them: between the inventories and the queue."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final, TypeAlias

from scoped_secrets.clock import utc_now
from scoped_secrets.controller.condition_counts import ConditionKey
from scoped_secrets.controller.pods import PodRecord, Pods, list_pods
from scoped_secrets.controller.rendering import BundleRenderer
from scoped_secrets.controller.resealing import Resealer
from scoped_secrets.controller.status_writer import StatusWriter, Subject
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import Attempt, Outcome, WorkQueue
from scoped_secrets.controller.workqueue.schedule import Priority
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.bundle_names import is_genuine
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.keys import Keys
from scoped_secrets.kube.resources import Kind
from scoped_secrets.logs import context
from scoped_secrets.metrics import ControllerMetrics

__all__ = ["Key", "PodKey", "Reconciler"]

logger = logging.getLogger(__name__)

_SWEEPS_PER_SECOND: Final = 20.0
"""How fast bundles are looked for that a process before this one may have left: there may be thousands of old pods."""

_LOOKS_AT_ONCE: Final = 50
"""How many objects are compared before others get their turn in the event loop."""


@dataclass(frozen=True, slots=True)
class PodKey:
    """One pod."""

    uid: str


@dataclass(frozen=True, slots=True)
class ResealKey:
    """A definition that somebody asks to be sealed anew, by its ``namespace/name``."""

    location: str


Key: TypeAlias = PodKey | Subject | ResealKey


class Reconciler:
    """Keeps the inventories, and works as long as it leads; a standby only keeps them."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        keys: Callable[[], Keys],
        rules: DecisionSettings,
        organization: str,
        workers: int,
        metrics: ControllerMetrics,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Put the parts together; nothing is started.

        Args:
            cluster: The API server.
            keys: Returns the present keys.
            rules: The operator's configuration.
            organization: The organization of namespaces that have only a project.
            workers: How many keys are worked on at once.
            metrics: Counts what is done.
            clock: Seconds of a monotonic clock.
            now: The present time, with a time zone.
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

        def is_ours(namespace: str, identity: str, base: str) -> bool:
            present = keys()
            return is_genuine(present.fingerprint_key, namespace, identity, base, present.former_fingerprint_keys)

        self.pods = Pods(is_ours)
        self.completed = asyncio.Event()
        """Set once everything was listed."""
        self._complete_since = inf

        def unsealer() -> Unsealer:
            present = keys()
            return Unsealer(present.ring, present.cluster_id)

        recorder = EventRecorder(cluster)
        self._bundles = BundleRenderer(
            cluster=cluster,
            informer=self.informer,
            pods=self.pods,
            unsealer=unsealer,
            recorder=recorder,
            rules=rules,
            complete_since=lambda: self._complete_since,
            on_missing=self._enqueue_definition,
            metrics=metrics,
            clock=clock,
            now=now,
        )
        self._reports = StatusWriter(
            cluster=cluster, informer=self.informer, unsealer=unsealer, recorder=recorder, now=now
        )
        self._reseals = Resealer(
            cluster=cluster,
            informer=self.informer,
            unsealer=unsealer,
            fingerprint_key=lambda: keys().fingerprint_key,
            recorder=recorder,
            on_moved=self._reports.keep_age,
        )
        self.queue: WorkQueue[Key] = WorkQueue(
            self._work, concurrency=workers, describe=self._describe, on_attempt=self._count
        )

    @property
    def is_complete(self) -> bool:
        """Tell whether everything was listed at least once."""
        return self._complete_since < inf

    async def repair(self) -> None:
        """List everything, drop what is gone, and look at whatever then differs.

        Raises:
            ClusterError: Something could not be listed; what is known stays known.
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
        self._bundles.prune()
        self._bundles.invalidate()
        await self._enqueue_all()

    async def lead(self) -> None:
        """Begin to work on everything that needs it."""
        # What another leader knew better meanwhile is counted anew, by the look at all that follows.
        self._reports.condition_counts.clear()
        self.queue.resume()
        await self._enqueue_all()

    def conditions(self) -> Iterator[tuple[str, ConditionKey, int]]:
        """Yield how many objects of a kind have which condition; only whoever leads knows."""
        return self._reports.condition_counts.numbers()

    async def requeue_all(self, *, judge_pods: bool) -> None:
        """Look at everything after the keys have changed.

        Args:
            judge_pods: Whether the keys of bundles' names are among them, so that foreign pods may turn out to be ours.

        Raises:
            ClusterError: The pods could not be listed.
        """
        if judge_pods:
            self.pods.invalidate()
            await list_pods(self._cluster, self.pods, self._clock)
        await self._enqueue_all()

    async def step_down(self, seconds: float) -> None:
        """Begin nothing more, and let what has begun finish for so many seconds."""
        if not await self.queue.drain(seconds):
            logger.warning("work was cut off at the end of leadership")

    def on_pod(self, event_type: str | None, body: dict[str, Any]) -> None:
        """Take one event of a pod."""
        record = self.pods.apply(event_type, body, self._clock())
        if record is None or self.queue.is_paused:
            return
        is_gone = self.pods.get(record.uid) is None
        urgency = self._bundles.pending(record, is_gone=is_gone)
        if urgency is not None:
            self.queue.add(PodKey(record.uid), urgency)
        elif is_gone:
            self._bundles.forget(record.uid)

    async def _work(self, key: Key) -> Outcome:
        match key:
            case PodKey(uid):
                return await self._bundles.work(uid)
            case Subject():
                return await self._reports.work(key)
            case ResealKey(location):
                return await self._reseals.work(location)

    def _describe(self, key: Key) -> Mapping[str, object]:
        """Return what log lines say about a key: the kind of an object and where it is."""
        match key:
            case PodKey(uid):
                record = self.pods.get(uid) or self.pods.get_departed(uid)
                return {"kind": _kind_of(key), "object": uid if record is None else record.location}
            case Subject(_, location) | ResealKey(location):
                return {"kind": _kind_of(key), "object": location}

    def _count(self, key: Key, attempt: Attempt) -> None:
        self._metrics.count_reconcile(_kind_of(key), attempt.result, attempt.seconds)
        if attempt.error is not None:
            # Of our own classes there are few; of foreign ones nobody knows how many.
            is_ours = isinstance(attempt.error, ScopedSecretsError)
            self._metrics.count_error(_kind_of(key), type(attempt.error).__name__ if is_ours else "other")

    def _enqueue_definition(self, location: str) -> None:
        self.queue.add(Subject(Kind.SCOPED_SECRET, location), Priority.REPORT)

    def _on_changes(self, changes: Changes) -> None:
        if self.queue.is_paused:
            # Whoever begins to lead looks at everything; a standby need not collect keys until then.
            return
        for location in changes.definitions:
            self.queue.add(Subject(Kind.SCOPED_SECRET, location), Priority.REPORT)
            if self.informer.reseal_request(location) is not None:
                self.queue.add(ResealKey(location), Priority.REPORT)
        for location in changes.policies:
            self.queue.add(Subject(Kind.SECRET_POLICY, location), Priority.REPORT)
        for namespace in changes.namespaces:
            for policy in self.informer.inventory.namespace_policies(namespace):
                self.queue.add(Subject(Kind.SECRET_POLICY, policy.location), Priority.REPORT)

    async def _enqueue_all(self) -> None:
        """Add every key that needs work to the queue, jobs that wait first."""
        if self.queue.is_paused or not self.is_complete:
            return
        sweeps = 0
        for record, is_gone in [*self._all_pods()]:
            urgency = self._bundles.pending(record, is_gone=is_gone)
            if urgency is Priority.REMOVE:
                self.queue.add(PodKey(record.uid), Priority.SWEEP, sweeps / _SWEEPS_PER_SECOND)
                sweeps += 1
            elif urgency is not None:
                self.queue.add(PodKey(record.uid), urgency)
        for location in self.informer.reseal_requests():
            self.queue.add(ResealKey(location), Priority.REPORT)
        for number, subject in enumerate([*self._all_subjects()], 1):
            delay = self._reports.pending(subject)
            if delay is not None:
                self.queue.add(subject, Priority.REPORT, delay)
            if number % _LOOKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _all_pods(self) -> Iterator[tuple[PodRecord, bool]]:
        yield from ((record, False) for record in self.pods.present())
        yield from ((record, True) for record in self.pods.departed())

    def _all_subjects(self) -> Iterator[Subject]:
        definitions = {*self.informer.inventory.locations(), *self.informer.invalid_locations()}
        yield from (Subject(Kind.SCOPED_SECRET, location) for location in definitions)
        yield from (Subject(Kind.SECRET_POLICY, location) for location in self.informer.inventory.policy_locations())


def _kind_of(key: Key) -> str:
    """Return the word for a kind of key in logs and metrics."""
    match key:
        case PodKey():
            return "Pod"
        case Subject(kind):
            return kind.value
        case ResealKey():
            return "Reseal"
