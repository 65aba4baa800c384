"""The padding of values: their length tells little about a password (DESIGN section 7).

A padded value is its length (32 bits, big endian), the value, and zeros up to a multiple of 64 bytes.
"""

import hmac
from typing import Final

from scoped_secrets.crypto.encoding import length_bytes
from scoped_secrets.crypto.values import SecretValue

__all__ = ["BUCKET", "LENGTH_BYTES", "pad", "padded_bound", "unpad"]

BUCKET: Final = 64
LENGTH_BYTES: Final = 4


def pad(value: SecretValue) -> bytes:
    """Return length, value and zeros, a whole number of buckets long."""
    content = value.reveal()
    framed = length_bytes(len(content)) + content
    return framed + bytes(-len(framed) % BUCKET)


def unpad(padded: bytes) -> SecretValue | None:
    """Return the value, or None when the padding is not exactly what `pad` writes."""
    size = int.from_bytes(padded[:LENGTH_BYTES], "big")
    value = SecretValue(padded[LENGTH_BYTES : LENGTH_BYTES + size])
    return value if hmac.compare_digest(pad(value), padded) else None


def padded_bound(size: int) -> int:
    """Return the largest size in bytes that a value with the padding of a value of this size can have."""
    framed = LENGTH_BYTES + size
    return framed + -framed % BUCKET - LENGTH_BYTES
