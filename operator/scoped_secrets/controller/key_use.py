"""Finds the sealing keys that a definition's values need, from the headers of its sealed texts."""

from collections.abc import Iterator

from scoped_secrets.core.resolution.definitions import Definition, SealedSource
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.keys import KeyId, KeyRing
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.errors import SealingError

__all__ = ["oldest_key"]


def oldest_key(definition: Definition, ring: KeyRing) -> str:
    """Return the id of the oldest key that a value needs; empty without sealed values.

    A key that is not in the ring counts as older than all that are, because it is the one that needs attention.
    """
    used = set(_used_keys(definition))
    known = [key.key_id for key in ring.keys]
    lost = sorted(used.difference(known))
    return next(iter((*lost, *(key_id for key_id in reversed(known) if key_id in used))), "")


def _used_keys(definition: Definition) -> Iterator[KeyId]:
    """Yield the keys of self-contained values and of the data keys that other values name."""
    for entry in definition.entries:
        source = entry.source
        if not isinstance(source, SealedSource) or not source.text:
            continue
        try:
            header = parse_header(source.text)
            if not isinstance(header, SealedHeader):
                data_key = definition.data_key(header.data_key_id)
                header = parse_header("" if data_key is None else data_key.text)
        except SealingError:
            continue
        if isinstance(header, SealedHeader):
            yield header.key_id
