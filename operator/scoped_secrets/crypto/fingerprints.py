"""Keyed fingerprints: whether two values are equal, without either (DESIGN section 7)."""

import base64
import hmac
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Never, Self, final

from scoped_secrets.crypto.encoding import (
    KeyMaterialError,
    armor,
    length_bytes,
    length_prefixed,
    text_bytes,
    unarmor,
    with_length,
)
from scoped_secrets.crypto.values import SecretValue

__all__ = [
    "FINGERPRINT_BYTES",
    "SALT_BYTES",
    "Fingerprint",
    "FingerprintKey",
    "bundle_name_tag",
    "fingerprint",
    "new_salt",
    "verify_bundle_name_tag",
]

FINGERPRINT_BYTES: Final = 16
SALT_BYTES: Final = 12
_SHORT_DIGITS: Final = 10
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 10
_LABEL: Final = "SCOPED SECRETS FINGERPRINT KEY"
# One key, two purposes: a domain string of its own keeps each from being used as the other.
_VALUE_DOMAIN: Final = b"scoped-secrets fingerprint v2"
_UNSALTED_VALUE_DOMAIN: Final = b"scoped-secrets fingerprint v1"
# The beginnings of the encodings that are hashed: the number of all parts, and the domain.
_SALTED_START: Final = (7).to_bytes(4, "big") + with_length(_VALUE_DOMAIN)
_UNSALTED_START: Final = (6).to_bytes(4, "big") + with_length(_UNSALTED_VALUE_DOMAIN)
_BUNDLE_DOMAIN: Final = b"scoped-secrets bundle name v1"


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """128 bits that are equal for equal values of one entry of one object, under one key and one salt.

    Each sealing takes a new salt, so that only the holder of the key can tell whether a value has a fingerprint: two
    fingerprints, such as a stored one and one that admission makes for a guess, cannot be compared.

    Attributes:
        digest: The 128 bits.
        salt: 96 random bits; empty in texts of versions that did not have it.
    """

    digest: bytes
    salt: bytes = b""

    def __post_init__(self) -> None:
        """Refuse another size: comparison and the sealed header rely on it."""
        if len(self.digest) != FINGERPRINT_BYTES:
            raise ValueError("a fingerprint has 16 bytes")
        if len(self.salt) not in (0, SALT_BYTES):
            raise ValueError("a salt has 12 bytes")

    def short(self) -> str:
        """Return the first 10 hex digits: what people see."""
        return self.digest.hex()[:_SHORT_DIGITS]

    def __repr__(self) -> str:
        """Return the short form only."""
        return f"Fingerprint({self.short()})"

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        if not isinstance(other, Fingerprint):
            return NotImplemented
        return hmac.compare_digest(self.digest + self.salt, other.digest + other.salt)

    def __hash__(self) -> int:
        """Allow sets of fingerprints: unlike the value, a fingerprint is no secret."""
        return hash((self.digest, self.salt))


@final
class FingerprintKey:
    """The cluster's key for fingerprints: 32 random bytes that nothing shows."""

    __slots__ = ("__weakref__", "_keyed", "_secret")

    def __init__(self, secret: bytes) -> None:
        """Take the key's bytes; raise KeyMaterialError when they are not 32."""
        if len(secret) != _KEY_BYTES:
            raise KeyMaterialError("the fingerprint key is damaged; restore it or generate a new one")
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        self._secret = secret
        # To copy the keyed state takes less than to make it for each digest, and half of what it takes with `hmac`.
        self._keyed = primitives.HMAC(secret, primitives.SHA256())

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the operating system's randomness."""
        return cls(os.urandom(_KEY_BYTES))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the one key in data; raise KeyMaterialError when it is damaged or not alone."""
        payloads = unarmor(_LABEL, data)
        if len(payloads) != 1:
            raise KeyMaterialError("there are several fingerprint keys here; give exactly one")
        return cls(payloads[0])

    @classmethod
    def parse_all(cls, data: bytes) -> tuple[Self, ...]:
        """Return the keys in data, at least one, in their order; raise KeyMaterialError when one is damaged."""
        return tuple(cls(payload) for payload in unarmor(_LABEL, data))

    def serialize(self) -> bytes:
        """Return the key as a text block for the operator's own Secret: this reveals it."""
        return armor(_LABEL, self._secret)

    def digest(self, domain: bytes, *parts: bytes) -> bytes:
        """Return HMAC-SHA-256 over an unambiguous encoding of domain and parts."""
        return self.digest_of(length_prefixed(domain, *parts))

    def digest_of(self, encoded: bytes) -> bytes:
        """Return HMAC-SHA-256 over what `length_prefixed` returns for a domain and its parts."""
        state = self._keyed.copy()
        state.update(encoded)
        return state.finalize()

    def __repr__(self) -> str:
        """Return a constant."""
        return "FingerprintKey(redacted)"

    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError("a FingerprintKey is neither pickled nor copied")


def new_salt() -> bytes:
    """Return a salt from the operating system's randomness, for a fingerprint that will be stored."""
    return os.urandom(SALT_BYTES)


def fingerprint(
    key: FingerprintKey,
    namespace: str,
    object_name: str,
    entry_kind: str,
    entry_name: str,
    value: SecretValue,
    salt: bytes,
) -> Fingerprint:
    """Return the fingerprint of a value in its place.

    The place is part of it, so that equal values of two objects or entries can not be told by their fingerprints.

    Args:
        key: The cluster's key.
        namespace: Namespace of the object.
        object_name: Name of the object.
        entry_kind: ``env`` or ``file``.
        entry_name: The variable's name or the file's path, as written.
        value: What is fingerprinted.
        salt: A new one, or that of the fingerprint to compare with; empty for a fingerprint without one, which only
            former versions stored.
    """
    place, name, content = _encoded_object(namespace, object_name, entry_kind), text_bytes(entry_name), value.reveal()
    ending = place, length_bytes(len(name)), name, length_bytes(len(content)), content
    start = (_SALTED_START, length_bytes(len(salt)), salt) if salt else (_UNSALTED_START,)
    return Fingerprint(key.digest_of(b"".join((*start, *ending)))[:FINGERPRINT_BYTES], salt)


# What is equal for all entries of an object is encoded once for many of them.
@lru_cache(maxsize=64)
def _encoded_object(namespace: str, object_name: str, entry_kind: str) -> bytes:
    """Return the part of the encoding that names the object and the kind of the entry."""
    return b"".join(with_length(text_bytes(part)) for part in (namespace, object_name, entry_kind))


def bundle_name_tag(key: FingerprintKey, namespace: str, identity: str, nonce: str) -> str:
    """Return 16 lower-case base32 characters that bind the name of a bundle Secret to the pod it was made for.

    Args:
        key: The cluster's key.
        namespace: The pod's namespace.
        identity: What the pod is, as admission knows it before the pod has a UID.
        nonce: What tells pods of one identity apart.
    """
    digest = key.digest(_BUNDLE_DOMAIN, *(text_bytes(part) for part in (namespace, identity, nonce)))
    return base64.b32encode(digest[:_TAG_BYTES]).decode("ascii").lower()


def verify_bundle_name_tag(key: FingerprintKey, namespace: str, identity: str, nonce: str, tag: str) -> bool:
    """Return whether the tag was made with this key for exactly this pod, in constant time."""
    expected = bundle_name_tag(key, namespace, identity, nonce)
    return hmac.compare_digest(text_bytes(expected), text_bytes(tag))
