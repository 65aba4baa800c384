"""How old the values of a definition are, and when they should be replaced (DESIGN sections 5 and 7).

A sealed value does not record when it was set. The controller therefore keeps, in the definition's status, a mark of
every sealed value and the time at which the mark first appeared: a value is as old as its mark.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.resolution.definitions import Rotation
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Due", "EntryMark", "EntryState", "due", "since_when"]


@dataclass(frozen=True, slots=True)
class EntryMark:
    """What distinguishes an entry's sealed value from the next one, without revealing either.

    Attributes:
        entry: The entry.
        fingerprint: The short form of the value's keyed fingerprint; None when the value was sealed offline.
        sealed_digest: The short digest of the sealed text, where there is no fingerprint. It changes whenever the value
            is sealed again, even when the value is the same.
    """

    entry: EntryKey
    fingerprint: str | None
    sealed_digest: str | None


@dataclass(frozen=True, slots=True)
class EntryState:
    """A mark of an entry, and when it first appeared.

    Attributes:
        mark: The mark.
        changed: When it first appeared.
        recorded: The fingerprint that the controller recorded of a value whose text has none; None without one.
    """

    mark: EntryMark
    changed: datetime
    recorded: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Which value should be replaced first, and when.

    Attributes:
        oldest: The entry with the oldest value.
        remind: When reminders begin.
        deadline: When the value should have been replaced.
    """

    oldest: EntryState
    remind: datetime
    deadline: datetime


def since_when(
    marks: Iterable[EntryMark], known: Iterable[EntryState], first_seen: datetime, now: datetime
) -> tuple[EntryState, ...]:
    """Return when the mark of each entry first appeared.

    Args:
        marks: The current marks.
        known: The known states.
        first_seen: The time for marks that are not among the known states: the present time, unless nothing is known
            about the definition.
        now: The present time. Known times after it were written with a clock that was ahead.
    """
    before = {state.mark.entry: state for state in known}
    return tuple(_state(mark, before.get(mark.entry), first_seen, now) for mark in marks)


def due(rotation: Rotation, entries: Iterable[EntryState]) -> Due | None:
    """Return when the oldest value should be replaced; None when there is no value to replace.

    Only sealed values have an age: plain configuration is not secret, and the values of `valueFrom` are replaced in
    their own Secrets.
    """
    oldest = min(entries, key=lambda state: (state.changed, state.mark.entry.kind, state.mark.entry.name), default=None)
    if oldest is None:
        return None
    deadline = oldest.changed + timedelta(days=rotation.interval_days)
    return Due(oldest, deadline - timedelta(days=rotation.remind_days), deadline)


def _state(mark: EntryMark, before: EntryState | None, first_seen: datetime, now: datetime) -> EntryState:
    if before is None or before.mark != mark:
        return EntryState(mark, min(first_seen, now))
    return before if before.changed <= now else replace(before, changed=now)
