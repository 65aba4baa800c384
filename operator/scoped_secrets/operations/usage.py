"""Which pods have a definition now: what admission wrote into them says it."""

from collections.abc import Mapping, Sequence
from typing import Final

from scoped_secrets import names
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["InjectedPods", "Usage", "read_injected", "read_usage"]

_SELECTOR: Final = f"{names.INJECT_LABEL}={names.INJECT_VALUE}"


@dataclass(frozen=True, slots=True)
class Usage:
    """The pods that have definitions.

    Attributes:
        by_uid: The pods as `namespace/name`, in order, by the UID of a ScopedSecret.
        unread: What could not be read, as parts of sentences.
        is_known: Whether the pods of any namespace could be read.
    """

    by_uid: Mapping[str, Sequence[str]]
    unread: tuple[str, ...]
    is_known: bool

    def pods(self, uid: str) -> Sequence[str]:
        """Return the pods that have a definition."""
        return self.by_uid.get(uid, ())


@dataclass(frozen=True, slots=True)
class InjectedPods:
    """The pods that opted in, as far as the person may read them.

    Attributes:
        bodies: The pods.
        unread: What could not be read, as parts of sentences.
        is_known: Whether the pods of any namespace could be read.
    """

    bodies: Sequence[Body]
    unread: tuple[str, ...]
    is_known: bool


async def read_injected(
    cluster: Cluster, known: Sequence[str], *, everywhere: bool = True, metadata_only: bool = False
) -> InjectedPods:
    """Read the pods that opted in.

    Args:
        cluster: The client.
        known: The namespaces to read where those of the whole cluster are not asked for, or not allowed.
        everywhere: Whether the pods of the whole cluster are asked for.
        metadata_only: Read their metadata only.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """

    async def read(namespace: str | None) -> list[Body]:
        return await cluster.list_all(paths.pods(namespace), label_selector=_SELECTOR, metadata_only=metadata_only)

    unread = []
    if everywhere:
        try:
            return InjectedPods(await read(None), (), is_known=True)
        except ForbiddenError:
            unread.append("the pods of other namespaces" if known else "the pods of all namespaces")
    bodies: list[Body] = []
    is_known = False
    for namespace in known:
        try:
            bodies += await read(namespace)
            is_known = True
        except ForbiddenError:
            unread.append(f"the pods of namespace '{namespace}'")
    return InjectedPods(bodies, tuple(unread), is_known)


async def read_usage(cluster: Cluster, known: Sequence[str]) -> Usage:
    """Read which pods have which definitions; their metadata only.

    Args:
        cluster: The client.
        known: The namespaces to read where the person may not list the pods of the whole cluster.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """
    pods = await read_injected(cluster, known, metadata_only=True)
    holders = _holders(pods.bodies)
    return Usage({uid: sorted(each) for uid, each in holders.items()}, pods.unread, pods.is_known)


def _holders(pods: Sequence[Body]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    if not pods:
        return found
    from scoped_secrets.core.injection.report import pins_of  # noqa: PLC0415 - it imports all about injection.

    for pod in pods:
        metadata = pod["metadata"]
        pins = pins_of((metadata.get("annotations") or {}).get(names.RESOLUTION_ANNOTATION))
        for uid in dict.fromkeys(pin.partition("@")[0] for pin in pins or ()):
            found.setdefault(uid, []).append(f"{metadata['namespace']}/{metadata['name']}")
    return found
