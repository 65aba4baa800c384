"""The sealed text: one value, encrypted for the operator, bound to its place (DESIGN section 7).

The format is final: texts live in Git for years. ``v1:`` is followed by unpadded base64url of

    offset  size
         0     1  format version, 1
         1     6  HPKE suite: KEM, KDF and AEAD ids of RFC 9180, 16 bits each, big endian
         7     8  key id: the first bytes of SHA-256 over the recipient's public key
        15     1  flags; bit 0: the text carries a fingerprint; bit 1: with a salt; all others 0
        16    16  context digest: the first bytes of SHA-256 over the context's encoding
        32    16  fingerprint; all zero when it was sealed without the fingerprint key, which is offline
        48    12  salt of the fingerprint; only with bit 1
        48  1120  HPKE encapsulated key; 12 bytes later with bit 1
      1168   64n  ciphertext, followed by a tag of 16 bytes; 12 bytes later with bit 1

and HPKE's ``info`` is the length-prefixed encoding of a domain string, the header (all bytes before the encapsulated
key) and the context's encoding, so that a change of any of them makes the text unreadable. The plaintext is the length
of the value (32 bits, big endian), the value, and zeros up to a multiple of 64: a length tells little about a password.

Former versions stored fingerprints without a salt. Such a fingerprint is the same in every text with the same value, so
admission makes none any more: a reader of two of them can compare their values.

The header is 48 or 60 bytes, 64 or 80 characters, so that it can be read without decoding the rest. Its fingerprint and
key id are unverified until the text is unsealed: they may save work, but prove nothing.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from scoped_secrets.crypto.encoding import decode_base64url, encode_base64url, length_prefixed, text_bytes, with_length
from scoped_secrets.crypto.fingerprints import FINGERPRINT_BYTES, SALT_BYTES, Fingerprint
from scoped_secrets.crypto.keys import (
    ENCAPSULATION_BYTES,
    KEY_ID_BYTES,
    SUITE_IDS,
    TAG_BYTES,
    KeyId,
    KeyRing,
    PublicSealingKey,
)
from scoped_secrets.crypto.padding import BUCKET, LENGTH_BYTES, pad, unpad
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

__all__ = [
    "SealedHeader",
    "SealingContext",
    "context_digest",
    "matches_context",
    "parse_header",
    "plaintext_bound",
    "seal",
    "unseal",
]

_PREFIX: Final = "v1:"
_VERSION: Final = 1
_DOMAIN: Final = b"scoped-secrets sealing v1"
_HAS_FINGERPRINT: Final = 1
_HAS_SALT: Final = 2
_DIGEST_BYTES: Final = 16
_KEY_ID_AT: Final = 1 + len(SUITE_IDS)
_FLAGS_AT: Final = _KEY_ID_AT + KEY_ID_BYTES
_DIGEST_AT: Final = _FLAGS_AT + 1
_FINGERPRINT_AT: Final = _DIGEST_AT + _DIGEST_BYTES
_SALT_AT: Final = _FINGERPRINT_AT + FINGERPRINT_BYTES
_LONGEST_HEADER: Final = _SALT_AT + SALT_BYTES
_OVERHEAD: Final = ENCAPSULATION_BYTES + TAG_BYTES


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
        return _encoded_object(self[: _OBJECT_FIELDS + 1]) + with_length(text_bytes(self.entry_name))


_FIELDS: Final = len(SealingContext._fields)
# How many fields the entries of an object have in common.
_OBJECT_FIELDS: Final = _FIELDS - 2


# An object has up to 150 entries, so that the part of the object is encoded once for many of them.
@lru_cache(maxsize=64)
def _encoded_object(parts: tuple[str, ...]) -> bytes:
    """Return the beginning of a context's encoding: all fields but the entry's name."""
    return _FIELDS.to_bytes(4, "big") + b"".join(with_length(text_bytes(part)) for part in parts)


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """What a sealed text says about itself, without a key.

    Attributes:
        key_id: Which private key opens it.
        context_digest: For `matches_context`.
        fingerprint: The value's, or None when it was sealed offline.
    """

    key_id: KeyId
    context_digest: bytes
    fingerprint: Fingerprint | None


def seal(
    value: SecretValue,
    context: SealingContext,
    recipient: PublicSealingKey,
    fingerprint: Fingerprint | None,
) -> str:
    """Return value as a text that only the holder of the recipient's private key opens, and only for this context.

    Two calls never return the same text. Without a fingerprint (sealed offline) the admission process cannot tell
    that two texts hold the same value.
    """
    place = context.encode()
    header = _encode_header(recipient.key_id, context_digest(place), fingerprint)
    envelope = header + recipient.encrypt(pad(value), _info(header, place))
    return _PREFIX + encode_base64url(envelope)


def unseal(text: str, context: SealingContext, keys: KeyRing) -> SecretValue:
    """Return the value of a sealed text.

    Raises:
        SealingError: It cannot be unsealed; the error does not say whether text, context or key is wrong.
    """
    value = _open(text, context, keys)
    # Raised here, where no local variable holds any part of a plaintext.
    if value is None:
        raise SealingError
    return value


def parse_header(text: str) -> SealedHeader:
    """Return the header of a sealed text, reading only its first 83 characters and its length.

    Raises:
        SealingError: It is not the beginning of a sealed text of this version.
    """
    head = _header_bytes(text)
    header = None if head is None or _padded_bytes(text, len(head)) is None else _decode_header(head)
    if header is None:
        raise SealingError
    return header


def matches_context(header: SealedHeader, context: SealingContext) -> bool:
    """Return whether the text says that it was sealed for this context.

    A forged header may say so; then the text does not open. False is certain: it can not open here.
    """
    return hmac.compare_digest(header.context_digest, context_digest(context.encode()))


def plaintext_bound(text: str) -> int:
    """Return the largest size in bytes that the value can have; the real one is at most 63 bytes smaller.

    Raises:
        SealingError: It is not the beginning of a sealed text of this version.
    """
    parse_header(text)
    head = _header_bytes(text)
    padded = None if head is None else _padded_bytes(text, len(head))
    if padded is None:
        raise SealingError
    return padded - LENGTH_BYTES


def _open(text: str, context: SealingContext, keys: KeyRing) -> SecretValue | None:
    """Return the value, or None for every kind of failure; the cheap checks come first."""
    head = _header_bytes(text)
    if head is None or _padded_bytes(text, len(head)) is None:
        return None
    header = _decode_header(head)
    if header is None or not matches_context(header, context):
        return None
    envelope = decode_base64url(text.removeprefix(_PREFIX))
    if envelope is None:
        return None
    body = envelope[len(head) :]
    # The key is chosen by its id. Trying all of them would cost one decapsulation per old key.
    key = keys.get(header.key_id)
    if key is None:
        return None
    padded = key.decrypt(body, _info(head, context.encode()))
    return None if padded is None else unpad(padded)


def _info(header: bytes, place: bytes) -> bytes:
    """Return what HPKE binds the ciphertext to."""
    return length_prefixed(_DOMAIN, header, place)


def context_digest(place: bytes) -> bytes:
    """Return the digest of a context's encoding; unkeyed, because it covers public names only."""
    return hashlib.sha256(place).digest()[:_DIGEST_BYTES]


def _encode_header(key_id: KeyId, digest: bytes, fingerprint: Fingerprint | None) -> bytes:
    """Return the header of the module docstring."""
    flags, mark = 0, bytes(FINGERPRINT_BYTES)
    if fingerprint is not None:
        flags = _HAS_FINGERPRINT | (_HAS_SALT if fingerprint.salt else 0)
        mark = fingerprint.digest + fingerprint.salt
    start = bytes([_VERSION]) + SUITE_IDS + bytes.fromhex(key_id) + bytes([flags])
    return start + digest + mark


def _decode_header(header: bytes) -> SealedHeader | None:
    """Return the header's fields, or None when it is not exactly one that `_encode_header` writes."""
    flagged = header[_FLAGS_AT] & _HAS_FINGERPRINT
    decoded = SealedHeader(
        KeyId(header[_KEY_ID_AT:_FLAGS_AT].hex()),
        header[_DIGEST_AT:_FINGERPRINT_AT],
        Fingerprint(header[_FINGERPRINT_AT:_SALT_AT], header[_SALT_AT:]) if flagged else None,
    )
    # Encoding it again checks version, suite, unknown flags and unused bytes in one comparison.
    again = _encode_header(decoded.key_id, decoded.context_digest, decoded.fingerprint)
    return decoded if again == header else None


def _header_bytes(text: str) -> bytes | None:
    """Return the bytes of the header, without decoding what follows; None when the text does not begin with one."""
    if not text.startswith(_PREFIX):
        return None
    start = len(_PREFIX)
    head = decode_base64url(text[start : start + _LONGEST_HEADER // 3 * 4])
    if head is None or len(head) < _LONGEST_HEADER:
        return None
    return head if head[_FLAGS_AT] & _HAS_SALT else head[:_SALT_AT]


def _padded_bytes(text: str, header_bytes: int) -> int | None:
    """Return the size of the padded plaintext by the text's length alone, or None when no sealed text is so long."""
    groups, rest = divmod(len(text) - len(_PREFIX), 4)
    # Without padding characters, 2 left over are one byte, 3 are two, and 1 can not be.
    if rest == 1:
        return None
    padded = groups * 3 + max(rest - 1, 0) - header_bytes - _OVERHEAD
    return padded if padded >= BUCKET and padded % BUCKET == 0 else None
