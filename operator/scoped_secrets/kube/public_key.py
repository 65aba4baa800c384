"""Publishes and fetches the sealing certificate: a ConfigMap that every authenticated user can read.

With a ConfigMap, sealing needs neither a port-forward nor a route to the admission server, only the user's credentials
for the API server. The API server protects its content: changing it takes write access to the operator's own namespace.
"""

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["fetch_certificate", "publish_certificate"]


async def publish_certificate(cluster: Cluster, namespace: str, certificate: SealingCertificate) -> bool:
    """Write the certificate into its ConfigMap if the stored data differ, and tell whether it was written.

    Args:
        cluster: The client.
        namespace: The operator's own namespace.
        certificate: The certificate to publish.

    Raises:
        ClusterError: The ConfigMap could not be read or written.
    """
    path = paths.config_maps(namespace, names.CERTIFICATE_CONFIG_MAP)
    data = {names.CERTIFICATE_FILE: certificate.serialize().decode("ascii")}
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
    place = f"the ConfigMap '{namespace}/{names.CERTIFICATE_CONFIG_MAP}'"
    try:
        published = await cluster.get(paths.config_maps(namespace, names.CERTIFICATE_CONFIG_MAP))
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not read {place}; ask for the Role of the same name, or for the certificate as a file",
            status=error.status,
        ) from None
    if published is None:
        raise ClusterError(
            f"{place} does not exist; check that the operator runs, and where, with --operator-namespace"
        )
    text = (published.get("data") or {}).get(names.CERTIFICATE_FILE)
    if not isinstance(text, str):
        raise KeyMaterialError(f"{place} has no '{names.CERTIFICATE_FILE}'; the controller writes it")
    try:
        return SealingCertificate.parse(text.encode())
    except KeyMaterialError:
        problem = f"{place} holds no sealing certificate of this version"
    raise KeyMaterialError(f"{problem}; check the controller, which writes it, and use the program of its version")
