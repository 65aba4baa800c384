"""Publishes and fetches the sealing certificate and the comparison key: a ConfigMap that all users can read.

With a ConfigMap, sealing needs neither a port-forward nor a route to the admission server, only the user's credentials
for the API server. The API server protects its content: changing it takes write access to the operator's own namespace.
"""

from typing import Final

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import PublicSealingKey
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["fetch_certificate", "fetch_comparison_key", "publish_keys"]

_ROLE: Final = "ask for the Role of the same name"


async def publish_keys(
    cluster: Cluster, namespace: str, certificate: SealingCertificate, comparison_key: PublicSealingKey
) -> bool:
    """Write the certificate and the comparison key into their ConfigMap if the stored data differ.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        certificate: The certificate to publish.
        comparison_key: The public half of the comparison key.

    Returns:
        Whether the ConfigMap was written.

    Raises:
        ClusterError: The ConfigMap could not be read or written.
    """
    path = paths.config_maps(namespace, names.CERTIFICATE_CONFIG_MAP)
    data = {
        names.CERTIFICATE_FILE: certificate.serialize().decode("ascii"),
        names.COMPARISON_KEY_FILE: comparison_key.serialize().decode("ascii"),
    }
    existing = await cluster.get(path)
    if existing is not None and existing.get("data") == data:
        return False
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": namespace,
            "name": names.CERTIFICATE_CONFIG_MAP,
            "labels": {names.MANAGED_BY_LABEL: names.DISTRIBUTION},
        },
        "data": data,
    }
    await cluster.apply(path, body)
    return True


async def fetch_certificate(cluster: Cluster, namespace: str) -> SealingCertificate:
    """Return the certificate that the cluster publishes.

    Raises:
        KeyMaterialError: The ConfigMap has no valid certificate.
        ClusterError: The ConfigMap does not exist or cannot be read.
    """
    place = _place(namespace)
    remedy = f"{_ROLE}, or for the certificate as a file, which `scoped-secrets seal --cert` takes"
    text = await _fetch(cluster, namespace, names.CERTIFICATE_FILE, remedy)
    if text is None:
        raise KeyMaterialError(f"{place} has no '{names.CERTIFICATE_FILE}'; the controller writes it")
    try:
        return SealingCertificate.parse(text.encode())
    except KeyMaterialError:
        problem = f"{place} holds no sealing certificate of this version"
    raise KeyMaterialError(f"{problem}; check the controller, which writes it, and use the program of its version")


async def fetch_comparison_key(cluster: Cluster, namespace: str) -> PublicSealingKey:
    """Return the public half of the comparison key that the cluster publishes.

    Raises:
        KeyMaterialError: The ConfigMap has no valid comparison key.
        ClusterError: The ConfigMap does not exist or cannot be read.
    """
    place = _place(namespace)
    remedy = f"{_ROLE} (`rbac.publicKey` of the chart), without which values cannot be sent sealed"
    text = await _fetch(cluster, namespace, names.COMPARISON_KEY_FILE, remedy)
    if text is None:
        raise KeyMaterialError(
            f"{place} has no '{names.COMPARISON_KEY_FILE}', so values cannot be sent sealed; upgrade the operator, "
            "whose controller writes it"
        )
    try:
        return PublicSealingKey.parse(text.encode())
    except KeyMaterialError:
        problem = f"{place} holds no comparison key of this version"
    raise KeyMaterialError(f"{problem}; check the controller, which writes it, and use the program of its version")


def _place(namespace: str) -> str:
    return f"the ConfigMap '{namespace}/{names.CERTIFICATE_CONFIG_MAP}'"


async def _fetch(cluster: Cluster, namespace: str, file: str, remedy: str) -> str | None:
    """Return a text of the ConfigMap, None when it does not have this one.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        file: The key of the text.
        remedy: What a person can do who may not read the ConfigMap.

    Raises:
        ClusterError: The ConfigMap does not exist or cannot be read.
    """
    place = _place(namespace)
    try:
        published = await cluster.get(paths.config_maps(namespace, names.CERTIFICATE_CONFIG_MAP))
    except ForbiddenError as error:
        raise ForbiddenError(f"you may not read {place}; {remedy}", status=error.status) from None
    if published is None:
        raise ClusterError(
            f"{place} does not exist; check that the operator runs, and where, with --operator-namespace"
        )
    text = (published.get("data") or {}).get(file)
    return text if isinstance(text, str) else None
