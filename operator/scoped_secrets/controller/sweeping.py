"""Deletes pods that opted in and were not injected, so that their owners create them again (DESIGN section 9).

It runs only with `--sweep Delete`; without it, such a pod has its event `NotInjected` and stays. A deletion does no
harm: the pod has an owner that creates it again, the new pod would be admitted now, and an owner whose new pod is not
injected either loses no other pod.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.controller.bundle_events import pod_reference
from scoped_secrets.controller.pods import InjectionState, PodRecord
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, Result
from scoped_secrets.core.decide import Granted, decide
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.errors import ConflictError, DeniedError
from scoped_secrets.kube import paths
from scoped_secrets.logs import context as log_context
from scoped_secrets.names import Reason

__all__ = ["SweepReconciler", "recreating_owner"]

logger = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 5.0
"""The time between two deletions in the cluster."""

_OWNER_PAUSE_SECONDS: Final = 30.0
"""The time between two deletions of pods of one owner, in which the new pod can start."""

_OWNER_MEMORY: Final = timedelta(days=1)
"""How long an owner is remembered whose pods were deleted."""

_OWNERS: Final = frozenset(
    {
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        ("v1", "ReplicationController"),
    }
)
"""The kinds whose controllers create a deleted pod again."""

# The name of a bundle that does not exist: the decision needs one, and nothing refers to it.
_NO_BASE: Final = names.BUNDLE_PREFIX + "a" * 32

_SWEPT: Final = (
    "the pod was not injected, so the controller deletes it, and its owner creates it again with its secrets"
)


class SweepReconciler(Reconciler):
    """Deletes pods that were not injected, one after the other; a key is a pod's UID."""

    kind = "Sweep"

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        super().__init__(context)
        self._next = 0.0
        self._next_of_owner: dict[str, float] = {}
        self._swept: dict[str, datetime] = {}
        """When a pod of an owner was first deleted."""
        self._kept: set[str] = set()
        """The pods that no later state of the cluster makes deletable."""
        self._denied: set[str] = set()
        """The pods that would be denied now, until the next resync."""

    def pending(self) -> Iterator[Pending | None]:
        """Yield the pods that may have to be deleted."""
        for record in list(self._context.pods.present()):
            yield Pending(record.uid) if self._is_candidate(record) else None

    def on_pod(self, record: PodRecord) -> tuple[Pending, ...]:
        """Return the pod, if it may have to be deleted."""
        return (Pending(record.uid),) if self._is_candidate(record) else ()

    def on_relist(self) -> None:
        """Forget pods that no longer exist, and have those judged again that would have been denied."""
        self._denied.clear()
        self._kept &= self._context.pods.known()
        oldest, now = self._context.now() - _OWNER_MEMORY, self._context.clock()
        self._swept = {owner: since for owner, since in self._swept.items() if since > oldest}
        self._next_of_owner = {owner: until for owner, until in self._next_of_owner.items() if until > now}

    def describe(self, key: str) -> str:
        """Return the pod's ``namespace/name``, its UID when the pod is not known any more."""
        record = self._context.pods.get(key)
        return key if record is None else record.location

    async def reconcile(self, key: str) -> Outcome:
        """Delete one pod, if that gives its owner a pod with secrets."""
        record = self._context.pods.get(key)
        if record is None or not self._is_candidate(record):
            return Done()
        now = self._context.clock()
        if not self._context.informer.is_complete or now < self._next:
            return Requeue(result=Result.WAITING)
        # Taken before the first await: other pods are reconciled meanwhile.
        self._next = now + _PAUSE_SECONDS
        outcome = await self._sweep(record)
        if outcome.result is not Result.DELETED:
            self._next = now
        return outcome

    async def _sweep(self, record: PodRecord) -> Outcome:
        body = await self._context.cluster.get(paths.pods(record.namespace, record.name))
        if body is None or body["metadata"]["uid"] != record.uid:
            return Done()
        owner = recreating_owner(body)
        if owner is None or self._is_recreated(record, owner):
            self._kept.add(record.uid)
            return Done(result=Result.REFUSED, reason=Reason.NOT_INJECTED)
        if not self._would_be_admitted(body):
            self._denied.add(record.uid)
            return Done(result=Result.REFUSED, reason=Reason.NOT_INJECTED)
        if self._context.clock() < self._next_of_owner.get(owner, 0.0):
            return Requeue(result=Result.WAITING)
        await self._context.recorder.normal(pod_reference(record), Reason.SWEPT, _SWEPT)
        self._next_of_owner[owner] = self._context.clock() + _OWNER_PAUSE_SECONDS
        self._swept.setdefault(owner, self._context.now())
        try:
            await self._context.cluster.delete(paths.pods(record.namespace, record.name), uid=record.uid)
        except ConflictError:
            return Done()
        return Done(result=Result.DELETED)

    def _is_candidate(self, record: PodRecord) -> bool:
        return (
            self._context.sweeps
            and record.injection is InjectionState.NONE
            and not (record.is_mislabeled or record.is_finished or record.is_deleting)
            and record.uid not in self._kept
            and record.uid not in self._denied
        )

    def _is_recreated(self, record: PodRecord, owner: str) -> bool:
        """Tell whether the pod stands in for one that was deleted, and was not injected either.

        The webhooks do not see it, for example because its namespace is excluded: to delete it again would never end.
        """
        since = self._swept.get(owner)
        # Creation times are whole seconds.
        if since is None or _time(record.created) < since.replace(microsecond=0):
            return False
        logger.warning(
            "a pod that was created again was not injected; the webhooks do not see it",
            extra=log_context(pod=record.location),
        )
        return True

    def _would_be_admitted(self, body: Mapping[str, Any]) -> bool:
        """Tell whether a new pod like this one would get its secrets; otherwise its owner could not create it."""
        try:
            pod = parse_pod(body)
        except DeniedError:
            return False
        context = self._context
        decision = decide(pod, context.informer.inventory, _NO_BASE, context.settings, context.now())
        return pod.wants_injection and isinstance(decision, Granted)


def recreating_owner(body: Mapping[str, Any]) -> str | None:
    """Return the UID of the owner that creates a pod again when it is deleted; ``None`` without one."""
    metadata = body["metadata"]
    if names.MIRROR_ANNOTATION in (metadata.get("annotations") or {}):
        return None
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and (reference.get("apiVersion"), reference.get("kind")) in _OWNERS:
            return str(reference.get("uid"))
    return None


def _time(text: str) -> datetime:
    """Return a creation time; a pod without one is as old as can be."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
