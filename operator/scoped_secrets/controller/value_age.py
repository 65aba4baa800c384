"""Since when a definition has its sealed values: from the sealed texts and the stored status to what is written.

The status is the memory: it survives a restart and a change of the leader, and a value never gets younger by them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from scoped_secrets.core.resolution.definitions import Definition, EnvEntry, FileEntry, SealedSource
from scoped_secrets.core.rotation import EntryKind, EntryMark, EntryState, since_when
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.errors import SealingError

__all__ = ["ResealedTexts", "as_stored", "entry_states", "kind_and_name", "known_states", "rfc3339"]

_DIGITS: Final = 10
_MOST_MOVES: Final = 10_000


class ResealedTexts:
    """Which sealed texts hold the value of another one, because we sealed it anew.

    A value that was sealed offline has no fingerprint that would tell, and a fingerprint of another key tells nothing
    either. The new text's status is written soon after it
    is stored, so that few need to be remembered; when even those are lost, a value looks younger than it is.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._before: dict[str, str] = {}

    def add(self, before: str, after: str) -> None:
        """Remember that two sealed texts hold the same value."""
        old, new = _digits(before), _digits(after)
        if old == new:
            return
        if len(self._before) >= _MOST_MOVES:
            del self._before[next(iter(self._before))]
        self._before[new] = old

    def is_same(self, mark: EntryMark, before: EntryMark) -> bool:
        """Tell whether a mark is that of the text that was made from the text of another mark."""
        new, old = mark.fingerprint or mark.sealed_digest, before.fingerprint or before.sealed_digest
        return old is not None and self._before.get(new or "") == old


def entry_states(
    definition: Definition, observed: Mapping[str, Any], now: datetime, moves: ResealedTexts | None = None
) -> tuple[EntryState, ...]:
    """Return since when each sealed entry of a definition has its value.

    Args:
        definition: The definition, with its sealed texts.
        observed: The stored status.
        now: The present time.
        moves: The texts that we sealed anew.
    """
    marks = {(mark.kind, mark.name): mark for mark in _marks(definition)}
    known = known_states(observed)
    if moves is not None:
        known = tuple(_moved(state, marks.get((state.mark.kind, state.mark.name)), moves) for state in known)
    # Of a definition that nobody has reported about, no more is known than that its values are not older than itself.
    # Sooner or later somebody is reminded too early; the other way round, nobody would be reminded of an old value.
    first_seen = now if observed.get("observedGeneration") else _moment(definition.created) or now
    return since_when(marks.values(), known, first_seen.replace(microsecond=0), now)


def known_states(observed: Mapping[str, Any]) -> tuple[EntryState, ...]:
    """Return what a stored status says of entries; what nobody can have written is passed over."""
    entries = observed.get("entries")
    return tuple(_known(entries)) if isinstance(entries, list) else ()


def as_stored(states: Iterable[EntryState]) -> list[dict[str, str]]:
    """Return the entries as the status has them."""
    return [
        {
            "kind": state.mark.kind.value,
            "name": state.mark.name,
            **({} if state.mark.fingerprint is None else {"fingerprint": state.mark.fingerprint}),
            **({} if state.mark.sealed_digest is None else {"sealedDigest": state.mark.sealed_digest}),
            "changedTime": rfc3339(state.changed),
        }
        for state in states
    ]


def rfc3339(moment: datetime) -> str:
    """Return a time as the API server writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _marks(definition: Definition) -> Iterator[EntryMark]:
    """Yield the marks of the entries whose sealed text can be read."""
    entries: tuple[EnvEntry | FileEntry, ...] = (*definition.env, *definition.files)
    for entry in entries:
        if not isinstance(entry.source, SealedSource) or not entry.source.text:
            continue
        try:
            fingerprint = parse_header(entry.source.text).fingerprint
        except SealingError:
            continue
        kind, name = kind_and_name(entry)
        if fingerprint is not None:
            yield EntryMark(kind, name, fingerprint.short(), None)
        else:
            # Of the ciphertext, which everyone sees who sees the status.
            yield EntryMark(kind, name, None, _digest(entry.source.text))


def _moved(state: EntryState, present: EntryMark | None, moves: ResealedTexts) -> EntryState:
    """Return what is known of an entry, with the present mark when it is of the same value."""
    return replace(state, mark=present) if present is not None and moves.is_same(present, state.mark) else state


def _digits(text: str) -> str:
    """Return the digits by which a status knows a sealed text."""
    try:
        fingerprint = parse_header(text).fingerprint
    except SealingError:
        fingerprint = None
    return _digest(text) if fingerprint is None else fingerprint.short()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def kind_and_name(entry: EnvEntry | FileEntry) -> tuple[EntryKind, str]:
    """Return what tells an entry from the others of a definition, as a status names it."""
    return (EntryKind.ENV, entry.name) if isinstance(entry, EnvEntry) else (EntryKind.FILE, entry.path)


def _known(entries: Sequence[Any]) -> Iterator[EntryState]:
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("kind") not in list(EntryKind):
            continue
        changed = _moment(entry.get("changedTime"))
        if changed is not None:
            mark = EntryMark(
                EntryKind(entry["kind"]), str(entry.get("name")), entry.get("fingerprint"), entry.get("sealedDigest")
            )
            yield EntryState(mark, changed)


def _moment(text: object) -> datetime | None:
    """Return a time of the API server, None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
