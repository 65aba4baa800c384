"""The place of a value, in which alone its sealed text opens (DESIGN section 7)."""

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from scoped_secrets.crypto.encoding import length_bytes, text_bytes, with_length

__all__ = ["DIGEST_BYTES", "SealingContext", "context_digest"]

DIGEST_BYTES: Final = 16


class SealingContext(NamedTuple):
    """The place of a value: a text that is sealed for one place cannot be unsealed in another.

    A tuple and no dataclass, because an object with 150 entries has as many, of which all but two fields are shared.

    Attributes:
        cluster_id: Which cluster's operator it is for.
        group: API group of the object.
        kind: Kind of the object.
        namespace: Namespace of the object.
        name: Name of the object.
        organization: Organization of the scope path.
        scope: Organization, Project or Environment.
        project: Project of the scope path; empty at organization scope.
        environment: The pattern, as written; empty when there is none.
        entry_kind: ``env`` or ``file``.
        entry_name: The variable's name or the file's path, as written.
    """

    cluster_id: str
    group: str
    kind: str
    namespace: str
    name: str
    organization: str
    scope: str
    project: str
    environment: str
    entry_kind: str
    entry_name: str

    def of_entry(self, entry_kind: str, entry_name: str) -> "SealingContext":
        """Return the context of another entry of the same object."""
        return SealingContext._make((*self[:_OBJECT_FIELDS], entry_kind, entry_name))

    def encode(self) -> bytes:
        """Return the canonical encoding: the fields in their order above, each after its length."""
        name = text_bytes(self.entry_name)
        return _encoded_object(self[: _OBJECT_FIELDS + 1]) + length_bytes(len(name)) + name


_FIELDS: Final = len(SealingContext._fields)
# How many fields the entries of an object have in common.
_OBJECT_FIELDS: Final = _FIELDS - 2


# An object has up to 150 entries, so that the part of the object is encoded once for many of them.
@lru_cache(maxsize=64)
def _encoded_object(parts: tuple[str, ...]) -> bytes:
    """Return the beginning of a context's encoding: all fields but the entry's name."""
    return _FIELDS.to_bytes(4, "big") + b"".join(with_length(text_bytes(part)) for part in parts)


def context_digest(place: bytes) -> bytes:
    """Return the digest of a context's encoding; unkeyed, because it covers public names only."""
    return hashlib.sha256(place).digest()[:DIGEST_BYTES]
