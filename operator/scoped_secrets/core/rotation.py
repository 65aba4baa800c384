"""How old the values of a definition are, and when they are to be replaced (DESIGN sections 5 and 7).

Nobody stores when a value was set. So the controller keeps, in the definition's status, a mark of every sealed value
and since when it has it: a value is as old as its mark. Time is an argument.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scoped_secrets.core.resolution.definitions import Rotation

__all__ = ["Due", "EntryKind", "EntryMark", "EntryState", "due", "since_when"]


class EntryKind(StrEnum):
    """What an entry is."""

    ENV = "Env"
    FILE = "File"


@dataclass(frozen=True, slots=True)
class EntryMark:
    """What tells an entry's sealed value from the next one, without either.

    Attributes:
        kind: Variable or file.
        name: The variable's name or the file's path, as written.
        fingerprint: The short form of the value's keyed fingerprint; None when the value was sealed offline.
        sealed_digest: Where there is no fingerprint, the short digest of the sealed text. It is another one after the
            same value was sealed again: who has no fingerprint cannot tell.
    """

    kind: EntryKind
    name: str
    fingerprint: str | None
    sealed_digest: str | None


@dataclass(frozen=True, slots=True)
class EntryState:
    """A mark, and since when the entry has it."""

    mark: EntryMark
    changed: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """When which value is to be replaced.

    Attributes:
        entry: The oldest one.
        remind: From then on people are reminded.
        deadline: By then it should have been replaced.
    """

    entry: EntryState
    remind: datetime
    deadline: datetime


def since_when(
    marks: Iterable[EntryMark], known: Iterable[EntryState], first_seen: datetime, now: datetime
) -> tuple[EntryState, ...]:
    """Return since when each entry has its mark.

    Args:
        marks: What the entries have now.
        known: What was known of them before.
        first_seen: Since when an entry has its mark that was not known with it; the present time unless nothing at all
            was known.
        now: The present time. What is known to be later was written by a clock that was ahead.
    """
    before = {(state.mark.kind, state.mark.name): state for state in known}
    return tuple(_state(mark, before.get((mark.kind, mark.name)), first_seen, now) for mark in marks)


def due(rotation: Rotation, entries: Iterable[EntryState]) -> Due | None:
    """Return when the oldest value is to be replaced, None when there is no value to replace.

    Only sealed values have an age: configuration in plain text is no secret, and what `valueFrom` names is replaced
    where it is.
    """
    oldest = min(entries, key=lambda state: (state.changed, state.mark.kind, state.mark.name), default=None)
    if oldest is None:
        return None
    deadline = oldest.changed + timedelta(days=rotation.interval_days)
    return Due(oldest, deadline - timedelta(days=rotation.remind_days), deadline)


def _state(mark: EntryMark, before: EntryState | None, first_seen: datetime, now: datetime) -> EntryState:
    if before is None or before.mark != mark:
        return EntryState(mark, min(first_seen, now))
    return before if before.changed <= now else EntryState(mark, now)
