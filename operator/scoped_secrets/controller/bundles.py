"""Reconciles the bundles of pods: for each pod gather its state, decide, act (DESIGN sections 7 to 9)."""

import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final, assert_never

from scoped_secrets import names
from scoped_secrets.controller.bundle_events import BundleEvents
from scoped_secrets.controller.bundle_progress import ProgressTracker
from scoped_secrets.controller.bundle_secrets import BundleSecrets
from scoped_secrets.controller.pod_decision import (
    Action,
    Confirm,
    Deny,
    NoAction,
    PodState,
    Remove,
    Render,
    Ungate,
    Wait,
    choose_snapshot,
    decide_pod,
)
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.unsealing import UnsealError
from scoped_secrets.controller.value_from import SourceError
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, RequeueAfter, Result
from scoped_secrets.controller.workqueue.schedule import LONGEST_DELAY, Priority
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.injection.scheduling_gate import remove_gate
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.references import parse_references
from scoped_secrets.errors import ClusterError, DeniedError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.resources import Kind
from scoped_secrets.logs import context as log_context
from scoped_secrets.names import Reason

__all__ = ["BundleReconciler"]

logger = logging.getLogger(__name__)

_CLEANUPS_PER_SECOND: Final = 20.0
"""How many bundles of pods that have ended a resync checks per second: an earlier process may have left thousands."""

_SHORTEST_WAIT: Final = 0.05
"""The shortest delay in seconds of a pod that waits for the informer."""

_DENIED_SECONDS: Final = 30.0
"""After how many seconds a denied pod is reconciled again: a policy or a definition may have changed."""

_MISSING_SOURCE_SECONDS: Final = 10.0
"""The longest delay in seconds until the controller reads a missing Secret that `valueFrom` names again."""

_ADVICE_SECONDS: Final = 1.0
"""How long after its bundle a pod's author is told what the pod leaves open."""

_REJECTED_SECONDS: Final = 3.0
"""The longest delay in seconds until one pod of a namespace tries again whose Secret the API server refused."""

_REJECTED: Final = (
    "the API server refused the job's Secret; check the namespace's resource quota and the roles of the controller"
)
_REPLACED: Final = (
    "a Secret that the controller did not create had the name of the job's bundle, and the controller replaced it; "
    "delete the pod if a container has started meanwhile, and find out who may create Secrets in the namespace"
)
_NEWER: Final = "definitions changed after the pod was admitted; the job gets the present ones"
_CHANGED_MEANWHILE: Final = (
    "definitions changed while the job's Secrets were being created, and a job must not get a mix of both; delete the "
    "pod and create it again"
)
_MIXED_READS: Final = (
    "values from native Secrets were read twice while the job's Secrets were being created, and a job must not get a "
    "mix of both; delete the pod and create it again"
)


class BundleReconciler(Reconciler):
    """Creates and deletes the bundle Secrets of pods; a key is a pod's UID."""

    kind = "Pod"

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        super().__init__(context)
        self._pods = context.pods
        self._progress = ProgressTracker()
        self._events = BundleEvents(context, self._progress)
        self._secrets = BundleSecrets(context)
        self._rejected: dict[str, dict[str, None]] = {}

    # Which pods need work

    def pending(self) -> Iterator[Pending | None]:
        """Yield for every pod what it needs; the bundles of pods that have ended are spread over time."""
        cleanups = 0
        for uid in [record.uid for record in (*self._pods.present(), *self._pods.deleted())]:
            record = self._record(uid)
            priority = None if record is None else self._priority(record)
            if priority is Priority.CLEANUP:
                yield Pending(uid, Priority.RESYNC, cleanups / _CLEANUPS_PER_SECOND)
                cleanups += 1
            else:
                yield None if priority is None else Pending(uid, priority)

    def on_pod(self, record: PodRecord) -> tuple[Pending, ...]:
        """Return the pod, if it needs work."""
        priority = self._priority(record)
        if priority is not None:
            return (Pending(record.uid, priority),)
        if self._is_deleted(record):
            self._forget(record.uid)
        return ()

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the pods that wait in namespaces whose scope path changed: what they were denied may be granted now."""
        if changes.namespaces:
            waiting = [record for record in self._pods.present() if record.needs_bundle]
            yield from (Pending(each.uid, Priority.JOB) for each in waiting if each.namespace in changes.namespaces)

    def on_relist(self) -> None:
        """Forget pods that no longer exist, and check again that the bundles of waiting pods exist.

        A user may have deleted a bundle. The check costs one refused create for each waiting pod, and writes nothing
        if the bundle exists.
        """
        self._pods.forget_old(self._context.clock())
        self._progress.keep_only({record.uid for record in self._pods.deleted()} | self._pods.known())
        for record in self._pods.present():
            if record.needs_bundle and self._progress.peek(record.uid).is_rendered:
                self._progress.track(record.uid).is_rendered = False

    def describe(self, key: str) -> str:
        """Return the pod's ``namespace/name``, its UID when the pod is not known any more."""
        record = self._record(key)
        return key if record is None else record.location

    # The work on one pod

    async def reconcile(self, key: str) -> Outcome:
        """Create or delete the bundle of one pod, as its state requires."""
        record = self._record(key)
        if record is None:
            self._progress.forget(key)
            return Done()
        await self._secrets.adopt(record, self._progress.peek(key))
        is_deleted, state = self._is_deleted(record), self._state(record)
        outcome = await self._act(record, decide_pod(state, lambda pod: self._choose(state, pod)))
        if isinstance(outcome, Done) and isinstance(decide_pod(self._state(record), lambda _: Wait()), Ungate):
            await self._ungate(record)
        if is_deleted and isinstance(outcome, Done):
            self._forget(key)
        return outcome

    async def _act(self, record: PodRecord, action: Action) -> Outcome:
        match action:
            case NoAction() | Ungate():
                await self._report_warnings(record)
                return Done()
            case Wait(seconds):
                return Requeue(within=max(seconds, _SHORTEST_WAIT), result=Result.WAITING)
            case Deny():
                return await self._deny(record, action)
            case Render():
                return await self._render(record, action)
            case Confirm():
                return await self._confirm(record)
            case Remove(parts):
                has_deleted = await self._secrets.delete(record, parts, self._progress.track(record.uid))
                return Done(result=Result.DELETED if has_deleted else Result.UNCHANGED)
            case _:
                assert_never(action)

    async def _ungate(self, record: PodRecord) -> None:
        """Let the scheduler have the pod, whose bundle exists.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        try:
            path = paths.pods(record.namespace, record.name)
            await self._context.cluster.patch(path, remove_gate(record.gates), metadata_only=True)
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                # Another program may have removed a gate of its own meanwhile: the watch shows the present ones.
                raise
        self._progress.track(record.uid).is_ungated = True

    async def _confirm(self, record: PodRecord) -> Outcome:
        """Find out whether a pod exists that the watch has reported as deleted.

        The opt-in label decides what the watch shows. After admission it decides nothing else: a pod that loses it
        keeps its bundle.
        """
        body = await self._context.cluster.get(paths.pods(record.namespace, record.name))
        if body is None or body["metadata"]["uid"] != record.uid:
            self._progress.track(record.uid).is_gone = True
        else:
            self._pods.restore(body, self._context.clock())
        return Requeue(result=Result.WAITING)

    async def _report_warnings(self, record: PodRecord) -> None:
        for warning in self._progress.peek(record.uid).warnings:
            await self._events.advise(record, warning)

    async def _deny(self, record: PodRecord, deny: Deny) -> Outcome:
        if deny.may_change and deny.reason is not Reason.BUNDLE_TAKEN and await self._is_rendered(record):
            return Done()
        await self._events.warn(record, deny.reason, deny.message, deny.denied)
        return _denied(deny.reason) if deny.may_change else Done(result=Result.REFUSED, reason=deny.reason)

    async def _render(self, record: PodRecord, render: Render) -> Outcome:
        progress = self._progress.track(record.uid)
        if render.is_newer and await self._is_rendered(record):
            return Done()
        if not await self._secrets.can_continue(record, render, progress):
            await self._events.warn(record, Reason.DEFINITIONS_CHANGED, _CHANGED_MEANWHILE)
            return _denied(Reason.DEFINITIONS_CHANGED)
        progress.has_begun = True
        created_before = len(progress.created)
        try:
            is_one_read = await self._secrets.create(record, render, progress)
        except (UnsealError, SourceError, ClusterError) as error:
            return await self._handle_failure(record, error)
        if progress.replaced:
            await self._events.warn(record, Reason.BUNDLE_REPLACED, _REPLACED)
        has_created = len(progress.created) > created_before
        if not is_one_read:
            return await self._end_mixed_reads(record, has_created=has_created)
        progress.is_rendered = True
        if render.is_newer:
            await self._events.inform(record, Reason.DEFINITIONS_CHANGED, _NEWER)
        if has_created:
            self._context.metrics.time_bundle(self._context.clock() - record.first_seen)
            self._retry_rejected(record.namespace)
            progress.warnings = render.granted.injection.warnings
            if progress.warnings:
                # In a turn of its own and later, so that no other job of a burst waits for it.
                self._context.enqueue(self.kind, Pending(record.uid, delay=_ADVICE_SECONDS))
        return Done(result=Result.CREATED if has_created else Result.UNCHANGED)

    async def _handle_failure(self, record: PodRecord, error: UnsealError | SourceError | ClusterError) -> Outcome:
        """Report why a bundle was not created.

        Raises:
            UnavailableError: The API server did not answer; there is nothing to report.
        """
        match error:
            case UnsealError():
                await self._events.warn_not_unsealed(record, error)
                return _denied(error.reason)
            case SourceError():
                return await self._wait_for_source(record, error)
            case UnavailableError():
                raise error
            case ClusterError():
                extra = log_context(kind=self.kind, object=record.location, error=str(error))
                logger.warning("the API server refused a bundle Secret", extra=extra)
                await self._events.warn(record, Reason.BUNDLE_FAILED, _REJECTED)
                return self._wait_rejected(record)

    def _wait_rejected(self, record: PodRecord) -> Outcome:
        """Requeue a pod whose Secret the API server refuses, for example because a quota is used up.

        Of all such pods of a namespace one tries often. When it succeeds, the others try at once.
        """
        rejected = self._rejected.setdefault(record.namespace, {})
        rejected[record.uid] = None
        within = _REJECTED_SECONDS if next(iter(rejected)) == record.uid else LONGEST_DELAY
        return Requeue(within=within, result=Result.REFUSED, reason=Reason.BUNDLE_FAILED)

    def _retry_rejected(self, namespace: str) -> None:
        for uid in self._rejected.pop(namespace, ()):
            self._context.enqueue(self.kind, Pending(uid, Priority.JOB))

    async def _wait_for_source(self, record: PodRecord, error: SourceError) -> Outcome:
        if await self._is_rendered(record):
            return Done()
        await self._events.warn(record, Reason.SOURCE_MISSING, f"definition '{error.location}': {error.message}")
        # With an up-to-date status, admission denies the next pod at once instead of letting it wait.
        self._context.enqueue(Kind.SCOPED_SECRET.value, Pending(error.location))
        return Requeue(within=_MISSING_SOURCE_SECONDS, result=Result.WAITING, reason=Reason.SOURCE_MISSING)

    async def _end_mixed_reads(self, record: PodRecord, *, has_created: bool) -> Outcome:
        """Stop at a Secret that was made from another read of native Secrets, or from an unknown one.

        Sealed values are those of a generation, whenever they are unsealed. Values from native Secrets are those of the
        moment, and the name and the password of one account must be from one moment. If the whole bundle existed
        before, it was made from one read.
        """
        if not has_created and await self._is_rendered(record):
            return Done()
        await self._events.warn(record, Reason.BUNDLE_FAILED, _MIXED_READS)
        return _denied(Reason.BUNDLE_FAILED)

    async def _is_rendered(self, record: PodRecord) -> bool:
        """Find out whether an earlier process has rendered the bundle, from a snapshot that this process does not have.

        The bundle may be of a generation that was superseded before this process started.
        """
        is_complete = await self._secrets.is_complete(record, self._progress.track(record.uid))
        if is_complete:
            self._progress.track(record.uid).is_rendered = True
        return is_complete

    # The state of a pod

    def _record(self, uid: str) -> PodRecord | None:
        return self._pods.get(uid) or self._pods.get_deleted(uid)

    def _is_deleted(self, record: PodRecord) -> bool:
        return self._pods.get(record.uid) is None

    def _forget(self, uid: str) -> None:
        self._pods.forget(uid)
        self._progress.forget(uid)
        for rejected in self._rejected.values():
            rejected.pop(uid, None)

    def _priority(self, record: PodRecord) -> Priority | None:
        """Return how urgent the work on a pod is, ``None`` when it needs none."""
        match decide_pod(self._state(record), lambda _: Wait()):
            case NoAction():
                return None
            case Wait() | Render() | Ungate():
                return Priority.JOB
            case Confirm() | Remove():
                return Priority.CLEANUP
            case Deny(reason, message, may_change):
                is_final = not may_change and self._events.is_reported(record, reason, message)
                return None if is_final else Priority.DEFAULT
            case action:
                assert_never(action)

    def _state(self, record: PodRecord) -> PodState:
        progress = self._progress.peek(record.uid)
        return PodState(
            record=record,
            is_deleted=self._is_deleted(record),
            owner=self._pods.owner(record, self._progress.has_begun) if record.base else None,
            is_rendered=progress.is_rendered,
            has_created=bool(progress.created),
            is_removed=progress.is_removed,
            is_gone=progress.is_gone,
            is_ungated=progress.is_ungated,
            known_seconds=self._context.clock() - record.first_seen,
        )

    def _choose(self, state: PodState, pod: Pod) -> Wait | Deny | Render:
        informer = self._context.informer
        if not informer.is_complete or not informer.cluster_id:
            return Wait()
        past = self._past_snapshots(pod)
        return choose_snapshot(state, pod, informer.inventory, past, self._context.settings, self._context.now())

    def _past_snapshots(self, pod: Pod) -> Iterator[ClusterSnapshot]:
        """Yield past snapshots in which the pod may have been admitted; none when its references are invalid."""
        inventory = self._context.informer.inventory
        binding = inventory.binding(pod.namespace)
        if binding is None:
            return
        try:
            texts = binding.secrets, pod.annotations.get(names.SECRETS_ANNOTATION, "")
            referenced = {reference.name for text in texts for reference in parse_references(text, field="")}
        except DeniedError:
            return
        yield from inventory.snapshots(binding.organization, names=referenced, after=self._context.complete_since())


def _denied(reason: Reason) -> RequeueAfter:
    """Return the outcome for a pod that gets no bundle until a policy or a definition changes."""
    return RequeueAfter(_DENIED_SECONDS, result=Result.REFUSED, reason=reason)
