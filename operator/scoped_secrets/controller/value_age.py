"""Computes since when a definition has its sealed values, from the sealed texts and the stored status.

The status stores the times: it survives a restart and a change of leader, neither of which resets the age of a value.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from scoped_secrets.core.resolution.definitions import Definition, EnvEntry, FileEntry, SealedSource
from scoped_secrets.core.rotation import EntryKind, EntryMark, EntryState, since_when
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.errors import SealingError
from scoped_secrets.timestamps import parse_timestamp, rfc3339

__all__ = ["ResealedTexts", "as_stored", "entry_states", "kind_and_name", "known_states"]

_DIGITS: Final = 10
_MOST_TEXTS: Final = 10_000


class ResealedTexts:
    """Maps sealed texts that the controller resealed to the texts before, which hold the same values.

    Fingerprints cannot tell that two texts hold the same value if one was sealed offline, or if they were made with
    different keys. The status is written soon after a text is stored, so few texts are kept. If they are lost, for
    example by a restart, a value looks newer than it is.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._before: dict[str, str] = {}

    def add(self, before: str, after: str) -> None:
        """Record that two sealed texts hold the same value."""
        old, new = _short_digest(before), _short_digest(after)
        if old == new:
            return
        if len(self._before) >= _MOST_TEXTS:
            del self._before[next(iter(self._before))]
        self._before[new] = old

    def is_same(self, mark: EntryMark, before: EntryMark) -> bool:
        """Tell whether the text of one mark was resealed from the text of another mark."""
        new, old = mark.fingerprint or mark.sealed_digest, before.fingerprint or before.sealed_digest
        return old is not None and self._before.get(new or "") == old


def entry_states(
    definition: Definition, observed: Mapping[str, Any], now: datetime, resealed_texts: ResealedTexts | None = None
) -> tuple[EntryState, ...]:
    """Return since when each sealed entry of a definition has its value.

    Args:
        definition: The definition, with its sealed texts.
        observed: The stored status.
        now: The present time.
        resealed_texts: The texts that the controller resealed.
    """
    marks = {(mark.kind, mark.name): mark for mark in _marks(definition)}
    known = known_states(observed)
    if resealed_texts is not None:
        known = tuple(
            _with_present_mark(state, marks.get((state.mark.kind, state.mark.name)), resealed_texts) for state in known
        )
    # Without a status, the values are known only to be no older than the definition. Its creation time may report a
    # rotation too early; the present time would hide an old value.
    first_seen = now if observed.get("observedGeneration") else parse_timestamp(definition.created) or now
    return since_when(marks.values(), known, first_seen.replace(microsecond=0), now)


def known_states(observed: Mapping[str, Any]) -> tuple[EntryState, ...]:
    """Return what a stored status says of entries; invalid items are ignored."""
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


def _marks(definition: Definition) -> Iterator[EntryMark]:
    """Yield the marks of the entries whose sealed text can be parsed."""
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
            # Of the ciphertext, which is visible to everyone who can read the status.
            yield EntryMark(kind, name, None, _digest(entry.source.text))


def _with_present_mark(state: EntryState, present: EntryMark | None, resealed_texts: ResealedTexts) -> EntryState:
    """Return the known state of an entry, with the present mark if that is of the same value."""
    is_resealed = present is not None and resealed_texts.is_same(present, state.mark)
    return replace(state, mark=present) if present is not None and is_resealed else state


def _short_digest(text: str) -> str:
    """Return the digits that identify a sealed text in a status."""
    try:
        fingerprint = parse_header(text).fingerprint
    except SealingError:
        fingerprint = None
    return _digest(text) if fingerprint is None else fingerprint.short()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def kind_and_name(entry: EnvEntry | FileEntry) -> tuple[EntryKind, str]:
    """Return the kind and name that identify an entry of a definition in a status."""
    return (EntryKind.ENV, entry.name) if isinstance(entry, EnvEntry) else (EntryKind.FILE, entry.path)


def _known(entries: Sequence[Any]) -> Iterator[EntryState]:
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("kind") not in list(EntryKind):
            continue
        changed = parse_timestamp(entry.get("changedTime"))
        if changed is not None:
            mark = EntryMark(
                EntryKind(entry["kind"]), str(entry.get("name")), entry.get("fingerprint"), entry.get("sealedDigest")
            )
            yield EntryState(mark, changed)
