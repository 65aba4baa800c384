"""The fingerprint of a stored value: in its sealed text, or in the status for a text that has none."""

from collections.abc import Mapping, Sequence
from typing import Any

from scoped_secrets.core.entry import EntryKey
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.recorded_fingerprints import parse_recorded
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.errors import SealingError

__all__ = ["value_fingerprint"]


def value_fingerprint(body: Mapping[str, Any], entry: EntryKey, text: str) -> Fingerprint | None:
    """Return the fingerprint of the value of an entry.

    Args:
        body: The stored ScopedSecret.
        entry: The entry.
        text: Its sealed text.

    Returns:
        The fingerprint; None when the text has none and the controller has recorded none for it.
    """
    try:
        found = parse_header(text).fingerprint
    except SealingError:
        return None
    return found if found is not None else parse_recorded(text, _recorded(body, entry))


def _recorded(body: Mapping[str, Any], entry: EntryKey) -> object:
    status = body.get("status")
    entries = status.get("entries") if isinstance(status, Mapping) else None
    if not isinstance(entries, Sequence):
        return None
    for each in entries:
        if isinstance(each, Mapping) and (each.get("kind"), each.get("name")) == (entry.kind.value, entry.name):
            return each.get("recordedFingerprint")
    return None
