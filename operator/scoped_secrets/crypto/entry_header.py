"""The header of a value under a data key (``v2:``), which is read without a key.

`crypto.data_keys` specifies the format; `crypto.envelope_header` says why the header has a module of its own.
"""

from functools import lru_cache
from typing import Final, NamedTuple, NewType

from scoped_secrets.crypto.encoding import decode_base64url
from scoped_secrets.crypto.envelope_header import TAG_BYTES
from scoped_secrets.crypto.fingerprints import FINGERPRINT_BYTES, SALT_BYTES, Fingerprint
from scoped_secrets.crypto.padding import BUCKET, LENGTH_BYTES
from scoped_secrets.errors import SealingError

__all__ = [
    "ENTRY_DIGEST_BYTES",
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
_START: Final = bytes((_VERSION, 0))
_START_WITH_FINGERPRINT: Final = bytes((_VERSION, _HAS_FINGERPRINT))
ID_BYTES: Final = 8
ENTRY_DIGEST_BYTES: Final = 8
NONCE_BYTES: Final = 12
_FLAGS_AT: Final = 1
_ID_AT: Final = 2
_DIGEST_AT: Final = _ID_AT + ID_BYTES
NONCE_AT: Final = _DIGEST_AT + ENTRY_DIGEST_BYTES
FINGERPRINT_AT: Final = NONCE_AT + NONCE_BYTES
_SALT_AT: Final = FINGERPRINT_AT + FINGERPRINT_BYTES
_LONGEST_HEADER: Final = _SALT_AT + SALT_BYTES
# Whole groups of 4 characters that cover the longest header. No text is shorter.
_HEADER_CHARACTERS: Final = -(-_LONGEST_HEADER // 3) * 4
_TEXT_HEADER_CHARACTERS: Final = len(PREFIX) + _HEADER_CHARACTERS
_ID_CHARACTERS: Final = -(-_DIGEST_AT // 3) * 4


class EntryHeader(NamedTuple):
    """What a value under a data key says about itself, without a key.

    Attributes:
        data_key_id: Which data key of the object opens it.
        context_digest: For `sealed_texts.matches_context`.
        mark: Digest and salt of the fingerprint; empty when it was sealed offline.
    """

    data_key_id: DataKeyId
    context_digest: bytes
    mark: bytes

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Return the value's fingerprint, or None when it was sealed offline."""
        return Fingerprint(self.mark[:FINGERPRINT_BYTES], self.mark[FINGERPRINT_BYTES:]) if self.mark else None


def parse_header(text: str) -> EntryHeader:
    """Return the header of a value under a data key, reading only its first 83 characters and its length.

    Raises:
        SealingError: It is not the beginning of such a text.
    """
    return _read_header(text)[0]


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
    return _read_header(text)[1] - LENGTH_BYTES


def _read_header(text: str) -> tuple[EntryHeader, int]:
    """Return the header, and the size of the padded plaintext.

    Raises:
        SealingError: It is not the beginning of a value under a data key.
    """
    found = _decoded_header(text[:_TEXT_HEADER_CHARACTERS], len(text))
    if found is None:
        raise SealingError
    return found


# The rules for one object read the headers of its entries several times.
@lru_cache(maxsize=256)
def _decoded_header(beginning: str, characters: int) -> tuple[EntryHeader, int] | None:
    """Return what `_read_header` returns, or None.

    Args:
        beginning: The beginning of the text with its header.
        characters: The length of the text.
    """
    head = header_bytes(beginning)
    padded = None if head is None else padded_bytes(characters, len(head))
    header = None if head is None else decode_header(head)
    return None if header is None or padded is None else (header, padded)


def encode_header(raw_id: bytes, digest: bytes, nonce: bytes, fingerprint: Fingerprint | None) -> bytes:
    """Return the header that `crypto.data_keys` specifies."""
    if fingerprint is None:
        return b"".join((_START, raw_id, digest, nonce))
    if not fingerprint.salt:
        raise ValueError("a value under a data key has a fingerprint with a salt, or none")
    return b"".join((_START_WITH_FINGERPRINT, raw_id, digest, nonce, fingerprint.digest, fingerprint.salt))


def decode_header(header: bytes) -> EntryHeader | None:
    """Return the header's fields, or None when version or flags are not those that `encode_header` writes."""
    if not _is_header(header):
        return None
    return EntryHeader(
        DataKeyId(header[_ID_AT:_DIGEST_AT].hex()),
        header[_DIGEST_AT:NONCE_AT],
        header[FINGERPRINT_AT:],
    )


def _is_header(header: bytes) -> bool:
    return header[0] == _VERSION and header[_FLAGS_AT] in (0, _HAS_FINGERPRINT)


def header_bytes(text: str) -> bytes | None:
    """Return the bytes of the header, without decoding what follows; None when the text does not begin with one."""
    if not text.startswith(PREFIX):
        return None
    start = len(PREFIX)
    head = decode_base64url(text[start : start + _HEADER_CHARACTERS])
    if head is None or len(head) < _LONGEST_HEADER:
        return None
    return head[: _LONGEST_HEADER if head[_FLAGS_AT] & _HAS_FINGERPRINT else FINGERPRINT_AT]


def padded_bytes(characters: int, header_bytes: int) -> int | None:
    """Return the size of the padded plaintext by the text's length alone, or None when no sealed text is so long."""
    groups, rest = divmod(characters - len(PREFIX), 4)
    # Without padding characters, 2 left over are one byte, 3 are two, and 1 can not be.
    if rest == 1:
        return None
    padded = groups * 3 + max(rest - 1, 0) - header_bytes - TAG_BYTES
    return padded if padded >= BUCKET and padded % BUCKET == 0 else None
