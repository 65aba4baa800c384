"""Records fingerprints of values that were sealed without one, so that they can be compared (DESIGN section 7).

A person's process has no fingerprint key. The controller opens each such value once, and keeps the fingerprint in the
status for as long as the sealed text stays. A request to reseal the definition renews one of a former key. The
fingerprint alone does not show its key, so that the controller opens the value again.
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

__all__ = ["has_recorded", "lacks_fingerprint", "with_fingerprints", "without_fingerprints"]


def lacks_fingerprint(definition: Definition, states: Iterable[EntryState]) -> bool:
    """Tell whether a value of a definition has a fingerprint neither in its sealed text nor in the status."""
    texts = _texts(definition)
    return any(_is_missing(state, texts.get(state.mark.entry, "")) for state in states)


def has_recorded(states: Iterable[EntryState]) -> bool:
    """Tell whether the controller recorded the fingerprint of a value."""
    return any(state.recorded is not None for state in states)


def with_fingerprints(
    slotted: SlottedDefinition,
    states: Iterable[EntryState],
    unsealer: Unsealer,
    key: FingerprintKey,
    *,
    renew: bool = False,
) -> tuple[EntryState, ...]:
    """Return the states with a fingerprint of each value that lacks one and can be unsealed; ages do not change.

    Args:
        slotted: The definition.
        states: The states of its entries.
        unsealer: Unseals values.
        key: The present fingerprint key.
        renew: Whether recorded fingerprints of former keys are replaced too, for which each such value is unsealed.
    """
    texts = _texts(slotted.definition)
    return tuple(
        _recorded(slotted, state, text, unsealer, key)
        if _is_missing(state, text := texts.get(state.mark.entry, "")) or (renew and state.recorded is not None)
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
    """Return a state with a fingerprint of the present key, which may be the recorded one."""
    definition, entry = slotted.definition, state.mark.entry
    known = parse_recorded(text, state.recorded)
    try:
        value = unsealer.unseal_text(text, definition, slotted.slot, entry)
    except SealingError:
        # The condition Ready says so, as far as a header tells, and the event of the first pod that needs the value.
        return state if known is not None else replace(state, recorded=None)
    place = (definition.namespace, definition.name, entry)
    if known is not None and entry_fingerprint(key, *place, value, known.salt) == known:
        return state
    return replace(state, recorded=recorded_fingerprint(text, entry_fingerprint(key, *place, value, new_salt())))
