"""The Secrets that hold the sealing keys, one each, and the creation of the next key.

A key's Secret is found by its label. Its name has one purpose: it carries the next free number, so that when two
controllers create a key at the same time, one gets a conflict and uses the other's. A Secret is immutable: a key is
created once and never written again. Every key is stored with the id of the cluster that it seals for, so that restored
keys bring back the identity that their sealed texts are bound to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.errors import ConflictError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.secret_bodies import secret_body, secret_data
from scoped_secrets.timestamps import rfc3339

__all__ = ["SELECTOR", "SealingKeys", "keep_sealing_keys", "read_sealing_keys"]

SELECTOR: Final = f"{names.COMPONENT_LABEL}={names.SEALING_KEY_COMPONENT}"
"""The label selector of the Secrets that hold sealing keys."""

_SYSTEM_NAMESPACE: Final = "kube-system"
# An attempt fails when another controller or an unrelated Secret has the next name.
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """The sealing keys of one cluster's operator.

    Attributes:
        ring: The keys.
        cluster_id: The id that their sealed texts are bound to, as stored with the oldest key.
        next_number: The number of the next key's Secret.
        is_rotation_wanted: Whether an annotation requests a successor of the active key.
    """

    ring: KeyRing
    cluster_id: str
    next_number: int
    is_rotation_wanted: bool


async def read_sealing_keys(cluster: Cluster, namespace: str) -> SealingKeys | None:
    """Return the stored keys, ``None`` when there is none.

    Raises:
        KeyMaterialError: A key is damaged. The others are not used without it, because all texts sealed for that key
            would silently be lost.
        ClusterError: The Secrets cannot be listed.
    """
    secrets = await cluster.list_all(paths.secrets(namespace), label_selector=SELECTOR)
    return _keys(secrets) if secrets else None


async def keep_sealing_keys(
    cluster: Cluster, namespace: str, now: Callable[[], datetime], rotation: timedelta | None
) -> SealingKeys:
    """Return the keys; create the first one, and a new one when the active one is due for rotation.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        now: Returns the time, with its zone.
        rotation: The age at which a key is rotated; ``None`` for never.

    Raises:
        KeyMaterialError: A key is damaged.
        ClusterError: A Secret can be neither read nor created.
    """
    for attempt in range(_ATTEMPTS):
        stored = await read_sealing_keys(cluster, namespace)
        if stored is not None and not _is_due(stored, now(), rotation):
            return stored
        key, cluster_id, number = await _next(cluster, stored, now())
        try:
            # An unrelated Secret may have the name without the label, so that the next list does not show it.
            await cluster.create(paths.secrets(namespace), _secret(namespace, number + attempt, key, cluster_id))
        except ConflictError:
            continue
    raise UnavailableError(f"no Secret for a new sealing key could be created in namespace '{namespace}'")


async def _next(cluster: Cluster, stored: SealingKeys | None, now: datetime) -> tuple[PrivateSealingKey, str, int]:
    """Return a new key, the id of the cluster that it seals for, and its number."""
    if stored is None:
        return PrivateSealingKey.generate(now), await _cluster_id(cluster), 1
    # The newest key is the active one, also when the clock was set back.
    created = max(now, stored.ring.active.created + timedelta(seconds=1))
    return PrivateSealingKey.generate(created), stored.cluster_id, stored.next_number


async def _cluster_id(cluster: Cluster) -> str:
    """Return the UID of the namespace kube-system, which is as old as the cluster."""
    system = await cluster.get(paths.namespaces(_SYSTEM_NAMESPACE))
    uid = str(((system or {}).get("metadata") or {}).get("uid") or "")
    if not uid:
        raise UnavailableError(f"the namespace '{_SYSTEM_NAMESPACE}' has no UID yet")
    return uid


def _is_due(stored: SealingKeys, now: datetime, rotation: timedelta | None) -> bool:
    return stored.is_rotation_wanted or (rotation is not None and now - stored.ring.active.created >= rotation)


def _keys(secrets: list[Body]) -> SealingKeys:
    """Return the keys of the Secrets; raise KeyMaterialError when one is damaged."""
    rings = [(secret, KeyRing.from_secret_data(secret_data(secret))) for secret in secrets]
    ring = KeyRing(tuple(key for _, each in rings for key in each.keys))
    oldest = next(secret for secret, each in rings if each.get(ring.keys[-1].key_id) is not None)
    cluster_id = secret_data(oldest).get(names.CLUSTER_ID, b"").decode("ascii", "ignore")
    if not cluster_id:
        raise KeyMaterialError(f"the Secret of the oldest sealing key lacks '{names.CLUSTER_ID}'; restore it whole")
    requested = {_annotations(secret).get(names.ROTATE_ANNOTATION) for secret in secrets}
    return SealingKeys(
        ring=ring,
        cluster_id=cluster_id,
        next_number=1 + max(_number(secret["metadata"]["name"]) for secret in secrets),
        is_rotation_wanted=ring.active.key_id in requested,
    )


def _number(name: str) -> int:
    """Return the number in the name of a key's Secret, 1 for the first one and for other names."""
    rest = name.removeprefix(f"{names.SEALING_KEY_SECRET}-")
    return int(rest) if rest != name and rest.isdecimal() else 1


def _annotations(secret: Body) -> Mapping[str, Any]:
    return secret["metadata"].get("annotations") or {}


def _secret(namespace: str, number: int, key: PrivateSealingKey, cluster_id: str) -> Body:
    suffix = f"-{number}" if number > 1 else ""
    return secret_body(
        namespace,
        f"{names.SEALING_KEY_SECRET}{suffix}",
        {**KeyRing((key,)).to_secret_data(), names.CLUSTER_ID: cluster_id.encode("ascii")},
        labels={names.COMPONENT_LABEL: names.SEALING_KEY_COMPONENT, names.KEY_ID_LABEL: key.key_id},
        annotations={names.CREATED_ANNOTATION: rfc3339(key.created)},
        immutable=True,
    )
