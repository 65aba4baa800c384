"""The sealed guess: a value that a person asks admission to compare with a stored one (DESIGN section 7).

It is sealed for the *comparison key*, a key pair of the suite in `keys.py`. Its seed is derived from the fingerprint
key, so that the processes that compare values can open it, and no further key is stored or rotated. The text is ``g1:``
followed by unpadded base64url of

    offset  size
         0     8  key id of the comparison key
         8  1120  HPKE encapsulated key
      1128   64n  ciphertext, followed by a tag of 16 bytes

HPKE's ``info`` is the length-prefixed encoding of a domain string, the key id, and the question: namespace, name, entry
kind, entry name, user, and digest and salt of the stored fingerprint. The plaintext is padded as in sealed texts.

So a guess opens for one user, one entry and one stored fingerprint. Its answer is fixed when it is made: a copy of it,
from an audit log for example, cannot be compared with another value, which a person could choose to find the guess.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from weakref import WeakKeyDictionary

from scoped_secrets.core.entry import FILE_BYTES, EntryKey
from scoped_secrets.crypto.encoding import decode_base64url, encode_base64url, length_prefixed, text_bytes
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey
from scoped_secrets.crypto.keys import (
    ENCAPSULATION_BYTES,
    KEY_ID_BYTES,
    TAG_BYTES,
    PrivateSealingKey,
    PublicSealingKey,
)
from scoped_secrets.crypto.padding import LENGTH_BYTES, pad, padded_bound, unpad
from scoped_secrets.crypto.values import SecretValue

__all__ = ["GUESS_CHARACTERS", "Question", "comparison_key", "open_guess", "seal_guess"]

_PREFIX: Final = "g1:"
_KEY_DOMAIN: Final = b"scoped-secrets comparison key v1"
_GUESS_DOMAIN: Final = b"scoped-secrets guess v1"
# The key is as old as the fingerprint key, which has no time.
_CREATED: Final = datetime.fromtimestamp(0, UTC)
_LARGEST: Final = KEY_ID_BYTES + ENCAPSULATION_BYTES + LENGTH_BYTES + padded_bound(FILE_BYTES) + TAG_BYTES

GUESS_CHARACTERS: Final = len(_PREFIX) + -(-_LARGEST * 4 // 3)
"""The length of a sealed guess of the largest value."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a guess is compared with, and for whom.

    Attributes:
        namespace: Namespace of the ScopedSecret.
        name: Name of the ScopedSecret.
        entry: The entry.
        user: Name of the user who asks, as the API server authenticates it.
        stored: The fingerprint of the stored value.
    """

    namespace: str
    name: str
    entry: EntryKey
    user: str
    stored: Fingerprint


# Derived when they are first asked for, and gone with their fingerprint keys.
_comparison_keys: Final[WeakKeyDictionary[FingerprintKey, PrivateSealingKey]] = WeakKeyDictionary()


def comparison_key(key: FingerprintKey) -> PrivateSealingKey:
    """Return the key pair that guesses are sealed for, as it follows from a fingerprint key."""
    found = _comparison_keys.get(key)
    if found is None:
        found = _comparison_keys[key] = PrivateSealingKey(key.digest(_KEY_DOMAIN), _CREATED)
    return found


def seal_guess(value: SecretValue, question: Question, recipient: PublicSealingKey) -> str:
    """Return a guess as a text that only opens for this question, with the fingerprint key of the recipient."""
    key_id = bytes.fromhex(recipient.key_id)
    return _PREFIX + encode_base64url(key_id + recipient.encrypt(pad(value), _info(key_id, question)))


def open_guess(text: str, question: Question, keys: Iterable[FingerprintKey]) -> SecretValue | None:
    """Return the value of a sealed guess.

    Args:
        text: The sealed guess.
        question: The question that it must have been sealed for.
        keys: The fingerprint keys, the newest first.

    Returns:
        The value; None for every kind of failure.
    """
    if len(text) > GUESS_CHARACTERS or not text.startswith(_PREFIX):
        return None
    envelope = decode_base64url(text.removeprefix(_PREFIX))
    if envelope is None:
        return None
    key_id, body = envelope[:KEY_ID_BYTES], envelope[KEY_ID_BYTES:]
    # The key is chosen by its id, so that at most one decapsulation is made.
    key = next((each for each in map(comparison_key, keys) if each.key_id == key_id.hex()), None)
    padded = None if key is None else key.decrypt(body, _info(key_id, question))
    return None if padded is None else unpad(padded)


def _info(key_id: bytes, question: Question) -> bytes:
    """Return what HPKE binds the ciphertext to."""
    entry = question.entry
    texts = question.namespace, question.name, entry.kind.context_word, entry.name, question.user
    stored = question.stored
    return length_prefixed(_GUESS_DOMAIN, key_id, *map(text_bytes, texts), stored.digest, stored.salt)
