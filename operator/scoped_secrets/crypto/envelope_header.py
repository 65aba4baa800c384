"""The header of an envelope, a self-contained sealed text (``v1:``), which is read without a key.

`crypto.sealing` specifies the format. Commands that only read headers do not import `cryptography`, which takes longer
than the rest of them.
"""

import hmac
import struct
from typing import Final, NewType

from scoped_secrets.crypto.encoding import decode_base64url
from scoped_secrets.crypto.fingerprints import FINGERPRINT_BYTES, SALT_BYTES, Fingerprint
from scoped_secrets.crypto.padding import BUCKET, LENGTH_BYTES
from scoped_secrets.crypto.sealing_context import DIGEST_BYTES, SealingContext, context_digest
from scoped_secrets.errors import SealingError
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = [
    "ENCAPSULATION_BYTES",
    "KEM_ID",
    "KEY_ID_BYTES",
    "PREFIX",
    "SUITE_IDS",
    "TAG_BYTES",
    "KeyId",
    "SealedHeader",
    "decode_header",
    "encode_header",
    "header_bytes",
    "matches_context",
    "padded_bytes",
    "parse_header",
    "plaintext_bound",
]

KeyId = NewType("KeyId", str)
"""The first 8 bytes of SHA-256 over the public key, as 16 hex digits."""

KEY_ID_BYTES: Final = 8
# RFC 9180 section 7 and the IANA registry: X-Wing, HKDF-SHA256, AES-256-GCM.
KEM_ID: Final = 0x647A
SUITE_IDS: Final = struct.pack(">HHH", KEM_ID, 0x0001, 0x0002)
ENCAPSULATION_BYTES: Final = 1120
TAG_BYTES: Final = 16

PREFIX: Final = "v1:"
_VERSION: Final = 1
_HAS_FINGERPRINT: Final = 1
_HAS_SALT: Final = 2
_KEY_ID_AT: Final = 1 + len(SUITE_IDS)
_FLAGS_AT: Final = _KEY_ID_AT + KEY_ID_BYTES
_DIGEST_AT: Final = _FLAGS_AT + 1
_FINGERPRINT_AT: Final = _DIGEST_AT + DIGEST_BYTES
_SALT_AT: Final = _FINGERPRINT_AT + FINGERPRINT_BYTES
_LONGEST_HEADER: Final = _SALT_AT + SALT_BYTES
_OVERHEAD: Final = ENCAPSULATION_BYTES + TAG_BYTES


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


def parse_header(text: str) -> SealedHeader:
    """Return the header of a sealed text, reading only its first 83 characters and its length.

    Raises:
        SealingError: It is not the beginning of a sealed text of this version.
    """
    head = header_bytes(text)
    header = None if head is None or padded_bytes(text, len(head)) is None else decode_header(head)
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
    head = header_bytes(text)
    padded = None if head is None else padded_bytes(text, len(head))
    if padded is None:
        raise SealingError
    return padded - LENGTH_BYTES


def encode_header(key_id: KeyId, digest: bytes, fingerprint: Fingerprint | None) -> bytes:
    """Return the header that `crypto.sealing` specifies."""
    flags, mark = 0, bytes(FINGERPRINT_BYTES)
    if fingerprint is not None:
        flags = _HAS_FINGERPRINT | (_HAS_SALT if fingerprint.salt else 0)
        mark = fingerprint.digest + fingerprint.salt
    start = bytes([_VERSION]) + SUITE_IDS + bytes.fromhex(key_id) + bytes([flags])
    return start + digest + mark


def decode_header(header: bytes) -> SealedHeader | None:
    """Return the header's fields, or None when it is not exactly one that `encode_header` writes."""
    flagged = header[_FLAGS_AT] & _HAS_FINGERPRINT
    decoded = SealedHeader(
        KeyId(header[_KEY_ID_AT:_FLAGS_AT].hex()),
        header[_DIGEST_AT:_FINGERPRINT_AT],
        Fingerprint(header[_FINGERPRINT_AT:_SALT_AT], header[_SALT_AT:]) if flagged else None,
    )
    # Encoding it again checks version, suite, unknown flags and unused bytes in one comparison.
    again = encode_header(decoded.key_id, decoded.context_digest, decoded.fingerprint)
    return decoded if again == header else None


def header_bytes(text: str) -> bytes | None:
    """Return the bytes of the header, without decoding what follows; None when the text does not begin with one."""
    if not text.startswith(PREFIX):
        return None
    start = len(PREFIX)
    head = decode_base64url(text[start : start + _LONGEST_HEADER // 3 * 4])
    if head is None or len(head) < _LONGEST_HEADER:
        return None
    return head if head[_FLAGS_AT] & _HAS_SALT else head[:_SALT_AT]


def padded_bytes(text: str, header_bytes: int) -> int | None:
    """Return the size of the padded plaintext by the text's length alone, or None when no sealed text is so long."""
    groups, rest = divmod(len(text) - len(PREFIX), 4)
    # Without padding characters, 2 left over are one byte, 3 are two, and 1 can not be.
    if rest == 1:
        return None
    padded = groups * 3 + max(rest - 1, 0) - header_bytes - _OVERHEAD
    return padded if padded >= BUCKET and padded % BUCKET == 0 else None
