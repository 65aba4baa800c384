"""Keeps the statuses of definitions and policies: compares, and writes only what differs (DESIGN section 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.controller.condition_counts import ConditionCounts
from scoped_secrets.controller.conditions import (
    changed_status,
    definition_status,
    invalid_status,
    newly_true,
    policy_status,
)
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.value_age import ResealHistory
from scoped_secrets.controller.value_from import SourceReport, look_at_sources
from scoped_secrets.controller.workqueue.queue import After, Done, Outcome, Result, Retry
from scoped_secrets.core.resolution.definitions import Definition, Entry, SecretKeySource
from scoped_secrets.core.status import Condition, DefinitionStatus
from scoped_secrets.errors import ClusterError, ConflictError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer, Kind
from scoped_secrets.names import Reason

__all__ = ["StatusWriter", "Subject"]

_NOT_FOUND: Final = 404

_SOURCE_SECONDS: Final = 10.0
"""After how many seconds at most a missing source is looked for again."""

_OPTIONAL_SECONDS: Final = 30.0
"""After how many seconds optional sources are looked for again, whether they are there or not: jobs are injected with
them or without them from what was found last."""

_LONGEST_SECONDS: Final = 3600.0
"""How long we rely on our timer at most: clocks are set, and machines sleep."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An object that has a status: its kind and its ``namespace/name``."""

    kind: Kind
    location: str


Desired: TypeAlias = DefinitionStatus | tuple[int, Sequence[Condition]]


@dataclass(frozen=True, slots=True)
class _Written:
    """A status that we wrote and that the watch has not shown us yet."""

    before: Mapping[str, Any]
    status: Mapping[str, Any]


class StatusWriter:
    """Writes statuses; the queue calls it for one object at a time.

    Attributes:
        condition_counts: How many objects say what in their conditions, of all that were looked at.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        informer: Informer,
        unsealer: Callable[[], Unsealer],
        recorder: EventRecorder,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what is needed.

        Args:
            cluster: Where statuses are written.
            informer: The definitions, the policies and their stored statuses.
            unsealer: Returns the keys, to tell whose values will not open.
            recorder: Tells people of what time has changed.
            now: The present time, with a time zone.
        """
        self._cluster = cluster
        self._feed = informer
        self._opener = unsealer
        self._recorder = recorder
        self._now = now
        self._written: dict[Subject, _Written] = {}
        self._reseals = ResealHistory()
        self.condition_counts: ConditionCounts[Subject] = ConditionCounts()

    def keep_age(self, before: str, after: str) -> None:
        """Count a sealed text as no younger than the one that it was made from."""
        self._reseals.add(before, after)

    def pending(self, subject: Subject) -> float | None:
        """Return in how many seconds an object is to be looked at: 0 when its stored status is not what it should be.

        None says that nothing is to be done as long as nothing changes.
        """
        now = self._now()
        if self._with_sources(subject) is not None:
            # Nobody tells us when a Secret changes: we may not watch them.
            return 0.0
        desired = self._desired(subject, now)
        if self._change(subject, desired, now) is not None:
            return 0.0
        return _seconds_until_change(desired, now)

    async def work(self, subject: Subject) -> Outcome:
        """Write the status of one object, if it has changed."""
        if not self._feed.is_complete:
            return Retry()
        definition = self._with_sources(subject)
        sources = SourceReport() if definition is None else await look_at_sources(self._cluster, definition)
        now = self._now()
        desired = self._desired(subject, now, sources)
        status = self._change(subject, desired, now)
        if status is not None:
            await self._write(subject, status)
        if sources.problem is not None:
            return Retry(within=_SOURCE_SECONDS, result=Result.WAITING, reason=Reason.SOURCE_MISSING)
        seconds = _seconds_until_change(desired, now)
        if definition is not None and any(_is_optional(entry) for entry in definition.entries):
            seconds = _OPTIONAL_SECONDS if seconds is None else min(seconds, _OPTIONAL_SECONDS)
        result = Result.UNCHANGED if status is None else Result.WRITTEN
        return Done(result=result) if seconds is None else After(seconds, result=result)

    def _with_sources(self, subject: Subject) -> Definition | None:
        """Return a definition that takes a value from a native Secret."""
        if subject.kind is not Kind.SCOPED_SECRET or self._feed.invalid(subject.location) is not None:
            return None
        entry = self._feed.inventory.get(subject.location)
        if entry is None:
            return None
        sources = (each.source for each in entry.definition.entries)
        return entry.definition if any(isinstance(source, SecretKeySource) for source in sources) else None

    async def _write(self, subject: Subject, status: dict[str, Any]) -> None:
        # First the event: once the status is written, nobody knows that it has not been told.
        await self._tell(subject, status)
        before = self._stored(subject)
        try:
            written = await self._cluster.apply(_path(subject), self._body(subject, status))
        except (ConflictError, UnavailableError):
            # Another object has the name now, or nobody knows what happened: the watch will tell.
            raise
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return
            raise
        self._written[subject] = _Written(before, written.get("status") or {})

    async def _tell(self, subject: Subject, status: Mapping[str, Any]) -> None:
        """Tell of conditions that time has made true; the same words are told once, so that a retry repeats nothing."""
        for condition in newly_true(status, self._observed(subject)):
            involved = {"apiVersion": names.API_VERSION, "kind": subject.kind.value, **self._metadata(subject)}
            await self._recorder.warn(involved, Reason(condition["reason"]), condition["message"])

    def _change(self, subject: Subject, desired: Desired | None, now: datetime) -> dict[str, Any] | None:
        if desired is None:
            self._written.pop(subject, None)
            self.condition_counts.remove(subject.kind.value, subject)
            return None
        self.condition_counts.put(
            subject.kind.value, subject, desired.conditions if isinstance(desired, DefinitionStatus) else desired[1]
        )
        return changed_status(desired, self._observed(subject), now)

    def _desired(self, subject: Subject, now: datetime, sources: SourceReport | None = None) -> Desired | None:
        """Return what the status should be, ``None`` when the object is gone."""
        if subject.kind is Kind.SECRET_POLICY:
            return self._desired_policy(subject.location)
        invalid = self._feed.invalid(subject.location)
        if invalid is not None:
            return invalid_status(invalid.generation, invalid.message, self._observed(subject))
        entry = self._feed.inventory.get(subject.location)
        if entry is None:
            return None
        inventory, unsealer = self._feed.inventory, self._opener()
        observed = self._observed(subject)
        return definition_status(
            entry, inventory, unsealer.keys, unsealer.cluster_id, observed, now, self._reseals, sources
        )

    def _desired_policy(self, location: str) -> Desired | None:
        report = self._feed.policy_report(location)
        policy = self._feed.inventory.get_policy(location)
        if report is None or policy is None:
            return None
        return report.generation, policy_status(policy, None if report.invalid is None else report.invalid.message)

    def _observed(self, subject: Subject) -> Mapping[str, Any]:
        """Return the stored status: what the watch showed last, or what was written since."""
        stored = self._stored(subject)
        written = self._written.get(subject)
        if written is None:
            return stored
        if stored == written.before:
            return written.status
        del self._written[subject]
        return stored

    def _stored(self, subject: Subject) -> Mapping[str, Any]:
        if subject.kind is Kind.SECRET_POLICY:
            report = self._feed.policy_report(subject.location)
            return {} if report is None else report.status
        return self._feed.observed_status(subject.location)

    def _body(self, subject: Subject, status: Mapping[str, Any]) -> dict[str, Any]:
        kind, metadata = subject.kind.value, self._metadata(subject)
        return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "status": status}

    def _metadata(self, subject: Subject) -> dict[str, str]:
        namespace, _, name = subject.location.partition("/")
        metadata = {"namespace": namespace, "name": name}
        entry = self._feed.inventory.get(subject.location) if subject.kind is Kind.SCOPED_SECRET else None
        if entry is not None and entry.definition.uid:
            # An object that was deleted and created again meanwhile is another one.
            metadata["uid"] = entry.definition.uid
        return metadata


def _is_optional(entry: Entry) -> bool:
    return isinstance(entry.source, SecretKeySource) and entry.source.is_optional


def _seconds_until_change(desired: Desired | None, now: datetime) -> float | None:
    """Return in how many seconds to look again, because a status changes by time alone."""
    if not isinstance(desired, DefinitionStatus) or desired.changes_at is None:
        return None
    return min((desired.changes_at - now).total_seconds(), _LONGEST_SECONDS)


def _path(subject: Subject) -> str:
    namespace, _, name = subject.location.partition("/")
    if subject.kind is Kind.SECRET_POLICY:
        return paths.secret_policy_status(namespace, name)
    return paths.scoped_secret_status(namespace, name)
