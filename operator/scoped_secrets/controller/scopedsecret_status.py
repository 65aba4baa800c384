"""Reconciles the statuses of ScopedSecrets (DESIGN section 5)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from scoped_secrets.controller.conditions import definition_status, invalid_status
from scoped_secrets.controller.copying import copy_problem
from scoped_secrets.controller.reconciler import Pending, Reconciler, ReconcilerContext
from scoped_secrets.controller.status_writer import StatusWriter
from scoped_secrets.controller.value_fingerprints import (
    has_recorded,
    lacks_fingerprint,
    with_fingerprints,
    without_fingerprints,
)
from scoped_secrets.controller.value_from import SourceReport, check_sources
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, RequeueAfter, Result
from scoped_secrets.core.resolution.definitions import Definition, Entry, SecretKeySource, SlottedDefinition
from scoped_secrets.core.status import DefinitionStatus
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.resources import Kind
from scoped_secrets.names import Reason

__all__ = ["ScopedSecretStatusReconciler"]

_MISSING_SOURCE_SECONDS: Final = 10.0
"""The longest delay in seconds until the controller reads a missing source again."""

_OPTIONAL_SOURCE_SECONDS: Final = 30.0
"""After how many seconds the controller reads optional sources again, whether they exist or not: from the status,
admission decides whether it injects jobs with them or without them."""

_LONGEST_TIMER_SECONDS: Final = 3600.0
"""The longest delay of a timer in seconds: a clock may be set and a machine may be suspended meanwhile."""


class ScopedSecretStatusReconciler(Reconciler):
    """Writes the statuses of ScopedSecrets; a key is a definition's ``namespace/name``."""

    kind = Kind.SCOPED_SECRET.value

    def __init__(self, context: ReconcilerContext) -> None:
        """Take what reconcilers share."""
        super().__init__(context)
        self._writer = StatusWriter(
            context,
            Kind.SCOPED_SECRET,
            path=paths.scoped_secret_status,
            stored=context.informer.observed_status,
            uid=self._uid,
        )

    async def reconcile(self, key: str) -> Outcome:
        """Write the status of one definition, if it has changed."""
        if not self._context.informer.is_complete:
            return Requeue()
        definition = self._definition_with_sources(key)
        sources = SourceReport()
        if definition is not None:
            sources = await check_sources(self._context.cluster, definition)
        now = self._context.now()
        desired = self._with_fingerprints(key, self._desired(key, now, sources))
        status = self._writer.changed(key, desired, now)
        if status is not None:
            await self._writer.write(key, status)
        if sources.problem is not None:
            return Requeue(within=_MISSING_SOURCE_SECONDS, result=Result.WAITING, reason=Reason.SOURCE_MISSING)
        seconds = _seconds_until_change(desired, now)
        if definition is not None and any(_is_optional(entry) for entry in definition.entries):
            seconds = _OPTIONAL_SOURCE_SECONDS if seconds is None else min(seconds, _OPTIONAL_SOURCE_SECONDS)
        result = Result.UNCHANGED if status is None else Result.WRITTEN
        return Done(result=result) if seconds is None else RequeueAfter(seconds, result=result)

    def pending(self) -> Iterator[Pending | None]:
        """Yield for every definition whether, and when, its status needs work."""
        informer = self._context.informer
        for location in {*informer.inventory.locations(), *informer.invalid_locations()}:
            delay = self.due_in(location)
            yield None if delay is None else Pending(location, delay=delay)

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the definitions that changed, or whose status may have to change."""
        yield from (Pending(location) for location in changes.definitions)

    def due_in(self, location: str) -> float | None:
        """Return in how many seconds a definition needs work: 0 when its stored status is not what it should be.

        ``None`` means that it needs no work until something changes.
        """
        now = self._context.now()
        if self._definition_with_sources(location) is not None:
            # The controller may not watch native Secrets, so it gets no event when one changes.
            return 0.0
        desired = self._desired(location, now)
        if self._writer.changed(location, desired, now) is not None or self._needs_fingerprint(location, desired):
            return 0.0
        return _seconds_until_change(desired, now)

    def _definition_with_sources(self, location: str) -> Definition | None:
        """Return the definition if it takes a value from a native Secret, ``None`` otherwise."""
        if self._context.informer.invalid(location) is not None:
            return None
        entry = self._context.informer.inventory.get(location)
        if entry is None:
            return None
        sources = (each.source for each in entry.definition.entries)
        return entry.definition if any(isinstance(source, SecretKeySource) for source in sources) else None

    def _desired(self, location: str, now: datetime, sources: SourceReport | None = None) -> DefinitionStatus | None:
        """Return what the status should be, ``None`` when the definition is deleted."""
        informer, observed = self._context.informer, self._writer.observed(location)
        invalid = informer.invalid(location)
        if invalid is not None:
            return invalid_status(invalid.generation, invalid.message, observed)
        entry = informer.inventory.get(location)
        if entry is None:
            return None
        unsealer = self._context.unsealer()
        status = definition_status(
            entry,
            informer.inventory,
            unsealer.keys,
            unsealer.cluster_id,
            observed,
            now,
            self._context.resealed_texts,
            sources,
            copy_problem=copy_problem(entry, informer.inventory, self._context.keys()),
        )
        if self._context.records_fingerprints:
            return status
        return replace(status, entries=without_fingerprints(status.entries))

    def _with_fingerprints(self, location: str, status: DefinitionStatus | None) -> DefinitionStatus | None:
        """Return the status with a fingerprint of each value that can be unsealed, renewed if that is requested."""
        entry = self._context.informer.inventory.get(location)
        if not isinstance(entry, SlottedDefinition) or not self._needs_fingerprint(location, status):
            return status
        if status is None:
            return None
        unsealer, key = self._context.unsealer(), self._context.keys().fingerprint_key
        entries = with_fingerprints(entry, status.entries, unsealer, key, renew=self._renews_fingerprints(location))
        return replace(status, entries=entries)

    def _needs_fingerprint(self, location: str, status: DefinitionStatus | None) -> bool:
        """Tell whether values have to be unsealed for their fingerprints."""
        entry = self._context.informer.inventory.get(location)
        if status is None or not self._context.records_fingerprints or not isinstance(entry, SlottedDefinition):
            return False
        return lacks_fingerprint(entry.definition, status.entries) or (
            self._renews_fingerprints(location) and has_recorded(status.entries)
        )

    def _renews_fingerprints(self, location: str) -> bool:
        """Tell whether fingerprints of former keys are replaced: only on request, as a rotation rewrites nothing."""
        return self._context.informer.reseal_request(location) is not None

    def _uid(self, location: str) -> str:
        entry = self._context.informer.inventory.get(location)
        return "" if entry is None else entry.definition.uid


def _is_optional(entry: Entry) -> bool:
    return isinstance(entry.source, SecretKeySource) and entry.source.is_optional


def _seconds_until_change(desired: DefinitionStatus | None, now: datetime) -> float | None:
    """Return in how many seconds to reconcile again, because a status changes by time alone."""
    if desired is None or desired.changes_at is None:
        return None
    return min((desired.changes_at - now).total_seconds(), _LONGEST_TIMER_SECONDS)
