"""Records fingerprints of values that were sealed without one, so that they can be compared (DESIGN section 7).

A person's process has no fingerprint key. The controller opens each such value once, and keeps the fingerprint in the
status for as long as the sealed text stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.resolution.definitions import Definition, SealedSource, SlottedDefinition
from scoped_secrets.core.rotation import EntryState
from scoped_secrets.crypto.contexts import entry_fingerprint
from scoped_secrets.crypto.fingerprints import FingerprintKey, new_salt
from scoped_secrets.crypto.recorded_fingerprints import parse_recorded, recorded_fingerprint
from scoped_secrets.errors import SealingError

__all__ = ["lacks_fingerprint", "with_fingerprints", "without_fingerprints"]


def lacks_fingerprint(definition: Definition, states: Iterable[EntryState]) -> bool:
    """Tell whether a value of a definition has a fingerprint neither in its sealed text nor in the status."""
    texts = _texts(definition)
    return any(_is_missing(state, texts.get(state.mark.entry, "")) for state in states)


def with_fingerprints(
    slotted: SlottedDefinition, states: Iterable[EntryState], unsealer: Unsealer, key: FingerprintKey
) -> tuple[EntryState, ...]:
    """Return the states with a fingerprint of each value that lacks one and can be unsealed."""
    texts = _texts(slotted.definition)
    return tuple(
        _recorded(slotted, state, text, unsealer, key)
        if _is_missing(state, text := texts.get(state.mark.entry, ""))
        else state
        for state in states
    )


def without_fingerprints(states: Iterable[EntryState]) -> tuple[EntryState, ...]:
    """Return the states without fingerprints that the controller recorded."""
    return tuple(state if state.recorded is None else replace(state, recorded=None) for state in states)


def _texts(definition: Definition) -> Mapping[EntryKey, str]:
    return {entry.key: entry.source.text for entry in definition.entries if isinstance(entry.source, SealedSource)}


def _is_missing(state: EntryState, text: str) -> bool:
    """Tell whether a state needs a fingerprint of this text; one that is kept of another text does not count."""
    return state.mark.fingerprint is None and parse_recorded(text, state.recorded) is None


def _recorded(
    slotted: SlottedDefinition, state: EntryState, text: str, unsealer: Unsealer, key: FingerprintKey
) -> EntryState:
    definition, entry = slotted.definition, state.mark.entry
    try:
        value = unsealer.unseal_text(text, definition, slotted.slot, entry)
    except SealingError:
        # The condition Ready says so, as far as a header tells, and the event of the first pod that needs the value.
        return replace(state, recorded=None)
    made = entry_fingerprint(key, definition.namespace, definition.name, entry, value, new_salt())
    return replace(state, recorded=recorded_fingerprint(text, made))
