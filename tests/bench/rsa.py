"""How Sealed Secrets seals, to compare with: RSA-4096-OAEP with SHA-256 for a session key, AES-256-GCM for the value.

What is measured is the same composition with the same library as ours, so that the figures compare two schemes and not
two languages. Its nonce is constant, because a session key seals one value only.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

_KEY_BITS = 4096
_SESSION_KEY_BYTES = 32
_NONCE = bytes(12)
_LENGTH_BYTES = 2


class RsaSealer:
    """One key pair."""

    def __init__(self) -> None:
        """Generate it, which takes a second or several."""
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        self._public = self._private.public_key()

    def seal(self, value: bytes, label: bytes) -> bytes:
        """Return length and encryption of the session key, and the encrypted value."""
        session = os.urandom(_SESSION_KEY_BYTES)
        wrapped = self._public.encrypt(session, _padding(label))
        return len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + AESGCM(session).encrypt(_NONCE, value, None)

    def open(self, sealed: bytes, label: bytes) -> bytes:
        """Return the value."""
        end = _LENGTH_BYTES + int.from_bytes(sealed[:_LENGTH_BYTES], "big")
        session = self._private.decrypt(sealed[_LENGTH_BYTES:end], _padding(label))
        return AESGCM(session).decrypt(_NONCE, sealed[end:], None)


def _padding(label: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(SHA256()), SHA256(), label)
