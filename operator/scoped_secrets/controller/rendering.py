"""One pod after the other: gather what is known, have it decided, do it (DESIGN sections 7 to 9)."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from scoped_secrets import names
from scoped_secrets.controller.pod_decision import (
    Action,
    Deny,
    NoAction,
    PodSituation,
    Remove,
    Render,
    Wait,
    choose_snapshot,
    decide_pod,
)
from scoped_secrets.controller.pods import PodRecord, Pods
from scoped_secrets.controller.unsealing import Unsealer, UnsealError, secret_bodies
from scoped_secrets.controller.value_from import SourceError, read_sources
from scoped_secrets.controller.workqueue.queue import After, Done, Outcome, Result, Retry
from scoped_secrets.controller.workqueue.schedule import Priority
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.references import parse_references
from scoped_secrets.errors import ClusterError, ConflictError, DeniedError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.logs import context
from scoped_secrets.metrics import ControllerMetrics
from scoped_secrets.names import Reason

__all__ = ["BundleRenderer"]

logger = logging.getLogger(__name__)

_SHORTEST_WAIT: Final = 0.05
"""What is left of patience at its very end, in seconds."""

_REFUSED_SECONDS: Final = 30.0
"""When a refused pod is looked at again: somebody may have changed a policy or a definition."""

_SOURCE_SECONDS: Final = 10.0
"""How long a pod waits at most until a Secret is looked for again that `valueFrom` names."""

_REJECTED: Final = (
    "the API server refused the job's Secret; check the namespace's resource quota and the roles of the controller"
)
_NEWER: Final = "definitions changed after the pod was admitted; the job gets the present ones"
_BEGUN: Final = (
    "definitions changed while the job's Secrets were being created, and a job must not get a mix of both; delete the "
    "pod and create it again"
)
_MIXED: Final = (
    "values from native Secrets were read twice while the job's Secrets were being created, and a job must not get a "
    "mix of both; delete the pod and create it again"
)


@dataclass(slots=True)
class _Progress:
    """What this process has done about one pod."""

    created: dict[str, str] = field(default_factory=dict)
    """The UIDs of the Secrets that we created, by name: deleting them is safe."""
    pins: tuple[str, ...] | None = None
    """The generations that what exists of the bundle was made of, once we know."""
    readings: dict[str, frozenset[str]] = field(default_factory=dict)
    """For each Secret that we created, or may have, the states of the native Secrets whose values it holds."""
    has_claim: bool = False
    """Whether creation has begun: from then on the base is this pod's, whoever else turns up with it."""
    is_rendered: bool = False
    is_removed: bool = False
    told: set[tuple[str, str]] = field(default_factory=set)
    """The events that people were given."""


class BundleRenderer:
    """Renders and removes the bundle Secrets of pods; the queue calls it for one pod at a time."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        informer: Informer,
        pods: Pods,
        unsealer: Callable[[], Unsealer],
        recorder: EventRecorder,
        rules: DecisionSettings,
        complete_since: Callable[[], float],
        on_missing: Callable[[str], None],
        metrics: ControllerMetrics,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what is needed.

        Args:
            cluster: Where Secrets are created and deleted.
            informer: The definitions and policies.
            pods: The pods.
            unsealer: Returns what opens values.
            recorder: Tells people.
            rules: The operator's configuration.
            complete_since: Returns when the feed was complete first, by the same clock.
            on_missing: Hears of definitions whose sources were found missing, as ``namespace/name``.
            metrics: Counts bundle Secrets and refusals.
            clock: Seconds of a monotonic clock.
            now: The present time, with a time zone.
        """
        self._cluster = cluster
        self._on_missing = on_missing
        self._metrics = metrics
        self._feed = informer
        self._pods = pods
        self._opener = unsealer
        self._recorder = recorder
        self._rules = rules
        self._complete_since = complete_since
        self._clock = clock
        self._now = now
        self._progress: dict[str, _Progress] = {}

    def pending(self, record: PodRecord, *, is_gone: bool = False) -> Priority | None:
        """Return how urgently a pod is to be looked at, ``None`` when there is nothing to do for it."""
        match decide_pod(self._situation(record, is_gone=is_gone), lambda _: Wait()):
            case NoAction():
                return None
            case Wait() | Render():
                return Priority.RENDER
            case Remove():
                return Priority.REMOVE
            case Deny(reason, message, may_change):
                told = (reason, message) in self._known(record.uid).told
                return None if told and not may_change else Priority.REPORT
            case action:
                assert_never(action)

    async def work(self, uid: str) -> Outcome:
        """Do what is to be done about one pod."""
        record, is_gone = self._pods.get(uid), False
        if record is None:
            record, is_gone = self._pods.get_departed(uid), True
        if record is None:
            self._progress.pop(uid, None)
            return Done()
        situation = self._situation(record, is_gone=is_gone)
        outcome = await self._act(record, decide_pod(situation, lambda pod: self._choose(situation, pod)))
        if is_gone and isinstance(outcome, Done):
            self.forget(uid)
        return outcome

    def forget(self, uid: str) -> None:
        """Forget a pod that has gone."""
        self._pods.forget(uid)
        self._progress.pop(uid, None)

    def prune(self) -> None:
        """Forget what was done about pods that nobody knows any more."""
        self._pods.forget_old(self._clock())
        known = {record.uid for record in self._pods.departed()} | self._pods.known()
        self._progress = {uid: progress for uid, progress in self._progress.items() if uid in known}

    def invalidate(self) -> None:
        """Believe no longer that the bundles of pods that still wait are there: somebody may have deleted one.

        Looking again costs one refused create for each such pod, and writes nothing where all is well.
        """
        for record in self._pods.present():
            progress = self._progress.get(record.uid)
            if progress is not None and record.needs_bundle:
                progress.is_rendered = False

    def _known(self, uid: str) -> _Progress:
        return self._progress.get(uid) or _Progress()

    def _situation(self, record: PodRecord, *, is_gone: bool) -> PodSituation:
        progress = self._known(record.uid)
        return PodSituation(
            record=record,
            is_gone=is_gone,
            owner=self._pods.owner(record, self._has_claim) if record.base else None,
            is_rendered=progress.is_rendered,
            has_created=bool(progress.created),
            is_removed=progress.is_removed,
            seen_for=self._clock() - record.seen,
        )

    def _has_claim(self, uid: str) -> bool:
        return self._known(uid).has_claim

    def _choose(self, situation: PodSituation, pod: Pod) -> Wait | Deny | Render:
        if not self._feed.is_complete or not self._feed.cluster_id:
            return Wait()
        return choose_snapshot(situation, pod, self._feed.inventory, self._past(pod), self._rules, self._now())

    def _past(self, pod: Pod) -> Iterator[ClusterSnapshot]:
        """Yield past states in which the pod may have been admitted; none when its own words are already wrong."""
        binding = self._feed.inventory.binding(pod.namespace)
        if binding is None:
            return
        try:
            texts = binding.secrets, pod.annotations.get(names.SECRETS_ANNOTATION, "")
            asked = {reference.name for text in texts for reference in parse_references(text, field="")}
        except DeniedError:
            return
        yield from self._feed.inventory.snapshots(binding.organization, names=asked, after=self._complete_since())

    async def _act(self, record: PodRecord, action: Action) -> Outcome:
        match action:
            case NoAction():
                return Done()
            case Wait(seconds):
                return Retry(within=max(seconds, _SHORTEST_WAIT), result=Result.WAITING)
            case Deny(reason, message, may_change):
                if may_change and reason is not Reason.BUNDLE_TAKEN and await self._is_there(record):
                    return Done()
                await self._warn(record, reason, message)
                return _refused(reason) if may_change else Done(result=Result.REFUSED, reason=reason)
            case Render():
                return await self._render(record, action)
            case Remove(parts):
                return await self._remove(record, parts)
            case _:
                assert_never(action)

    async def _render(self, record: PodRecord, render: Render) -> Outcome:
        progress = self._progress.setdefault(record.uid, _Progress())
        ended = await self._begin(record, render, progress)
        if ended is not None:
            return ended
        progress.has_claim = True
        had = len(progress.created)
        try:
            is_whole = await self._create_all(record, render, progress)
        except UnsealError as error:
            await self._report_unopened(record, error)
            return _refused(error.reason)
        except SourceError as error:
            return await self._report_missing(record, error)
        except UnavailableError:
            raise
        except ClusterError as error:
            logger.warning("a bundle was refused", extra=context(kind="Pod", object=record.location, error=str(error)))
            await self._warn(record, Reason.BUNDLE_FAILED, _REJECTED)
            return Retry(result=Result.REFUSED, reason=Reason.BUNDLE_FAILED)
        if not is_whole:
            return await self._end_mixing(record, has_created=len(progress.created) > had)
        progress.is_rendered = True
        if render.is_newer:
            await self._tell(record, Reason.DEFINITIONS_CHANGED, _NEWER)
        if len(progress.created) > had:
            self._metrics.time_bundle(self._clock() - record.seen)
        return Done(result=Result.CREATED if len(progress.created) > had else Result.UNCHANGED)

    async def _begin(self, record: PodRecord, render: Render, progress: _Progress) -> Outcome | None:
        """Return the outcome where nothing can be created, ``None`` when it can."""
        if render.is_newer and await self._is_there(record):
            return Done()
        if await self._may_go_on(record, render, progress):
            return None
        await self._warn(record, Reason.DEFINITIONS_CHANGED, _BEGUN)
        return _refused(Reason.DEFINITIONS_CHANGED)

    async def _create_all(self, record: PodRecord, render: Render, progress: _Progress) -> bool:
        """Create the Secrets, and tell whether all that are there now hold values of one reading of native Secrets."""
        entries = [each.resolved for part in render.granted.injection.layout.parts for each in part.entries]
        reading = await read_sources(self._cluster, entries)
        for body in secret_bodies(record, render.granted, self._opener(), reading.values):
            if not await self._create(record.namespace, body, progress, reading.versions):
                return False
            # The next body is made before the loop's variable lets go of this one.
            del body
        return True

    async def _may_go_on(self, record: PodRecord, render: Render, progress: _Progress) -> bool:
        """Find out whether what exists of the bundle is of the state that is to be rendered.

        Whoever was cut off between two Secrets has left the last ones. They are right as long as the same generations
        are rendered. Otherwise they are not, and cannot be replaced either: the kubelet may have read them, and what is
        immutable it does not read again.
        """
        pins = render.granted.grant.pins
        is_known = not render.is_newer if progress.pins is None else progress.pins == pins
        if not is_known:
            for part in record.parts[1:]:
                if await self._exists(record.namespace, part):
                    return False
        progress.pins = pins
        return True

    async def _is_there(self, record: PodRecord) -> bool:
        """Find out whether a process before this one has rendered the bundle, from a state that we do not know.

        It may have been rendered from a generation that was superseded before we began. The first part is always
        created last.
        """
        is_there = await self._exists(record.namespace, record.parts[0])
        if is_there:
            self._progress.setdefault(record.uid, _Progress()).is_rendered = True
        return is_there

    async def _exists(self, namespace: str, name: str) -> bool:
        """Tell whether a Secret exists: we may not read any, so we ask whether an empty one could be created."""
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        try:
            await self._cluster.create(paths.secrets(namespace), body, dry_run=True, metadata_only=True)
        except ConflictError:
            return True
        except UnavailableError:
            raise
        except ClusterError:
            # Then nothing could be created, and whoever tries will say so.
            return False
        return False

    async def _create(
        self, namespace: str, body: dict[str, Any], progress: _Progress, versions: frozenset[str]
    ) -> bool:
        """Create a Secret, and tell whether what is there now holds values of this reading of native Secrets."""
        name = body["metadata"]["name"]
        try:
            created = await self._cluster.create(paths.secrets(namespace), body, metadata_only=True)
        except ConflictError:
            # It is there already: from before a restart, or its creation was answered and the answer was lost.
            return not versions or progress.readings.get(name) == versions
        except UnavailableError:
            progress.readings.setdefault(name, versions)
            raise
        self._metrics.count_created()
        progress.created[name] = created["metadata"]["uid"]
        progress.readings[name] = versions
        return True

    async def _end_mixing(self, record: PodRecord, *, has_created: bool) -> Outcome:
        """Stop at a Secret that was made from another reading of native Secrets, or from one that we do not know.

        Sealed values are those of a generation, whenever they are opened. Values from native Secrets are those of the
        moment, and the name and the password of one account must be from one moment. All is well when the whole bundle
        was there before: then it was made from one reading.
        """
        if not has_created and await self._is_there(record):
            return Done()
        await self._warn(record, Reason.BUNDLE_FAILED, _MIXED)
        return _refused(Reason.BUNDLE_FAILED)

    async def _remove(self, record: PodRecord, parts: tuple[str, ...]) -> Outcome:
        progress = self._progress.setdefault(record.uid, _Progress())
        result = Result.UNCHANGED
        for part in parts:
            try:
                path = paths.secrets(record.namespace, part)
                was_there = await self._cluster.delete(path, uid=progress.created.get(part))
            except ConflictError:
                # Another object has that name now, and it is not ours.
                continue
            if was_there:
                self._metrics.count_deleted()
                result = Result.DELETED
        progress.is_removed = True
        progress.created.clear()
        return Done(result=result)

    async def _report_missing(self, record: PodRecord, error: SourceError) -> Outcome:
        if await self._is_there(record):
            return Done()
        await self._warn(record, Reason.SOURCE_MISSING, f"definition '{error.location}': {error.message}")
        # So that the next pod is refused at once, and not left waiting.
        self._on_missing(error.location)
        return Retry(within=_SOURCE_SECONDS, result=Result.WAITING, reason=Reason.SOURCE_MISSING)

    async def _report_unopened(self, record: PodRecord, error: UnsealError) -> None:
        definition = error.resolved.definition
        sentence = f"{error.resolved.entry.key} cannot be opened; store the value again"
        where = f"bundle '{definition.secret_name}', definition '{definition.location}'"
        await self._warn(record, error.reason, f"{where}: {sentence}")
        about = _reference(names.SCOPED_SECRET_KIND, names.API_VERSION, definition.namespace, definition.name)
        await self._recorder.warn(about | {"uid": definition.uid}, error.reason, sentence)

    async def _warn(self, record: PodRecord, reason: Reason, message: str) -> None:
        if self._is_new(record, reason, message):
            self._metrics.count_refusal(reason)
            await self._recorder.warn(_pod_reference(record), reason, message)

    async def _tell(self, record: PodRecord, reason: Reason, message: str) -> None:
        if self._is_new(record, reason, message):
            await self._recorder.normal(_pod_reference(record), reason, message)

    def _is_new(self, record: PodRecord, reason: Reason, message: str) -> bool:
        told = self._progress.setdefault(record.uid, _Progress()).told
        is_new = (reason, message) not in told
        told.add((reason, message))
        return is_new


def _refused(reason: Reason) -> After:
    """Return the outcome for a pod that gets no bundle unless somebody changes something."""
    return After(_REFUSED_SECONDS, result=Result.REFUSED, reason=reason)


def _pod_reference(record: PodRecord) -> dict[str, str]:
    return _reference("Pod", "v1", record.namespace, record.name) | {"uid": record.uid}


def _reference(kind: str, api_version: str, namespace: str, name: str) -> dict[str, str]:
    return {"kind": kind, "apiVersion": api_version, "namespace": namespace, "name": name}
