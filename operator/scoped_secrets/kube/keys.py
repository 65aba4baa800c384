"""The operator's keys: loads, creates and rotates them, and hands over the admission process's part of them.

A key is created once and never written again: two controllers that start at the same time both try to create it, and
the later one reads the other's. A damaged key is an error that a person must resolve: a new key in its place would lose
every value that was sealed before.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scoped_secrets import names
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.certificates import CertificateState
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.errors import ConflictError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import may_get_secrets
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.sealing_keys import SealingKeys, keep_sealing_keys, read_sealing_keys
from scoped_secrets.kube.secret_bodies import secret_body, secret_data

__all__ = ["Keys", "hand_over_keys", "load_keys", "read_keys"]

_FINGERPRINT: Final = names.ADMISSION_FINGERPRINT_KEY
# How many fingerprint keys are kept. A pod whose bundle is rendered after more rotations than that is denied.
_FINGERPRINT_KEYS: Final = 8


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster's operator; their representation shows no key material.

    Attributes:
        ring: The sealing keys.
        cluster_id: The id that sealed texts are bound to; it is stored with the sealing keys and restored with them.
        fingerprint_key: The key of fingerprints and bundle names.
        former_fingerprint_keys: The fingerprint keys before it, newest first: bundle names made with them stay valid.
    """

    ring: KeyRing
    cluster_id: str
    fingerprint_key: FingerprintKey
    former_fingerprint_keys: tuple[FingerprintKey, ...] = ()

    def has_same_fingerprint_keys(self, other: "Keys") -> bool:
        """Tell whether the fingerprint keys are the same, which a rotation changes."""
        return hmac.compare_digest(_fingerprint_blocks(self), _fingerprint_blocks(other))

    def is_same_as(self, other: "Keys") -> bool:
        """Tell whether all keys are the same."""
        ids = [[key.key_id for key in each.ring.keys] for each in (self, other)]
        return ids[0] == ids[1] and self.cluster_id == other.cluster_id and self.has_same_fingerprint_keys(other)


async def load_keys(
    cluster: Cluster, namespace: str, now: Callable[[], datetime], *, rotation: timedelta | None = None
) -> Keys:
    """Return the operator's keys; create those that do not exist and those that are due.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        now: Returns the time, with its zone, which dates a new key.
        rotation: The age at which a sealing key is rotated; ``None`` for never.

    Raises:
        KeyMaterialError: A key is damaged or its Secret is empty.
        ClusterError: A Secret can be neither read nor created.
    """
    sealing = await keep_sealing_keys(cluster, namespace, now, rotation)
    fingerprint = await _load_or_create_fingerprint_key(cluster, namespace)
    if names.ROTATE_ANNOTATION in (fingerprint["metadata"].get("annotations") or {}):
        fingerprint = await _rotate_fingerprint_key(cluster, namespace, fingerprint)
    return _keys(sealing, fingerprint)


async def read_keys(cluster: Cluster, namespace: str) -> Keys | None:
    """Return the operator's keys as the leader stored them, ``None`` when one is missing; for a standby.

    Raises:
        KeyMaterialError: A key is damaged or its Secret is empty.
        ClusterError: A Secret cannot be read.
    """
    sealing = await read_sealing_keys(cluster, namespace)
    fingerprint = await cluster.get(paths.secrets(namespace, names.FINGERPRINT_KEY_SECRET))
    return None if sealing is None or fingerprint is None else _keys(sealing, fingerprint)


async def hand_over_keys(
    cluster: Cluster, namespace: str, keys: Keys, certificate: CertificateState | None = None
) -> None:
    """Write the keys and the certificate that the admission process needs into its Secret, and nothing else.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        keys: The operator's keys. The private sealing keys are not handed over.
        certificate: The certificate of the webhook server; None when the controller does not issue it.

    Raises:
        ClusterError: The Secret could not be read or written.
    """
    data = {
        names.ADMISSION_FINGERPRINT_KEY: _fingerprint_blocks(keys),
        names.ADMISSION_RECIPIENTS: keys.ring.public().serialize(),
        names.CLUSTER_ID: keys.cluster_id.encode("ascii"),
    }
    if certificate is not None:
        data[names.ADMISSION_CERTIFICATE] = certificate.leaf.certificate_pem()
        data[names.ADMISSION_PRIVATE_KEY] = certificate.leaf.private_key_pem()
    may_get = await may_get_secrets(cluster)
    if may_get is not None:
        data[names.ADMISSION_SOURCES] = b"true" if may_get else b"false"
    path = paths.secrets(namespace, names.ADMISSION_SECRET)
    existing = await cluster.get(path)
    if existing is None or secret_data(existing) != data:
        await cluster.apply(path, secret_body(namespace, names.ADMISSION_SECRET, data))


def _keys(sealing: SealingKeys, fingerprint: Body) -> Keys:
    current, *former = _fingerprint_keys(fingerprint)
    return Keys(sealing.ring, sealing.cluster_id, current, tuple(former))


def _fingerprint_keys(secret: Body) -> tuple[FingerprintKey, ...]:
    return tuple(FingerprintKey.parse_all(secret_data(secret).get(_FINGERPRINT, b"")))


def _fingerprint_blocks(keys: Keys) -> bytes:
    """Return the fingerprint keys as they are stored, newest first."""
    return b"".join(key.serialize() for key in (keys.fingerprint_key, *keys.former_fingerprint_keys))


async def _load_or_create_fingerprint_key(cluster: Cluster, namespace: str) -> Body:
    """Return the Secret of the fingerprint keys; create it with a first key when it does not exist."""
    path = paths.secrets(namespace, names.FINGERPRINT_KEY_SECRET)
    secret = await cluster.get(path)
    if secret is None:
        body = secret_body(
            namespace,
            names.FINGERPRINT_KEY_SECRET,
            {_FINGERPRINT: FingerprintKey.generate().serialize()},
            labels={names.COMPONENT_LABEL: names.FINGERPRINT_KEY_COMPONENT},
        )
        try:
            secret = await cluster.create(paths.secrets(namespace), body)
        except ConflictError:
            secret = await cluster.get(path)
    if secret is None:
        raise UnavailableError(f"the Secret '{namespace}/{names.FINGERPRINT_KEY_SECRET}' was deleted during creation")
    return secret


async def _rotate_fingerprint_key(cluster: Cluster, namespace: str, stored: Body) -> Body:
    """Add a new fingerprint key before the stored ones, and return the changed Secret.

    Raises:
        ClusterError: With status 409 or 422 when another controller rotated at the same time.
    """
    former = _fingerprint_keys(stored)[: _FINGERPRINT_KEYS - 1]
    blocks = b"".join(key.serialize() for key in (FingerprintKey.generate(), *former))
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": stored["metadata"]["resourceVersion"]},
        {
            "op": "replace",
            "path": json_pointer("data", _FINGERPRINT),
            "value": base64.b64encode(blocks).decode("ascii"),
        },
        {"op": "remove", "path": json_pointer("metadata", "annotations", names.ROTATE_ANNOTATION)},
    ]
    return await cluster.patch(paths.secrets(namespace, names.FINGERPRINT_KEY_SECRET), operations)
