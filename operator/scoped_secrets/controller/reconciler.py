"""The base class of reconcilers: one kind of work and its keys, as in controller-runtime.

A reconciler says which keys need work (`pending`, `on_changes`, `on_pod`) and does the work for one key (`reconcile`).
The manager owns the inventories and the work queue, and calls it. To add a kind of work, for example publishing a
native Secret to many namespaces or counting where a definition is used: write a subclass of `Reconciler` in a module of
its own, and add it to `reconcilers.RECONCILERS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from scoped_secrets.audit import AuditLog
from scoped_secrets.controller.condition_counts import ConditionCounts
from scoped_secrets.controller.pods import PodRecord, Pods
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.value_age import ResealedTexts
from scoped_secrets.controller.workqueue.queue import Outcome
from scoped_secrets.controller.workqueue.schedule import Priority
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.keys import Keys
from scoped_secrets.metrics import ControllerMetrics

__all__ = ["Enqueue", "Pending", "Reconciler", "ReconcilerContext"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A key that needs work.

    Attributes:
        key: The key: ``namespace/name`` of an object, or the UID of a pod.
        priority: What comes first when several keys are due.
        delay: After how many seconds the key is due.
    """

    key: str
    priority: Priority = Priority.DEFAULT
    delay: float = 0.0


class Enqueue(Protocol):
    """Adds a key of another reconciler to the work queue."""

    def __call__(self, kind: str, pending: Pending) -> None:
        """Add a key of the reconciler of this kind."""


@dataclass(frozen=True, slots=True)
class ReconcilerContext:
    """What reconcilers share.

    Attributes:
        cluster: The API server.
        informer: The definitions and policies, with their stored statuses.
        pods: The pods that opted in.
        keys: Returns the present keys.
        recorder: Records events.
        settings: The operator's configuration.
        metrics: The controller's metrics.
        audit: The audit log.
        condition_counts: How many objects have which condition, by kind and location.
        resealed_texts: Which sealed texts hold the value of another one.
        sweeps: Whether pods that were not injected are deleted.
        records_fingerprints: Whether fingerprints of values that were sealed without one are kept in statuses.
        complete_since: Returns the time of the first complete list, by `clock`; infinite before it.
        leads_since: Returns since when this process leads, by `clock`; infinite before it.
        enqueue: Adds a key of another reconciler.
        clock: Returns the seconds of a monotonic clock.
        now: Returns the present time, with a time zone.
    """

    cluster: Cluster
    informer: Informer
    pods: Pods
    keys: Callable[[], Keys]
    recorder: EventRecorder
    settings: DecisionSettings
    metrics: ControllerMetrics
    audit: AuditLog
    condition_counts: ConditionCounts[tuple[str, str]]
    resealed_texts: ResealedTexts
    sweeps: bool
    records_fingerprints: bool
    complete_since: Callable[[], float]
    leads_since: Callable[[], float]
    enqueue: Enqueue
    clock: Callable[[], float]
    now: Callable[[], datetime]

    def unsealer(self) -> Unsealer:
        """Return an unsealer with the present keys."""
        keys = self.keys()
        return Unsealer(keys.ring, keys.cluster_id)


class Reconciler(ABC):
    """One kind of work; the work queue calls it for one key at a time.

    Attributes:
        kind: Names the kind of work in logs and metrics; unique among reconcilers.
    """

    kind: ClassVar[str]

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        self._context = context

    @abstractmethod
    async def reconcile(self, key: str) -> Outcome:
        """Do what the present state of the cluster requires for one key; a second call changes nothing.

        Raises:
            ClusterError: The API server refused or did not answer; the key is requeued with back-off.
        """

    @abstractmethod
    def pending(self) -> Iterator[Pending | None]:
        """Yield for every object what it needs, ``None`` for one that needs nothing: a full resync.

        The manager lets other tasks run between two objects, so the inventories may change meanwhile.
        """

    def describe(self, key: str) -> str:
        """Return how log lines name the object of a key; a key of the form ``namespace/name`` names it already."""
        return key

    def on_changes(self, changes: Changes) -> Iterable[Pending]:  # noqa: ARG002 - subclasses use it
        """Return the keys that need work because definitions, policies or namespaces changed; only while leading."""
        return ()

    def on_pod(self, record: PodRecord) -> Iterable[Pending]:  # noqa: ARG002 - subclasses use it
        """Return the keys that need work because a pod changed or was deleted; only while leading."""
        return ()

    def on_relist(self) -> None:
        """Discard state that a complete list has made obsolete; called before the resync that follows the list."""
        return
