"""Recipient keys for sealing, and the rings that hold them.

The KEM is X-Wing: ML-KEM-768 with X25519, HPKE KEM id 0x647A (draft-connolly-cfrg-xwing-kem, there named so, and
MLKEM768-X25519 in draft-ietf-hpke-pq). Keys are stored as those documents serialize them, a seed of 32 bytes and a
public key of 1,216 bytes, so that any other implementation of the suite can use them. There is no PEM form yet,
hence a small frame of our own around them: format version (1 byte), KEM id (2), time of creation (8, seconds since
1970, UTC), key; in a text block with a checksum.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Never, Self, TypeVar, final

from scoped_secrets.crypto.encoding import KeyMaterialError, armor, unarmor
from scoped_secrets.crypto.envelope_header import ENCAPSULATION_BYTES, KEM_ID, KEY_ID_BYTES, SUITE_IDS, TAG_BYTES, KeyId
from scoped_secrets.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from scoped_secrets.crypto.primitives import MLKEM768X25519PublicKey

__all__ = [
    "ENCAPSULATION_BYTES",
    "KEY_ID_BYTES",
    "SUITE_IDS",
    "TAG_BYTES",
    "KeyId",
    "KeyRing",
    "PrivateSealingKey",
    "PublicKeyRing",
    "PublicSealingKey",
]


_SEED_BYTES: Final = 32
_MLKEM_SEED_BYTES: Final = 64
_MLKEM_PUBLIC_BYTES: Final = 1184
_PUBLIC_BYTES: Final = _MLKEM_PUBLIC_BYTES + 32

_FRAME: Final = struct.Struct(">BHQ")
_FRAME_VERSION: Final = 1
_PRIVATE_LABEL: Final = "SCOPED SECRETS PRIVATE SEALING KEY"
_PUBLIC_LABEL: Final = "SCOPED SECRETS PUBLIC SEALING KEY"
_DATA_KEY_SUFFIX: Final = ".sealing-key"

_Key = TypeVar("_Key", "PublicSealingKey", "PrivateSealingKey")


@dataclass(frozen=True, slots=True)
class PublicSealingKey:
    """Seal for the holder of the private key.

    Attributes:
        raw: The public key as X-Wing serializes it: 1,184 bytes of ML-KEM-768, 32 of X25519.
        created: When the pair was generated, UTC, whole seconds.
        key_id: Derived from the key, never chosen.
    """

    raw: bytes = field(repr=False)
    created: datetime
    key_id: KeyId = field(init=False)
    _key: "MLKEM768X25519PublicKey" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the key and derive its id.

        Raises:
            KeyMaterialError: The bytes are no public key of the suite.
        """
        key = _public_key(self.raw)
        if key is None:
            raise KeyMaterialError("the public sealing key is damaged; restore it or publish it again")
        digest = hashlib.sha256(self.raw).digest()[:KEY_ID_BYTES]
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "created", _whole_second(self.created))
        object.__setattr__(self, "key_id", KeyId(digest.hex()))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the one key in data; raise KeyMaterialError when it is damaged or not alone."""
        keys = cls.parse_all(data)
        if len(keys) != 1:
            raise KeyMaterialError("there are several public sealing keys here; give exactly one")
        return keys[0]

    @classmethod
    def parse_all(cls, data: bytes) -> tuple[Self, ...]:
        """Return the keys in data, at least one; raise KeyMaterialError when one is damaged."""
        frames = (_unframe(payload, "public sealing key") for payload in unarmor(_PUBLIC_LABEL, data))
        return tuple(cls(raw, created) for created, raw in frames)

    def serialize(self) -> bytes:
        """Return the key as a text block, which may be published anywhere."""
        return armor(_PUBLIC_LABEL, _frame(self.created, self.raw))

    def encrypt(self, plaintext: bytes, info: bytes) -> bytes:
        """Return encapsulation and ciphertext: RFC 9180 base mode, one message, no further associated data."""
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        return primitives.SUITE.encrypt(plaintext, self._key, info)


@final
class PrivateSealingKey:
    """Open what was sealed for the public key. Shows its key id and nothing else."""

    __slots__ = ("_key", "_seed", "public_key")

    def __init__(self, seed: bytes, created: datetime) -> None:
        """Expand a seed of 32 secret bytes into the key pair, as X-Wing section 5.2 does.

        Raises:
            KeyMaterialError: The seed has another size.
        """
        if len(seed) != _SEED_BYTES:
            raise KeyMaterialError("the private sealing key is damaged; restore it or generate a new one")
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + 32)
        lattice = primitives.MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
        curve = primitives.X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:])
        raw = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self._seed = seed
        self._key = primitives.MLKEM768X25519PrivateKey(lattice, curve)
        self.public_key = PublicSealingKey(raw, created)

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """Return a new key, created now, from the operating system's randomness."""
        return cls(os.urandom(_SEED_BYTES), now)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the one key in data; raise KeyMaterialError when it is damaged or not alone."""
        payloads = unarmor(_PRIVATE_LABEL, data)
        if len(payloads) != 1:
            raise KeyMaterialError("there are several private sealing keys here; give exactly one")
        created, seed = _unframe(payloads[0], "private sealing key")
        return cls(seed, created)

    def serialize(self) -> bytes:
        """Return the key as a text block for the operator's own Secret: this reveals it."""
        return armor(_PRIVATE_LABEL, _frame(self.created, self._seed))

    @property
    def key_id(self) -> KeyId:
        """Return the id that sealed texts name."""
        return self.public_key.key_id

    @property
    def created(self) -> datetime:
        """Return when the key was generated, UTC, whole seconds."""
        return self.public_key.created

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes | None:
        """Return the plaintext, or None when the ciphertext was not made for this key and this info.

        Absence instead of an exception: the caller raises its own, and the library's never becomes its context.
        """
        from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

        with suppress(primitives.InvalidTag, ValueError):
            return primitives.SUITE.decrypt(ciphertext, self._key, info)
        return None

    def __repr__(self) -> str:
        """Return the key id."""
        return f"PrivateSealingKey({self.key_id})"

    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError("a PrivateSealingKey is neither pickled nor copied")


@dataclass(frozen=True, slots=True)
class PublicKeyRing:
    """All recipients that texts may be sealed for; never empty, newest first."""

    keys: tuple[PublicSealingKey, ...]

    def __post_init__(self) -> None:
        """Bring the keys into order, each once."""
        unique = {key.key_id: key for key in self.keys}
        object.__setattr__(self, "keys", tuple(_newest_first(unique.values())))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the keys in data; raise KeyMaterialError when there is none or one is damaged."""
        return cls(PublicSealingKey.parse_all(data))

    def serialize(self) -> bytes:
        """Return all keys as text blocks, newest first."""
        return b"".join(key.serialize() for key in self.keys)

    @property
    def active(self) -> PublicSealingKey:
        """Return the newest key: the one to seal for."""
        return self.keys[0]

    def get(self, key_id: KeyId) -> PublicSealingKey | None:
        """Return the key with this id, None when the ring does not hold it."""
        return next((key for key in self.keys if key.key_id == key_id), None)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All private keys of the operator; never empty, newest first. The newest seals, each opens its own."""

    keys: tuple[PrivateSealingKey, ...]

    def __post_init__(self) -> None:
        """Bring the keys into order, each once."""
        unique = {key.key_id: key for key in self.keys}
        object.__setattr__(self, "keys", tuple(_newest_first(unique.values())))

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """Return a ring with one new key."""
        return cls((PrivateSealingKey.generate(now),))

    @classmethod
    def from_secret_data(cls, data: Mapping[str, bytes]) -> Self:
        """Return the ring that a Secret holds; entries that are no sealing keys are left alone.

        Raises:
            KeyMaterialError: There is no key, or one is damaged. The others are not used without it: to go on would
                turn every text sealed for that key into a lost one without a word.
        """
        blocks = [data[name] for name in sorted(data) if name.endswith(_DATA_KEY_SUFFIX)]
        return cls(tuple(PrivateSealingKey.parse(block) for block in blocks))

    def to_secret_data(self) -> dict[str, bytes]:
        """Return one entry per key, named after its id, for the data of a Secret."""
        return {f"{key.key_id}{_DATA_KEY_SUFFIX}": key.serialize() for key in self.keys}

    @property
    def active(self) -> PrivateSealingKey:
        """Return the newest key: the one to seal for."""
        return self.keys[0]

    def get(self, key_id: KeyId) -> PrivateSealingKey | None:
        """Return the key of this id, if the ring holds it."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def public(self) -> PublicKeyRing:
        """Return the public halves, which the admission process and people who seal offline need."""
        return PublicKeyRing(tuple(key.public_key for key in self.keys))

    def with_key(self, key: PrivateSealingKey) -> "KeyRing":
        """Return a ring that also holds this key."""
        return KeyRing((*self.keys, key))

    def without(self, key_id: KeyId) -> "KeyRing":
        """Return a ring without this key."""
        return KeyRing(tuple(key for key in self.keys if key.key_id != key_id))


def _newest_first(keys: Iterable[_Key]) -> list[_Key]:
    """Return keys by time of creation; the id decides between equal times, so that all processes agree."""
    ordered = sorted(keys, key=lambda key: (key.created, key.key_id), reverse=True)
    if not ordered:
        raise KeyMaterialError("there is no sealing key; restore the Secret or generate a new key")
    return ordered


def _public_key(raw: bytes) -> "MLKEM768X25519PublicKey | None":
    """Return the library's key, or None when the bytes are none."""
    if len(raw) != _PUBLIC_BYTES:
        return None
    from scoped_secrets.crypto import primitives  # noqa: PLC0415 - see there.

    with suppress(ValueError):
        return primitives.MLKEM768X25519PublicKey(
            primitives.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
            primitives.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
        )
    return None


def _whole_second(moment: datetime) -> datetime:
    """Return the moment in UTC without fractions; a naive one is a programming error."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return moment.astimezone(UTC).replace(microsecond=0)


def _frame(created: datetime, key: bytes) -> bytes:
    """Return the frame of the module docstring."""
    return _FRAME.pack(_FRAME_VERSION, KEM_ID, int(created.timestamp())) + key


def _unframe(payload: bytes, what: str) -> tuple[datetime, bytes]:
    """Return time and key of a frame; raise KeyMaterialError when it is of another version or suite."""
    if len(payload) > _FRAME.size:
        version, kem_id, created = _FRAME.unpack_from(payload)
        with suppress(ValueError, OverflowError, OSError):
            if (version, kem_id) == (_FRAME_VERSION, KEM_ID):
                return datetime.fromtimestamp(created, UTC), payload[_FRAME.size :]
    raise KeyMaterialError(f"the {what} has an unknown format; use the release that wrote it")
