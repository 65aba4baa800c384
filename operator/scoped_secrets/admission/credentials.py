"""The credentials of the admission process: certificate, fingerprint key and public keys, never a private sealing key.

The controller writes them into one Secret. The process reads it periodically, from a mounted folder or, for
development, through the API, and uses changes without a restart.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from scoped_secrets import names
from scoped_secrets.admission.tls import TlsPair
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import PublicKeyRing
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = [
    "DATA_KEYS",
    "AdmissionCredentials",
    "ClientAuthorityCredentials",
    "CredentialsSource",
    "FolderCredentials",
    "OverriddenCredentials",
    "SecretCredentials",
    "parse_credentials",
]

DATA_KEYS: Final = (
    names.ADMISSION_CERTIFICATE,
    names.ADMISSION_PRIVATE_KEY,
    names.ADMISSION_FINGERPRINT_KEY,
    names.ADMISSION_RECIPIENTS,
)

_FILES: Final = (*DATA_KEYS, names.CLUSTER_ID, names.ADMISSION_SOURCES)
"""All files that are read. The cluster id exists only when it may differ from that of the present cluster."""

_PAIR: Final = (names.ADMISSION_CERTIFICATE, names.ADMISSION_PRIVATE_KEY)

# What stands for the file of the client authority, which is no part of the Secret.
_CLIENT_AUTHORITY: Final = "client-ca-file"

_MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class AdmissionCredentials:
    """One consistent set of keys and certificate."""

    tls: TlsPair
    fingerprint_key: FingerprintKey = field(repr=False)
    recipients: PublicKeyRing
    cluster_id: str = ""
    """What sealed texts are bound to; empty for the UID of namespace ``kube-system``."""
    former_fingerprint_keys: tuple[FingerprintKey, ...] = field(default=(), repr=False)
    """Fingerprint keys before a rotation: names of bundles that were made with them stay valid."""
    may_read_sources: bool | None = None
    """Whether the controller may get Secrets in every namespace, for `valueFrom`; ``None`` when unknown."""
    client_authority: bytes | None = None
    """The authority that signs certificates of clients, as PEM; ``None`` when clients need no certificate."""


class CredentialsSource(Protocol):
    """Where the credentials come from."""

    async def read(self) -> Mapping[str, bytes] | None:
        """Return the data of the Secret, ``None`` while it does not exist."""
        ...


def parse_credentials(data: Mapping[str, bytes]) -> AdmissionCredentials:
    """Read the data of the Secret.

    Raises:
        KeyMaterialError: A part is missing or damaged. The message names the part and holds nothing of it.
    """
    for key in DATA_KEYS:
        if not data.get(key):
            raise KeyMaterialError(f"the admission credentials lack '{key}'; {_writer(key)} writes it")
    fingerprint_key, *former = FingerprintKey.parse_all(data[names.ADMISSION_FINGERPRINT_KEY])
    return AdmissionCredentials(
        tls=TlsPair(data[names.ADMISSION_CERTIFICATE], data[names.ADMISSION_PRIVATE_KEY]),
        fingerprint_key=fingerprint_key,
        recipients=PublicKeyRing.parse(data[names.ADMISSION_RECIPIENTS]),
        cluster_id=data.get(names.CLUSTER_ID, b"").decode("ascii", "replace"),
        former_fingerprint_keys=tuple(former),
        may_read_sources=_ANSWERS.get(data.get(names.ADMISSION_SOURCES, b"")),
        client_authority=data.get(_CLIENT_AUTHORITY),
    )


_ANSWERS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False}


def _writer(key: str) -> str:
    return "the controller, or the issuer of the external certificate," if key in _PAIR else "the controller"


class FolderCredentials:
    """A folder that the kubelet fills from the Secret and updates as a whole."""

    def __init__(self, folder: str) -> None:
        """Take the folder, which may be empty at first."""
        self._folder = Path(folder)

    async def read(self) -> Mapping[str, bytes] | None:
        """Return the credentials' files, ``None`` when none exists."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, bytes] | None:
        # The kubelet replaces one symbolic link for all files. Resolved once, it leads to files of one version.
        folder = (self._folder / "..data").resolve() if (self._folder / "..data").exists() else self._folder
        found: dict[str, bytes] = {}
        for key in _FILES:
            try:
                with (folder / key).open("rb") as file:
                    found[key] = file.read(_MAX_BYTES)
            except OSError:
                continue
        return found or None


class OverriddenCredentials:
    """A source whose certificate and its key come from an external folder."""

    def __init__(self, source: CredentialsSource, folder: str) -> None:
        """Take the source of the keys, and the folder with tls.crt and tls.key, which may be empty at first."""
        self._source = source
        self._pair = FolderCredentials(folder)

    async def read(self) -> Mapping[str, bytes] | None:
        """Return the credentials with the folder's pair, ``None`` while either is missing.

        Raises:
            ClusterError: The API server does not return the keys.
        """
        credentials, pair = await self._source.read(), await self._pair.read()
        # The controller's pair is no fallback: the API server trusts the external authority instead.
        if credentials is None or pair is None:
            return None
        return {**credentials, **{key: pair.get(key, b"") for key in _PAIR}}


class ClientAuthorityCredentials:
    """A source with the certificate of the authority that signs certificates of clients, from a file."""

    def __init__(self, source: CredentialsSource, path: str) -> None:
        """Take the source of everything else, and the file."""
        self._source = source
        self._path = Path(path)

    async def read(self) -> Mapping[str, bytes] | None:
        """Return the credentials with the authority; without the file it is empty, and no client is trusted.

        Raises:
            ClusterError: The API server does not return the keys.
        """
        credentials, authority = await self._source.read(), await asyncio.to_thread(self._read)
        return None if credentials is None else {**credentials, _CLIENT_AUTHORITY: authority}

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(_MAX_BYTES)
        except OSError:
            return b""


class SecretCredentials:
    """The Secret itself, read through the API: for development, where no pod mounts it."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        """Take the Secret's namespace and name."""
        self._cluster = cluster
        self._path = paths.secrets(namespace, name)

    async def read(self) -> Mapping[str, bytes] | None:
        """Return the Secret's data.

        Raises:
            ClusterError: The API server does not return the Secret.
        """
        secret = await self._cluster.get(self._path)
        data = secret.get("data") if secret is not None else None
        if not isinstance(data, dict):
            return None
        try:
            return {key: base64.b64decode(data[key]) for key in _FILES if key in data}
        except (binascii.Error, TypeError, ValueError):
            # The controller repairs the Secret.
            return None
