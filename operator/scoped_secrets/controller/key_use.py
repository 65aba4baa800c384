"""Finds the sealing keys that a definition's values need, from the headers of its sealed texts."""

from scoped_secrets.core.resolution.definitions import Definition, SealedSource
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.errors import SealingError

__all__ = ["oldest_key"]


def oldest_key(definition: Definition, ring: KeyRing) -> str:
    """Return the id of the oldest key that a value needs; empty without sealed values.

    A key that is not in the ring counts as older than all that are, because it is the one that needs attention.
    """
    used: set[str] = set()
    for entry in definition.entries:
        if isinstance(entry.source, SealedSource) and entry.source.text:
            try:
                used.add(parse_header(entry.source.text).key_id)
            except SealingError:
                continue
    known = [key.key_id for key in ring.keys]
    lost = sorted(used.difference(known))
    return next(iter((*lost, *(key_id for key_id in reversed(known) if key_id in used))), "")
