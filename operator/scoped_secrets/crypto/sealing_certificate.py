"""The sealing certificate: the public keys of a cluster as a JSON document, to publish and to keep in Git.

    {
      "version": 1,
      "clusterId": "UID of the cluster",
      "checksum": "32 hexadecimal digits",
      "keys": [
        {"id": "16 hexadecimal digits", "created": "2026-02-02T00:00:00Z", "publicKey": "base64"}
      ]
    }

The newest key comes first and is the one to seal for. Each id is recomputed from its key. The checksum covers the
cluster's id and every key, so it detects damage, a missing key and parts of different certificates. It is not a
signature: a person who can replace the document can also replace the checksum.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Never, Self

from scoped_secrets.crypto.encoding import KeyMaterialError, length_prefixed
from scoped_secrets.crypto.keys import PublicKeyRing, PublicSealingKey
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["MAX_CERTIFICATE_BYTES", "SealingCertificate"]

MAX_CERTIFICATE_BYTES: Final = 256 * 1024
"""The largest accepted document: more than a hundred keys."""

_VERSION: Final = 1
_FIELDS: Final = frozenset({"version", "clusterId", "checksum", "keys"})
_KEY_FIELDS: Final = frozenset({"id", "created", "publicKey"})
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_CLUSTER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DOMAIN: Final = b"scoped-secrets sealing certificate v1"
_CHECKSUM_BYTES: Final = 16
_REMEDY: Final = "fetch it again with `scoped-secrets public-key`"


@dataclass(frozen=True, slots=True)
class SealingCertificate:
    """What people who seal offline need to know of a cluster.

    Attributes:
        cluster_id: The cluster that sealed texts are bound to: a text for one cluster cannot be unsealed in another.
        recipients: The public keys, of which the active one is sealed for.
    """

    cluster_id: str
    recipients: PublicKeyRing

    def __post_init__(self) -> None:
        """Refuse a cluster id that is no name; raise KeyMaterialError."""
        if _CLUSTER.fullmatch(self.cluster_id) is None:
            raise _unusable("`clusterId` is not the id of a cluster")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a certificate.

        Raises:
            KeyMaterialError: It is damaged, of another version, or no certificate at all. The message names the field
                and never shows its value.
        """
        document = _load(data)
        if not isinstance(document, dict):
            raise _unusable("it is not a JSON object")
        version = document.get("version")
        if type(version) is not int or version != _VERSION:
            raise _unusable(f"`version` is not {_VERSION}, the only version that this program reads")
        _require_fields(document, _FIELDS, "")
        keys = document["keys"]
        if not isinstance(keys, list) or not keys:
            raise _unusable("`keys` is not a list with at least one key")
        certificate = cls(
            _text(document, "clusterId", ""),
            PublicKeyRing(tuple(_read_key(key, f"keys[{index}]") for index, key in enumerate(keys))),
        )
        if len(certificate.recipients.keys) != len(keys):
            raise _unusable("`keys` holds a key twice")
        if not _is_equal(_text(document, "checksum", ""), certificate.checksum):
            raise _unusable("`checksum` does not match the cluster's id and its keys")
        return certificate

    def serialize(self) -> bytes:
        """Return the JSON document; equal certificates have equal documents.

        Each field has a line of its own, so that a difference of two certificates shows what changed.
        """
        document = {
            "version": _VERSION,
            "clusterId": self.cluster_id,
            "checksum": self.checksum,
            "keys": [
                {
                    "id": key.key_id,
                    "created": f"{key.created:{_TIME}}",
                    "publicKey": base64.b64encode(key.raw).decode("ascii"),
                }
                for key in self.recipients.keys
            ],
        }
        return json.dumps(document, indent=2).encode("ascii") + b"\n"

    @property
    def checksum(self) -> str:
        """Return 32 hexadecimal digits over cluster and keys; people may compare them to compare certificates."""
        parts = [_DOMAIN, self.cluster_id.encode("ascii")]
        for key in self.recipients.keys:
            parts += [f"{key.created:{_TIME}}".encode("ascii"), key.raw]
        return hashlib.sha256(length_prefixed(*parts)).digest()[:_CHECKSUM_BYTES].hex()


def _load(data: bytes) -> object:
    """Return the JSON value in data, which is bounded and has each name once."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise _unusable(f"it is larger than {MAX_CERTIFICATE_BYTES} bytes")
    loaded: object = None
    problem = ""
    try:
        loaded = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except _RepeatedNameError:
        problem = "it has a field twice"
    except (ValueError, RecursionError):
        problem = "it is not a JSON document"
    # Raised here, outside the handlers: the exceptions of the JSON module hold their input.
    if problem:
        raise _unusable(problem)
    return loaded


class _RepeatedNameError(Exception):
    """An object has a member twice; readers differ in which one they take."""


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise _RepeatedNameError
        members[name] = value
    return members


def _refuse_constant(_: str) -> Never:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError


def _read_key(value: object, place: str) -> PublicSealingKey:
    """Return one key, whose id is the one that its bytes have."""
    if not isinstance(value, dict):
        raise _unusable(f"`{place}` is not a JSON object")
    _require_fields(value, _KEY_FIELDS, f"{place}.")
    created = _read_time(_text(value, "created", f"{place}."))
    if created is None:
        raise _unusable(f"`{place}.created` is not a time such as 2026-01-31T00:00:00Z")
    raw = _read_base64(_text(value, "publicKey", f"{place}."))
    key = None if raw is None else _public_key(raw, created)
    if key is None:
        raise _unusable(f"`{place}.publicKey` is not a public sealing key in base64")
    if not _is_equal(_text(value, "id", f"{place}."), key.key_id):
        raise _unusable(f"`{place}.id` is not the id of its `publicKey`")
    return key


def _public_key(raw: bytes, created: datetime) -> PublicSealingKey | None:
    try:
        return PublicSealingKey(raw, created)
    except KeyMaterialError:
        return None


def _read_time(text: str) -> datetime | None:
    """Return the time, or None unless it is written exactly as `serialize` writes it."""
    try:
        moment = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment if f"{moment:{_TIME}}" == text else None


def _read_base64(text: str) -> bytes | None:
    """Return the bytes, or None unless the text is their only canonical encoding."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode("ascii") == text else None


def _require_fields(document: dict[str, object], fields: frozenset[str], place: str) -> None:
    missing = sorted(fields - document.keys())
    if missing:
        raise _unusable(f"`{place}{missing[0]}` is missing")
    if document.keys() - fields:
        where = f"`{place.removesuffix('.')}`" if place else "it"
        raise _unusable(f"{where} has a field that this program does not know")


def _text(document: dict[str, object], field: str, place: str) -> str:
    value = document[field]
    if not isinstance(value, str):
        raise _unusable(f"`{place}{field}` is not a string")
    return value


def _is_equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("ascii"))


def _unusable(problem: str) -> KeyMaterialError:
    return KeyMaterialError(f"the sealing certificate cannot be used: {problem}; {_REMEDY}")
