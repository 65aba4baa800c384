"""Data keys: one AES-256 key per write of an object, and the values under it (DESIGN section 7).

A *data key* is 32 random bytes with a random id of 8 bytes. Its own text is the envelope of `crypto.sealing` (``v1:``),
sealed without a fingerprint for the context that has the object's place, the entry kind ``dataKey`` and the id in
hexadecimal as entry name. No entry has this kind, so that a data key never opens as a value, nor a value as a data key.

A *value* under it is ``v2:``, followed by unpadded base64url of

    offset  size
         0     1  format version, 2
         1     1  flags; bit 0: the text carries a fingerprint; all others 0
         2     8  data key id
        10     8  context digest: the first bytes of SHA-256 over the context's encoding
        18    12  nonce, random
        30    16  fingerprint; only with bit 0
        46    12  salt of the fingerprint; only with bit 0
        30   64n  ciphertext of AES-256-GCM, followed by a tag of 16 bytes; 28 bytes later with bit 0

and the associated data are the length-prefixed encoding of a domain string, the header (all bytes before the
ciphertext) and the encoding of the entry's context, which names the object's place and the entry's. The plaintext is
padded as `crypto.padding` says. A value of up to 60 bytes is a text of 187 characters, or of 150 without a fingerprint.

Nonces are random, which is sound because a data key seals one write and no other: `NewDataKey` seals at most 150 values
(what an object can hold) and is then dropped; what is opened later is an `OpenedDataKey`, which cannot seal. Two of 150
nonces of 96 bits are equal with a probability below 2^-82. AES-GCM alone does not commit to its key, so a person who
seals can make one ciphertext that opens under two keys, to values that this person chose both; the id in the associated
data, and one data key per id in an object, leave nothing to gain from it.

The header's claims are unverified until the text is unsealed, as those of the envelope are.
"""

import hmac
import os
from contextlib import suppress
from typing import Final, Never, final

from scoped_secrets.crypto.encoding import decode_base64url, encode_base64url, length_bytes, with_length
from scoped_secrets.crypto.entry_header import (
    ENTRY_DIGEST_BYTES,
    FINGERPRINT_AT,
    ID_BYTES,
    NONCE_AT,
    NONCE_BYTES,
    PREFIX,
    DataKeyId,
    EntryHeader,
    decode_header,
    encode_header,
    header_bytes,
    named_data_key,
    padded_bytes,
    parse_header,
    plaintext_bound,
)
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.keys import KeyRing, PublicSealingKey
from scoped_secrets.crypto.padding import pad, unpad
from scoped_secrets.crypto.randomness import random_parts
from scoped_secrets.crypto.sealing import seal, unseal
from scoped_secrets.crypto.sealing_context import SealingContext, context_digest
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

__all__ = [
    "DATA_KEY_CONTEXT_WORD",
    "MAX_VALUES",
    "PREFIX",
    "DataKeyId",
    "EntryHeader",
    "NewDataKey",
    "OpenedDataKey",
    "data_key_context",
    "named_data_key",
    "open_data_key",
    "parse_header",
    "plaintext_bound",
]

DATA_KEY_CONTEXT_WORD: Final = "dataKey"
"""The entry kind in the contexts of data keys; part of the wire format."""

MAX_VALUES: Final = 150
"""How many values one data key seals: as many as an object can hold."""

_DOMAIN: Final = b"scoped-secrets value under a data key v2"
# The beginning of the length-prefixed encoding of domain, header and context.
_ASSOCIATED_START: Final = (3).to_bytes(4, "big") + with_length(_DOMAIN)
_KEY_BYTES: Final = 32


class _Unshowable:
    """The base of both data keys: nothing shows, copies or pickles one."""

    __slots__ = ("_secret", "data_key_id")

    _secret: SecretValue
    data_key_id: DataKeyId

    def sealed(self, place: SealingContext, recipient: PublicSealingKey) -> str:
        """Return the data key, sealed for an object and the holder of the recipient's private key.

        Args:
            place: The context of any entry of the object.
            recipient: The sealing key.
        """
        return seal(self._secret, data_key_context(place, self.data_key_id), recipient, None)

    def __repr__(self) -> str:
        """Return the id."""
        return f"{type(self).__name__}({self.data_key_id})"

    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError(f"a {type(self).__name__} is neither pickled nor copied")


@final
class NewDataKey(_Unshowable):
    """A data key that was just made, which seals the values of one write."""

    __slots__ = ("_cipher", "_nonces", "_raw_id")

    def __init__(self) -> None:
        """Make a data key from the operating system's randomness."""
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        self._secret = SecretValue(os.urandom(_KEY_BYTES))
        self._raw_id = os.urandom(ID_BYTES)
        self.data_key_id = DataKeyId(self._raw_id.hex())
        self._cipher = primitives.AESGCM(self._secret.reveal())
        self._nonces = random_parts(NONCE_BYTES, MAX_VALUES)

    def seal(self, value: SecretValue, context: SealingContext, fingerprint: Fingerprint | None) -> str:
        """Return value as a text that opens with this data key only, and only for this context.

        Without a fingerprint (sealed offline) admission cannot tell that two texts hold the same value.

        Raises:
            ValueError: The fingerprint has no salt, or the data key has sealed as many values as it may.
        """
        nonce = next(self._nonces, None)
        if nonce is None:
            raise ValueError(f"a data key seals at most {MAX_VALUES} values; make another one")
        place = context.encode()
        header = encode_header(self._raw_id, context_digest(place)[:ENTRY_DIGEST_BYTES], nonce, fingerprint)
        ciphertext = self._cipher.encrypt(nonce, pad(value), _associated(header, place))
        return PREFIX + encode_base64url(header + ciphertext)


@final
class OpenedDataKey(_Unshowable):
    """A data key that was unsealed. It opens values and seals none, so that no data key seals in two writes."""

    __slots__ = ("_cipher",)

    def __init__(self, data_key_id: DataKeyId, secret: SecretValue) -> None:
        """Take the id and the key's bytes.

        Raises:
            SealingError: The bytes are no data key.
        """
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        if secret.size != _KEY_BYTES:
            raise SealingError
        self._secret = secret
        self.data_key_id = data_key_id
        self._cipher = primitives.AESGCM(secret.reveal())

    def unseal(self, text: str, context: SealingContext) -> SecretValue:
        """Return the value of a text under this data key.

        Raises:
            SealingError: It cannot be unsealed; the error does not say whether text, context or key is wrong.
        """
        value = self._open(text, context)
        # Raised here, where no local variable holds any part of a plaintext.
        if value is None:
            raise SealingError
        return value

    def _open(self, text: str, context: SealingContext) -> SecretValue | None:
        """Return the value, or None for every kind of failure; the cheap checks come first."""
        head = header_bytes(text)
        header = None if head is None else decode_header(head)
        if head is None or header is None or header.data_key_id != self.data_key_id:
            return None
        place = context.encode()
        if not hmac.compare_digest(header.context_digest, context_digest(place)[:ENTRY_DIGEST_BYTES]):
            return None
        envelope = decode_base64url(text.removeprefix(PREFIX))
        if envelope is None or padded_bytes(len(text), len(head)) is None:
            return None
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        padded = None
        # Absence instead of the library's exception, which would become the context of ours.
        with suppress(primitives.InvalidTag):
            nonce = head[NONCE_AT:FINGERPRINT_AT]
            padded = self._cipher.decrypt(nonce, envelope[len(head) :], _associated(head, place))
        return None if padded is None else unpad(padded)


def data_key_context(place: SealingContext, data_key_id: str) -> SealingContext:
    """Return the context of a data key.

    Args:
        place: The context of any entry of the object.
        data_key_id: The id.
    """
    return place.of_entry(DATA_KEY_CONTEXT_WORD, data_key_id)


def open_data_key(data_key_id: str, text: str, place: SealingContext, keys: KeyRing) -> OpenedDataKey:
    """Return the data key of a sealed text: one decapsulation, whatever number of values it opens.

    Args:
        data_key_id: Its id.
        text: Its sealed text.
        place: The context of any entry of the object.
        keys: The private keys.

    Raises:
        SealingError: It cannot be unsealed.
    """
    return OpenedDataKey(DataKeyId(data_key_id), unseal(text, data_key_context(place, data_key_id), keys))


def _associated(header: bytes, place: bytes) -> bytes:
    """Return the associated data of the module docstring."""
    return b"".join((_ASSOCIATED_START, length_bytes(len(header)), header, length_bytes(len(place)), place))
