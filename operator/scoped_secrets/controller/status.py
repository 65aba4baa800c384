"""Keeps the statuses of definitions and policies: compares, and writes only what differs (DESIGN section 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from scoped_secrets import names
from scoped_secrets.controller.conditions import changed_status, definition_status, invalid_status, policy_status
from scoped_secrets.controller.opening import Opener
from scoped_secrets.controller.queue import Done, Outcome, Retry
from scoped_secrets.core.status import Condition, DefinitionStatus
from scoped_secrets.errors import ClusterError, ConflictError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.feed import Feed, Kind

__all__ = ["Reports", "Subject"]

_NOT_FOUND = 404


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


class Reports:
    """Writes statuses; the queue calls it for one object at a time."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        feed: Feed,
        opener: Callable[[], Opener],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take what is needed.

        Args:
            cluster: Where statuses are written.
            feed: The definitions, the policies and their stored statuses.
            opener: Returns the keys, to tell whose values will not open.
            now: The present time, with a time zone.
        """
        self._cluster = cluster
        self._feed = feed
        self._opener = opener
        self._now = now
        self._written: dict[Subject, _Written] = {}

    def differs(self, subject: Subject) -> bool:
        """Tell whether an object's stored status is not what it should be."""
        return self._change(subject) is not None

    async def work(self, subject: Subject) -> Outcome:
        """Write the status of one object, if it has changed."""
        if not self._feed.is_complete:
            return Retry()
        status = self._change(subject)
        if status is None:
            return Done()
        before = self._stored(subject)
        try:
            written = await self._cluster.apply(_path(subject), self._body(subject, status))
        except (ConflictError, UnavailableError):
            # Another object has the name now, or nobody knows what happened: the watch will tell.
            raise
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return Done()
            raise
        self._written[subject] = _Written(before, written.get("status") or {})
        return Done()

    def _change(self, subject: Subject) -> dict[str, Any] | None:
        desired = self._desired(subject)
        if desired is None:
            self._written.pop(subject, None)
            return None
        return changed_status(desired, self._observed(subject), self._now())

    def _desired(self, subject: Subject) -> Desired | None:
        """Return what the status should be, ``None`` when the object is gone."""
        if subject.kind is Kind.SECRET_POLICY:
            return self._desired_policy(subject.location)
        invalid = self._feed.invalid(subject.location)
        if invalid is not None:
            return invalid_status(invalid.generation, invalid.message)
        entry = self._feed.inventory.get(subject.location)
        if entry is None:
            return None
        return definition_status(entry, self._feed.inventory, self._opener().keys, self._feed.cluster_id)

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
        namespace, _, name = subject.location.partition("/")
        metadata = {"namespace": namespace, "name": name}
        entry = self._feed.inventory.get(subject.location) if subject.kind is Kind.SCOPED_SECRET else None
        if entry is not None and entry.definition.uid:
            # An object that was deleted and created again meanwhile is another one.
            metadata["uid"] = entry.definition.uid
        return {"apiVersion": names.API_VERSION, "kind": subject.kind.value, "metadata": metadata, "status": status}


def _path(subject: Subject) -> str:
    namespace, _, name = subject.location.partition("/")
    if subject.kind is Kind.SECRET_POLICY:
        return paths.secret_policy_status(namespace, name)
    return paths.scoped_secret_status(namespace, name)
