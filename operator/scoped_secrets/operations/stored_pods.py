"""Stored pods of a cluster, read with the rights of the person who asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.pod_bundles import PodBundles, read_pod_bundles
from scoped_secrets.operations.usage import read_injected

__all__ = ["Users", "fetch_pod", "what_gets", "who_uses"]


@dataclass(frozen=True, slots=True)
class Users:
    """The pods that hold a bundle.

    Attributes:
        pods: The pods.
        unread: What could not be read, as parts of sentences.
        is_known: Whether the pods of any namespace could be read.
    """

    pods: tuple[PodBundles, ...]
    unread: tuple[str, ...]
    is_known: bool


async def fetch_pod(cluster: Cluster, namespace: str, name: str) -> Body:
    """Return a stored pod.

    Raises:
        ConfigurationError: There is none of this name.
        ClusterError: It cannot be read.
    """
    body = await cluster.get(paths.pods(namespace, name))
    if body is None:
        raise ConfigurationError(f"namespace '{namespace}' has no pod '{name}'; check both names")
    return body


async def what_gets(cluster: Cluster, namespace: str, name: str) -> PodBundles | None:
    """Return what a pod holds; ``None`` for a pod without a bundle."""
    return read_pod_bundles(await fetch_pod(cluster, namespace, name))


async def who_uses(cluster: Cluster, bundle: str, namespaces: Sequence[str], current: str) -> Users:
    """Return the pods that hold a bundle of a name, in any organization.

    Args:
        cluster: The client.
        bundle: The name of the bundle.
        namespaces: Where to look; with none, everywhere.
        current: Where to look if everywhere is not allowed.

    Raises:
        ClusterError: The API server does not answer.
    """
    pods = await read_injected(cluster, namespaces or [current], everywhere=not namespaces)
    read = (read_pod_bundles(body) for body in pods.bodies)
    found = [pod for pod in read if pod is not None and _holds(pod, bundle)]
    found.sort(key=lambda pod: (pod.namespace, pod.name))
    return Users(tuple(found), pods.unread, pods.is_known)


def _holds(pod: PodBundles, bundle: str) -> bool:
    return pod.has_unknown or any(each.name == bundle for each in pod.bundles)
