"""The sealing keys and who uses them, as a person may see them: without any key, and without any value."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scoped_secrets import names
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.sealed_texts import TextHeader, parse_header
from scoped_secrets.errors import SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.sealing_keys import SELECTOR

__all__ = ["StoredKey", "Use", "list_definitions", "list_keys", "use_of"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The Secret of one sealing key, without its data.

    Attributes:
        key_id: The key's id.
        created: When it was made, as RFC 3339 in UTC.
        secret: Name of the Secret.
        uid: Identity of the Secret.
        is_active: Whether values are sealed for it now.
    """

    key_id: str
    created: str
    secret: str
    uid: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Use:
    """One ScopedSecret and the keys that its values need.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its identity.
        key_ids: The ids in its sealed texts and data keys.
        has_fingerprints: Whether one of its values has a fingerprint, in its text or recorded in the status.
        has_unsalted: Whether one of them has a fingerprint without a salt, as former versions stored it.
        has_self_contained: Whether one of them is not under a data key.
        annotations: The keys of its annotations.
        ready: Reason and message of its condition `Ready` while that is not true.
    """

    namespace: str
    name: str
    uid: str
    key_ids: frozenset[str]
    has_fingerprints: bool
    has_unsalted: bool
    has_self_contained: bool
    annotations: frozenset[str]
    ready: tuple[str, str] | None

    @property
    def location(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


async def list_keys(cluster: Cluster, namespace: str) -> list[StoredKey]:
    """Return the keys, the active one first. It requests only metadata, so that no key reaches this machine.

    Raises:
        ClusterError: They cannot be listed.
    """
    listed = await cluster.list_all(paths.secrets(namespace), label_selector=SELECTOR, metadata_only=True)
    items = [item["metadata"] for item in listed]
    # The order of the controller's own ring: the newest is the active one, and the id decides between equal times.
    items.sort(key=_age, reverse=True)
    return [
        StoredKey(key_id, created, item["name"], item["uid"], is_active=index == 0)
        for index, item in enumerate(items)
        for created, key_id in [_age(item)]
    ]


async def list_definitions(cluster: Cluster, namespace: str | None = None) -> list[Use]:
    """Return the ScopedSecrets of a namespace, or all of them, with the keys that they need.

    Raises:
        ClusterError: They cannot be listed.
    """
    uses: list[Use] = []
    async for page in cluster.pages(paths.scoped_secrets(namespace)):
        if page.starts_list:
            uses.clear()
        uses += [use_of(item) for item in page.items]
    return uses


def use_of(body: Mapping[str, Any]) -> Use:
    """Return the keys that a ScopedSecret needs, as its sealed texts say."""
    metadata = body["metadata"]
    spec = body.get("spec") or {}
    headers = [*_headers(spec.get("env")), *_headers(spec.get("files"))]
    self_contained = [header for header in headers if isinstance(header, SealedHeader)]
    data_keys = [header for header in _headers(spec.get("dataKeys")) if isinstance(header, SealedHeader)]
    return Use(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        key_ids=frozenset(header.key_id for header in (*self_contained, *data_keys)),
        has_fingerprints=any(header.fingerprint is not None for header in headers) or _has_recorded(body),
        has_unsalted=any(header.fingerprint is not None and not header.fingerprint.salt for header in headers),
        has_self_contained=bool(self_contained),
        annotations=frozenset(metadata.get("annotations") or {}),
        ready=_not_ready(body),
    )


def _age(metadata: Mapping[str, Any]) -> tuple[str, str]:
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    return str(annotations.get(names.CREATED_ANNOTATION, "")), str(labels.get(names.KEY_ID_LABEL, ""))


def _headers(items: Iterable[Mapping[str, Any]] | None) -> Iterator[TextHeader]:
    for item in items or ():
        text = item.get("sealed")
        if text:
            try:
                yield parse_header(text)
            except SealingError:
                continue


def _has_recorded(body: Mapping[str, Any]) -> bool:
    return any("recordedFingerprint" in entry for entry in (body.get("status") or {}).get("entries") or ())


def _not_ready(body: Mapping[str, Any]) -> tuple[str, str] | None:
    for condition in (body.get("status") or {}).get("conditions") or ():
        if condition.get("type") == names.ConditionType.READY and condition.get("status") != "True":
            return str(condition.get("reason", "")), str(condition.get("message", ""))
    return None
