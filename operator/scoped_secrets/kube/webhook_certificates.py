"""The serving certificate of the webhooks in its Secret, and the CA bundle in the webhook configurations."""

import base64
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.crypto.certificates import (
    CertificateState,
    ca_bundle,
    plan_certificates,
    read_certificates,
    to_secret_data,
)
from scoped_secrets.errors import ConflictError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.keys import Keys, hand_over_keys
from scoped_secrets.kube.secret_bodies import secret_body, secret_data

__all__ = ["has_bundle", "maintain_certificates", "publish_bundle", "service_names"]

# By then every API server knows a new bundle; the check after it signs the certificate that needs the bundle.
_SETTLE_SECONDS: Final = 10.0
# A person or an installer is about to create what is missing.
_MISSING_SECONDS: Final = 2.0
# Certificates are valid for weeks; this interval only restores a bundle that was removed.
_CHECK_SECONDS: Final = 60.0


def service_names(namespace: str, service: str = names.ADMISSION_SERVICE) -> tuple[str, ...]:
    """Return the DNS names with which the API server calls the admission Service."""
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
    """Take the next step of issuing, renewing and publishing certificates; return the seconds until the next call.

    In this order: the state is stored, the bundle that verifies its leaf is published, the leaf is handed over to the
    admission process. Only a later call, which finds the bundle published, signs a leaf of a new authority. When
    nothing is to do, nothing is written.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        wanted_names: DNS names and IP addresses with which the admission server is called.
        keys: The keys that the admission process receives together with its certificate.
        now: Returns the time, with its zone.
        configuration: Name of both webhook configurations.

    Raises:
        ClusterError: Something could not be read or written; the next call continues from there.
    """
    try:
        stored = await cluster.get(paths.secrets(namespace, names.CERTIFICATE_SECRET))
        current = read_certificates(secret_data(stored)) if stored is not None else None
        configurations = await _configurations(cluster, configuration)
        is_published = isinstance(current, CertificateState) and all(
            not _bundle_patch(body, ca_bundle(current)) for _, body in configurations
        )
        planned = plan_certificates(current, wanted_names, now(), bundle_published=is_published)
        if planned is not current:
            await _store(cluster, namespace, stored, planned)
        published = [await _publish(cluster, *each, ca_bundle(planned)) for each in configurations]
        await hand_over_keys(cluster, namespace, keys, planned)
    except ConflictError:
        # Another controller did the same at the same time; the next call reads its result.
        return _MISSING_SECONDS
    if any(body is None for _, body in configurations):
        return _MISSING_SECONDS
    return _SETTLE_SECONDS if planned is not current or any(published) else _CHECK_SECONDS


async def publish_bundle(cluster: Cluster, configuration: str, bundle: bytes) -> None:
    """Write a CA bundle that the controller did not issue into the webhooks that have another one.

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
    """Tell whether every webhook of both configurations has a CA bundle; a missing configuration needs none.

    Raises:
        ClusterError: A configuration could not be read.
    """
    return all(
        (webhook.get("clientConfig") or {}).get("caBundle")
        for _, body in await _configurations(cluster, configuration)
        for webhook in (body or {}).get("webhooks") or []
    )


async def _configurations(cluster: Cluster, name: str) -> list[tuple[str, Body | None]]:
    both = (paths.mutating_webhook_configurations(name), paths.validating_webhook_configurations(name))
    return [(path, await cluster.get(path)) for path in both]


async def _store(cluster: Cluster, namespace: str, stored: Body | None, state: CertificateState) -> None:
    """Write the certificates; fail with ConflictError when another controller wrote them since they were read."""
    body = secret_body(namespace, names.CERTIFICATE_SECRET, to_secret_data(state))
    if stored is None:
        await cluster.create(paths.secrets(namespace), body)
        return
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    await cluster.apply(paths.secrets(namespace, names.CERTIFICATE_SECRET), body)


async def _publish(cluster: Cluster, path: str, configuration: Body | None, bundle: bytes) -> bool:
    """Write the bundle into the webhooks that have another one; tell whether there were any."""
    operations = _bundle_patch(configuration, bundle)
    if operations:
        await cluster.patch(path, operations)
    return bool(operations)


def _bundle_patch(configuration: Body | None, bundle: bytes) -> list[dict[str, Any]]:
    """Return the JSON patch that sets the bundle in all webhooks of a configuration, empty when all have it.

    An apply would take over the whole list of webhooks, which belongs to the installer.
    """
    encoded = base64.b64encode(bundle).decode("ascii")
    operations: list[dict[str, Any]] = []
    for index, webhook in enumerate((configuration or {}).get("webhooks") or []):
        if (webhook.get("clientConfig") or {}).get("caBundle") != encoded:
            # The list may have changed since it was read.
            operations.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
            operations.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": encoded})
    return operations
