"""The header of a value under a data key (``v2:``), which is read without a key.

`crypto.data_keys` specifies the format; `crypto.envelope_header` says why the header has a module of its own.
"""

from functools import lru_cache
from typing import Final, NewType

from scoped_secrets.crypto.encoding import decode_base64url
from scoped_secrets.crypto.envelope_header import TAG_BYTES
from scoped_secrets.crypto.fingerprints import FINGERPRINT_BYTES, SALT_BYTES, Fingerprint
from scoped_secrets.crypto.padding import BUCKET, LENGTH_BYTES
from scoped_secrets.errors import SealingError
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = [
    "DIGEST_BYTES",
    "FINGERPRINT_AT",
    "ID_BYTES",
    "NONCE_AT",
    "NONCE_BYTES",
    "PREFIX",
    "DataKeyId",
    "EntryHeader",
    "decode_header",
    "encode_header",
    "header_bytes",
    "named_data_key",
    "padded_bytes",
    "parse_header",
    "plaintext_bound",
]

DataKeyId = NewType("DataKeyId", str)
"""8 random bytes as 16 hexadecimal digits."""

PREFIX: Final = "v2:"
_VERSION: Final = 2
_HAS_FINGERPRINT: Final = 1
ID_BYTES: Final = 8
DIGEST_BYTES: Final = 8
NONCE_BYTES: Final = 12
_FLAGS_AT: Final = 1
_ID_AT: Final = 2
_DIGEST_AT: Final = _ID_AT + ID_BYTES
NONCE_AT: Final = _DIGEST_AT + DIGEST_BYTES
FINGERPRINT_AT: Final = NONCE_AT + NONCE_BYTES
_SALT_AT: Final = FINGERPRINT_AT + FINGERPRINT_BYTES
_LONGEST_HEADER: Final = _SALT_AT + SALT_BYTES
# Whole groups of 4 characters that cover the longest header. No text is shorter.
_HEADER_CHARACTERS: Final = -(-_LONGEST_HEADER // 3) * 4
_ID_CHARACTERS: Final = -(-_DIGEST_AT // 3) * 4


@dataclass(frozen=True, slots=True)
class EntryHeader:
    """What a value under a data key says about itself, without a key.

    Attributes:
        data_key_id: Which data key of the object opens it.
        context_digest: For `sealed_texts.matches_context`.
        fingerprint: The value's, or None when it was sealed offline.
    """

    data_key_id: DataKeyId
    context_digest: bytes
    fingerprint: Fingerprint | None


def parse_header(text: str) -> EntryHeader:
    """Return the header of a value under a data key, reading only its first 83 characters and its length.

    Raises:
        SealingError: It is not the beginning of such a text.
    """
    head = header_bytes(text)
    header = None if head is None or padded_bytes(text, len(head)) is None else decode_header(head)
    if header is None:
        raise SealingError
    return header


def named_data_key(text: str) -> DataKeyId | None:
    """Return the id of the data key that a text names, from its first characters; None for every other text."""
    if not text.startswith(PREFIX):
        return None
    start = len(PREFIX)
    head = decode_base64url(text[start : start + _ID_CHARACTERS])
    return None if head is None or len(head) < _DIGEST_AT else DataKeyId(head[_ID_AT:_DIGEST_AT].hex())


def plaintext_bound(text: str) -> int:
    """Return the largest size in bytes that the value can have; the real one is at most 63 bytes smaller.

    Raises:
        SealingError: It is not the beginning of a value under a data key.
    """
    head = header_bytes(text)
    padded = None if head is None or not _is_header(head) else padded_bytes(text, len(head))
    if padded is None:
        raise SealingError
    return padded - LENGTH_BYTES


def encode_header(data_key_id: DataKeyId, digest: bytes, nonce: bytes, fingerprint: Fingerprint | None) -> bytes:
    """Return the header of the module docstring."""
    flags, mark = 0, b""
    if fingerprint is not None:
        if not fingerprint.salt:
            raise ValueError("a value under a data key has a fingerprint with a salt, or none")
        flags, mark = _HAS_FINGERPRINT, fingerprint.digest + fingerprint.salt
    return bytes([_VERSION, flags]) + bytes.fromhex(data_key_id) + digest + nonce + mark


def decode_header(header: bytes) -> EntryHeader | None:
    """Return the header's fields, or None when version or flags are not those that `encode_header` writes."""
    if not _is_header(header):
        return None
    return EntryHeader(
        DataKeyId(header[_ID_AT:_DIGEST_AT].hex()),
        header[_DIGEST_AT:NONCE_AT],
        Fingerprint(header[FINGERPRINT_AT:_SALT_AT], header[_SALT_AT:]) if header[_FLAGS_AT] else None,
    )


def _is_header(header: bytes) -> bool:
    return header[0] == _VERSION and header[_FLAGS_AT] in (0, _HAS_FINGERPRINT)


def header_bytes(text: str) -> bytes | None:
    """Return the bytes of the header, without decoding what follows; None when the text does not begin with one."""
    if not text.startswith(PREFIX):
        return None
    start = len(PREFIX)
    head = _decoded(text[start : start + _HEADER_CHARACTERS])
    if head is None or len(head) < _LONGEST_HEADER:
        return None
    return head[: _LONGEST_HEADER if head[_FLAGS_AT] & _HAS_FINGERPRINT else FINGERPRINT_AT]


# The rules for one object read the headers of its entries several times.
@lru_cache(maxsize=256)
def _decoded(head: str) -> bytes | None:
    return decode_base64url(head)


def padded_bytes(text: str, header_bytes: int) -> int | None:
    """Return the size of the padded plaintext by the text's length alone, or None when no sealed text is so long."""
    groups, rest = divmod(len(text) - len(PREFIX), 4)
    # Without padding characters, 2 left over are one byte, 3 are two, and 1 can not be.
    if rest == 1:
        return None
    padded = groups * 3 + max(rest - 1, 0) - header_bytes - TAG_BYTES
    return padded if padded >= BUCKET and padded % BUCKET == 0 else None
