"""Computes since when sealed values are stored, from the sealed texts and the stored status.

Only the status stores this. It survives a restart and a change of the leader, so neither resets the age of a value.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.resolution.definitions import Definition, SealedSource
from scoped_secrets.core.rotation import EntryMark, EntryState, since_when
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.errors import SealingError
from scoped_secrets.timestamps import parse_timestamp, rfc3339

__all__ = ["ResealedTexts", "as_stored", "entry_states", "known_states"]

_DIGEST_CHARACTERS: Final = 10
_MAX_RESEALS: Final = 10_000


class ResealedTexts:
    """Which sealed texts hold the same value, because the controller resealed one into the other.

    The texts alone do not show it: a value that was sealed offline has no fingerprint, and fingerprints of different
    keys cannot be compared. The status of the new text is written soon after the text is stored, so few pairs are
    needed at a time; when a pair is lost, the value looks younger than it is.
    """

    def __init__(self) -> None:
        """Start with no pairs."""
        self._before: dict[str, str] = {}

    def add(self, before: str, after: str) -> None:
        """Record that two sealed texts hold the same value."""
        old, new = _identifier(before), _identifier(after)
        if old == new:
            return
        if len(self._before) >= _MAX_RESEALS:
            del self._before[next(iter(self._before))]
        self._before[new] = old

    def is_same(self, mark: EntryMark, before: EntryMark) -> bool:
        """Tell whether the text of a mark was resealed from the text of another mark."""
        new, old = mark.fingerprint or mark.sealed_digest, before.fingerprint or before.sealed_digest
        return old is not None and self._before.get(new or "") == old


def entry_states(
    definition: Definition, observed: Mapping[str, Any], now: datetime, resealed_texts: ResealedTexts | None = None
) -> tuple[EntryState, ...]:
    """Return the sealed entries of a definition, each with the time since which it has its value.

    Args:
        definition: The definition, with its sealed texts.
        observed: The stored status.
        now: The present time.
        resealed_texts: The texts that were resealed.
    """
    marks = {mark.entry: mark for mark in _marks(definition)}
    known = known_states(observed)
    if resealed_texts is not None:
        known = tuple(_after_reseal(state, marks.get(state.mark.entry), resealed_texts) for state in known)
    # Without a stored status, all that is known is that the values are not older than the definition. Counting from
    # its creation may remind too early; counting from now could miss an old value.
    # In whole seconds, as they are stored: a second run then changes nothing, also where the clock is behind.
    present = now.replace(microsecond=0)
    first_seen = present if observed.get("observedGeneration") else parse_timestamp(definition.created) or present
    return since_when(marks.values(), known, first_seen, present)


def known_states(observed: Mapping[str, Any]) -> tuple[EntryState, ...]:
    """Return the entries of a stored status; malformed ones are skipped."""
    entries = observed.get("entries")
    return tuple(_known(entries)) if isinstance(entries, list) else ()


def as_stored(states: Iterable[EntryState]) -> list[dict[str, str]]:
    """Return the entries in the form of the status."""
    return [
        {
            "kind": state.mark.entry.kind.value,
            "name": state.mark.entry.name,
            **({} if state.mark.fingerprint is None else {"fingerprint": state.mark.fingerprint}),
            **({} if state.mark.sealed_digest is None else {"sealedDigest": state.mark.sealed_digest}),
            **({} if state.recorded is None else {"recordedFingerprint": state.recorded}),
            "changedTime": rfc3339(state.changed),
        }
        for state in states
    ]


def _marks(definition: Definition) -> Iterator[EntryMark]:
    """Yield the marks of the entries whose sealed text can be parsed."""
    for entry in definition.entries:
        # A former value has no age of its own: it goes at its time.
        if not isinstance(entry.source, SealedSource) or not entry.source.text or entry.previous is not None:
            continue
        try:
            fingerprint = parse_header(entry.source.text).fingerprint
        except SealingError:
            continue
        if fingerprint is not None:
            yield EntryMark(entry.key, fingerprint.short(), None)
        else:
            # A digest of the ciphertext, which everyone who can read the status can read too.
            yield EntryMark(entry.key, None, _digest(entry.source.text))


def _after_reseal(state: EntryState, current: EntryMark | None, resealed_texts: ResealedTexts) -> EntryState:
    """Return a known state with the current mark, when that was resealed from the known one."""
    return (
        replace(state, mark=current, recorded=None)
        if current is not None and resealed_texts.is_same(current, state.mark)
        else state
    )


def _identifier(text: str) -> str:
    """Return what identifies a sealed text in a status: its short fingerprint, otherwise its short digest."""
    try:
        fingerprint = parse_header(text).fingerprint
    except SealingError:
        fingerprint = None
    return _digest(text) if fingerprint is None else fingerprint.short()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _known(entries: Sequence[Any]) -> Iterator[EntryState]:
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("kind") not in list(EntryKind):
            continue
        changed = parse_timestamp(entry.get("changedTime"))
        if changed is not None:
            key = EntryKey(EntryKind(entry["kind"]), str(entry.get("name")))
            mark = EntryMark(key, entry.get("fingerprint"), entry.get("sealedDigest"))
            yield EntryState(mark, changed, entry.get("recordedFingerprint"))
