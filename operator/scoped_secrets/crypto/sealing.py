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

from typing import Final

from scoped_secrets.crypto.encoding import decode_base64url, encode_base64url, length_prefixed
from scoped_secrets.crypto.envelope_header import (
    PREFIX,
    SealedHeader,
    decode_header,
    encode_header,
    header_bytes,
    matches_context,
    padded_bytes,
    parse_header,
    plaintext_bound,
)
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.keys import KeyRing, PublicSealingKey
from scoped_secrets.crypto.padding import pad, unpad
from scoped_secrets.crypto.sealing_context import SealingContext, context_digest
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

_DOMAIN: Final = b"scoped-secrets sealing v1"


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
    header = encode_header(recipient.key_id, context_digest(place), fingerprint)
    envelope = header + recipient.encrypt(pad(value), _info(header, place))
    return PREFIX + encode_base64url(envelope)


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


def _open(text: str, context: SealingContext, keys: KeyRing) -> SecretValue | None:
    """Return the value, or None for every kind of failure; the cheap checks come first."""
    head = header_bytes(text)
    if head is None or padded_bytes(text, len(head)) is None:
        return None
    header = decode_header(head)
    if header is None or not matches_context(header, context):
        return None
    envelope = decode_base64url(text.removeprefix(PREFIX))
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
