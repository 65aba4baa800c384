"""The place of a value, in which alone its sealed text opens (DESIGN section 7)."""

import hashlib
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Final

from scoped_secrets.crypto.encoding import length_prefixed, text_bytes
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["DIGEST_BYTES", "SealingContext", "context_digest"]

DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class SealingContext:
    """The place of a value: a text that is sealed for one place cannot be unsealed in another.

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
        return SealingContext(
            self.cluster_id,
            self.group,
            self.kind,
            self.namespace,
            self.name,
            self.organization,
            self.scope,
            self.project,
            self.environment,
            entry_kind,
            entry_name,
        )

    def encode(self) -> bytes:
        """Return the canonical encoding: the fields in their order above, each after its length."""
        place = _encoded_object(_OBJECT(self))
        kind, name = text_bytes(self.entry_kind), text_bytes(self.entry_name)
        return b"".join((place, len(kind).to_bytes(4, "big"), kind, len(name).to_bytes(4, "big"), name))


_FIELDS: Final = tuple(field.name for field in fields(SealingContext))
# Not astuple, which copies each field and takes longer than to seal a value.
_OBJECT: Final[Callable[[SealingContext], tuple[str, ...]]] = attrgetter(*_FIELDS[:-2])


# An object has up to 150 entries, so that the part of the object is encoded once for many of them.
@lru_cache(maxsize=64)
def _encoded_object(parts: tuple[str, ...]) -> bytes:
    """Return the beginning of a context's encoding: all fields but those of the entry."""
    encoded = length_prefixed(*(text_bytes(part) for part in parts))
    return len(_FIELDS).to_bytes(4, "big") + encoded[4:]


def context_digest(place: bytes) -> bytes:
    """Return the digest of a context's encoding; unkeyed, because it covers public names only."""
    return hashlib.sha256(place).digest()[:DIGEST_BYTES]
