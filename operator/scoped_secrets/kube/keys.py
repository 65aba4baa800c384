"""The operator's own Secrets: its keys, its certificates, and what the admission process is given of them.

A key is created once and never written again: two controllers that start at the same time both try to create it, and
the one that is too late reads the other's. A damaged key is an error for a person; a new one in its place would lose
every value that was sealed before.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.certificates import (
    CertificateState,
    ca_bundle,
    plan_certificates,
    read_certificates,
    to_secret_data,
)
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.errors import ConflictError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import may_get_secrets
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.sealing_keys import SealingKeys, keep_sealing_keys, read_sealing_keys
from scoped_secrets.redaction import RedactedDict

__all__ = [
    "Keys",
    "hand_over_keys",
    "has_bundle",
    "load_keys",
    "maintain_certificates",
    "publish_bundle",
    "read_keys",
    "service_names",
]

_FINGERPRINT: Final = names.ADMISSION_FINGERPRINT_KEY
# How many fingerprint keys are kept. A pod whose bundle is still to be rendered after so many rotations is refused.
_FINGERPRINT_KEYS: Final = 8
# Until then every API server knows a new bundle; a leaf that needs it is signed by the check after it.
_SETTLE_SECONDS: Final = 10.0
# Something is missing that a person or an installer is about to create.
_MISSING_SECONDS: Final = 2.0
# Certificates are good for weeks; what this interval repairs is a bundle that somebody removed.
_CHECK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster's operator; they show nothing of themselves.

    Attributes:
        ring: The sealing keys.
        cluster_id: What sealed texts are bound to; it is kept with the sealing keys and restored with them.
        fingerprint_key: What fingerprints and names of bundles are made with.
        former_fingerprint_keys: Those before it, newest first: names of bundles that were made with them stay good.
    """

    ring: KeyRing
    cluster_id: str
    fingerprint_key: FingerprintKey
    former_fingerprint_keys: tuple[FingerprintKey, ...] = ()

    def has_same_fingerprint_keys(self, other: "Keys") -> bool:
        """Tell whether a rotation lies between two states of the keys."""
        return hmac.compare_digest(_fingerprint_blocks(self), _fingerprint_blocks(other))

    def is_same_as(self, other: "Keys") -> bool:
        """Tell whether two states of the keys are one."""
        ids = [[key.key_id for key in each.ring.keys] for each in (self, other)]
        return ids[0] == ids[1] and self.cluster_id == other.cluster_id and self.has_same_fingerprint_keys(other)


async def load_keys(
    cluster: Cluster, namespace: str, now: Callable[[], datetime], *, rotation: timedelta | None = None
) -> Keys:
    """Return the operator's keys; create those that do not exist, and those whose time has come.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        now: The time, with its zone, which a new key is dated with.
        rotation: The age at which a sealing key gets a successor; ``None`` for never.

    Raises:
        KeyMaterialError: A key is damaged or its Secret is empty.
        ClusterError: A Secret can be neither read nor created.
    """
    sealing = await keep_sealing_keys(cluster, namespace, now, rotation)
    stored = await _load_or_create(
        cluster,
        namespace,
        names.FINGERPRINT_KEY_SECRET,
        names.FINGERPRINT_KEY_COMPONENT,
        lambda: {_FINGERPRINT: FingerprintKey.generate().serialize()},
    )
    if names.ROTATE_ANNOTATION in (stored["metadata"].get("annotations") or {}):
        stored = await _rotate_fingerprint_key(cluster, namespace, stored)
    return _keys(sealing, stored)


async def read_keys(cluster: Cluster, namespace: str) -> Keys | None:
    """Return the operator's keys as the leader made them, ``None`` when one is missing; for those who do not lead.

    Raises:
        KeyMaterialError: A key is damaged or its Secret is empty.
        ClusterError: A Secret cannot be read.
    """
    sealing = await read_sealing_keys(cluster, namespace)
    fingerprint = await cluster.get(paths.secrets(namespace, names.FINGERPRINT_KEY_SECRET))
    return None if sealing is None or fingerprint is None else _keys(sealing, fingerprint)


def service_names(namespace: str, service: str = names.ADMISSION_SERVICE) -> tuple[str, ...]:
    """Return the names under which the API server reaches the admission Service."""
    host = f"{service}.{namespace}.svc"
    return host, f"{host}.cluster.local"


async def maintain_certificates(
    cluster: Cluster,
    namespace: str,
    wanted_names: Iterable[str],
    keys: Keys,
    now: Callable[[], datetime],
    *,
    configuration: str = names.WEBHOOK_CONFIGURATION,
) -> float:
    """Take the next step of making, renewing and publishing certificates, and return the seconds until the next call.

    In this order: the state is stored, the bundle that verifies its leaf is published, the leaf is handed to the
    admission process. A leaf of a new authority is only signed by a later call, which sees the bundle published.
    Without anything to do nothing is written.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        wanted_names: DNS names and IP addresses under which the admission server is called.
        keys: What the admission process is given beside its certificate.
        now: The time, with its zone.
        configuration: Name of both webhook configurations.

    Raises:
        ClusterError: Something could not be read or written; the next call goes on from there.
    """
    try:
        stored = await cluster.get(paths.secrets(namespace, names.CERTIFICATE_SECRET))
        current = read_certificates(_data(stored)) if stored is not None else None
        configurations = await _configurations(cluster, configuration)
        trusted = isinstance(current, CertificateState) and all(
            not _bundle_patch(body, ca_bundle(current)) for _, body in configurations
        )
        planned = plan_certificates(current, wanted_names, now(), bundle_published=trusted)
        if planned is not current:
            await _store(cluster, namespace, stored, planned)
        published = [await _publish(cluster, *each, ca_bundle(planned)) for each in configurations]
        await _hand_over(cluster, namespace, _given(planned, keys))
    except ConflictError:
        # Another controller did the same just now; what it made is read by the next call.
        return _MISSING_SECONDS
    if any(body is None for _, body in configurations):
        return _MISSING_SECONDS
    return _SETTLE_SECONDS if planned is not current or any(published) else _CHECK_SECONDS


async def publish_bundle(cluster: Cluster, configuration: str, bundle: bytes) -> None:
    """Write somebody else's CA bundle into our webhooks, when they have another one.

    Args:
        cluster: The client.
        configuration: Name of both webhook configurations.
        bundle: Certificates as PEM.

    Raises:
        ClusterError: A configuration could not be read or written.
    """
    for path, body in await _configurations(cluster, configuration):
        await _publish(cluster, path, body, bundle)


async def has_bundle(cluster: Cluster, configuration: str) -> bool:
    """Tell whether every webhook of ours has a CA bundle; those that are not installed need none.

    Raises:
        ClusterError: A configuration could not be read.
    """
    return all(
        (webhook.get("clientConfig") or {}).get("caBundle")
        for _, body in await _configurations(cluster, configuration)
        for webhook in (body or {}).get("webhooks") or []
    )


async def hand_over_keys(cluster: Cluster, namespace: str, keys: Keys) -> None:
    """Give the admission process its keys and no certificate: somebody else makes that.

    Raises:
        ClusterError: The Secret could not be read or written.
    """
    await _hand_over(cluster, namespace, _given(None, keys))


async def _configurations(cluster: Cluster, name: str) -> list[tuple[str, Body | None]]:
    both = (paths.mutating_webhook_configurations(name), paths.validating_webhook_configurations(name))
    return [(path, await cluster.get(path)) for path in both]


def _keys(sealing: SealingKeys, fingerprint: Body) -> Keys:
    current, *former = FingerprintKey.parse_all(_data(fingerprint).get(_FINGERPRINT, b""))
    return Keys(sealing.ring, sealing.cluster_id, current, tuple(former))


def _fingerprint_blocks(keys: Keys) -> bytes:
    """Return the fingerprint keys as they are stored, newest first."""
    return b"".join(key.serialize() for key in (keys.fingerprint_key, *keys.former_fingerprint_keys))


async def _rotate_fingerprint_key(cluster: Cluster, namespace: str, stored: Body) -> Body:
    """Put a new fingerprint key in front of those that are stored, and return the Secret as it then is.

    Raises:
        ClusterError: With status 409 or 422 when another controller did it just now.
    """
    former = FingerprintKey.parse_all(_data(stored).get(_FINGERPRINT, b""))[: _FINGERPRINT_KEYS - 1]
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


async def _load_or_create(
    cluster: Cluster, namespace: str, name: str, component: str, make: Callable[[], Mapping[str, bytes]]
) -> Body:
    """Return one of our Secrets, which is created when there is none."""
    path = paths.secrets(namespace, name)
    secret = await cluster.get(path)
    if secret is None:
        try:
            secret = await cluster.create(paths.secrets(namespace), _secret(namespace, name, make(), component))
        except ConflictError:
            secret = await cluster.get(path)
    if secret is None:
        raise UnavailableError(f"the Secret '{namespace}/{name}' vanished while it was created")
    return secret


async def _store(cluster: Cluster, namespace: str, stored: Body | None, state: CertificateState) -> None:
    """Write the certificates; fail with ConflictError when somebody else wrote them since they were read."""
    body = _secret(namespace, names.CERTIFICATE_SECRET, to_secret_data(state))
    if stored is None:
        await cluster.create(paths.secrets(namespace), body)
        return
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    await cluster.apply(paths.secrets(namespace, names.CERTIFICATE_SECRET), body)


async def _publish(cluster: Cluster, path: str, configuration: Body | None, bundle: bytes) -> bool:
    """Write the bundle into our webhooks that have another one; tell whether there were any."""
    operations = _bundle_patch(configuration, bundle)
    if operations:
        await cluster.patch(path, operations)
    return bool(operations)


def _bundle_patch(configuration: Body | None, bundle: bytes) -> list[dict[str, Any]]:
    """Return the JSON patch that gives all webhooks of a configuration the bundle, empty when they have it.

    An apply would take over the whole list of webhooks, which belongs to whoever installed it.
    """
    encoded = base64.b64encode(bundle).decode("ascii")
    operations: list[dict[str, Any]] = []
    for index, webhook in enumerate((configuration or {}).get("webhooks") or []):
        if (webhook.get("clientConfig") or {}).get("caBundle") != encoded:
            # The list may have changed since it was read.
            operations.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
            operations.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": encoded})
    return operations


def _given(state: CertificateState | None, keys: Keys) -> dict[str, bytes]:
    """Return what the admission process is given: no private sealing key, no authority's key."""
    given = {
        names.ADMISSION_FINGERPRINT_KEY: _fingerprint_blocks(keys),
        names.ADMISSION_RECIPIENTS: keys.ring.public().serialize(),
        names.CLUSTER_ID: keys.cluster_id.encode("ascii"),
    }
    if state is not None:
        given[names.ADMISSION_CERTIFICATE] = state.leaf.certificate_pem()
        given[names.ADMISSION_PRIVATE_KEY] = state.leaf.private_key_pem()
    return given


async def _hand_over(cluster: Cluster, namespace: str, wanted: Mapping[str, bytes]) -> None:
    """Write what the admission process needs into its Secret; what it had beside that goes."""
    may_get = await may_get_secrets(cluster)
    if may_get is not None:
        wanted = {**wanted, names.ADMISSION_SOURCES: b"true" if may_get else b"false"}
    path = paths.secrets(namespace, names.ADMISSION_SECRET)
    existing = await cluster.get(path)
    if existing is None or _data(existing) != wanted:
        await cluster.apply(path, _secret(namespace, names.ADMISSION_SECRET, wanted))


def _secret(namespace: str, name: str, data: Mapping[str, bytes], component: str = "") -> Body:
    return RedactedDict.of(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "labels": {
                    names.MANAGED_BY_LABEL: names.DISTRIBUTION,
                    **({names.COMPONENT_LABEL: component} if component else {}),
                },
            },
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode("ascii") for key, value in data.items()},
        }
    )


def _data(secret: Body) -> dict[str, bytes]:
    """Return the data of a Secret; what is no base64 counts as empty."""
    decoded: dict[str, bytes] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            decoded[key] = b""
    return decoded
