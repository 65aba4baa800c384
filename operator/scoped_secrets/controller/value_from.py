"""Values that `spec...valueFrom` takes from native Secrets of the definition's own namespace (DESIGN section 7).

The controller reads them when it renders a bundle, by name and with `get` only, and keeps nothing afterwards. The roles
for that are separate and off by default: `manifests/optional/value-from.yaml`.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.core.resolution.definitions import (
    Definition,
    EnvEntry,
    FileEntry,
    SecretKeySource,
    is_reserved_source,
)
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError, ForbiddenError, ScopedSecretsError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["Reading", "SourceError", "SourceKey", "SourceReport", "Sources", "check_sources", "read_sources"]

_KIB: Final = 1024

_REFUSED_TYPES: Final = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
"""Credentials of the cluster itself: with them, a job would act as another identity."""

_RESERVED_LABELS: Final = frozenset({names.COMPONENT_LABEL, names.POD_UID_LABEL})
"""The labels of the operator's own keys and of bundle Secrets, whatever their names are."""

SourceKey: TypeAlias = tuple[str, SecretKeySource]
"""A namespace, and the key of a Secret in it."""

Sources: TypeAlias = Mapping[SourceKey, SecretValue]
"""The values of one rendering."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The values that were read for one rendering.

    Attributes:
        values: The values.
        versions: UID and resourceVersion of each Secret that was read; empty without any Secret.
    """

    values: Sources
    versions: frozenset[str]


class SourceError(ScopedSecretsError):
    """A source cannot be used.

    Attributes:
        location: The definition that names it, as ``namespace/name``.
        uid: The UID of that definition.
        message: What is missing, by name, and the remedy.
    """

    def __init__(self, definition: Definition, message: str) -> None:
        """Keep names, for a message."""
        super().__init__(message)
        self.location = definition.location
        self.uid = definition.uid
        self.message = message


@dataclass(frozen=True, slots=True)
class _SourceEntry:
    """An entry that takes its value from a Secret."""

    definition: Definition
    entry: EnvEntry | FileEntry
    source: SecretKeySource


@dataclass(frozen=True, slots=True)
class SourceReport:
    """Which sources of one definition cannot be used.

    Attributes:
        problem: The message about the first source that cannot be used; ``None`` when all can.
        missing: The optional entries whose Secret or key does not exist.
    """

    problem: str | None = None
    missing: tuple[EnvEntry | FileEntry, ...] = ()


async def read_sources(cluster: Cluster, contributions: Iterable[Contribution]) -> Reading:
    """Return the values that entries take from Secrets; each Secret is read once.

    Args:
        cluster: The API server.
        contributions: The entries; those with other sources are ignored.

    Raises:
        SourceError: The first source that cannot be used.
        UnavailableError: A Secret could not be read this time.
    """
    return await _read(cluster, [(each.definition, each.entry) for each in contributions])


async def check_sources(cluster: Cluster, definition: Definition) -> SourceReport:
    """Find out which sources of a definition cannot be used.

    Raises:
        UnavailableError: A Secret could not be read this time.
    """
    entries: tuple[EnvEntry | FileEntry, ...] = (*definition.env, *definition.files)
    missing: list[EnvEntry | FileEntry] = []
    try:
        await _read(cluster, [(definition, entry) for entry in entries], missing)
    except SourceError as error:
        return SourceReport(error.message)
    # In the order of the definition, not in the order in which the Secrets were read.
    return SourceReport(missing=tuple(entry for entry in entries if entry in missing))


async def _read(
    cluster: Cluster,
    entries: Iterable[tuple[Definition, EnvEntry | FileEntry]],
    missing: list[EnvEntry | FileEntry] | None = None,
) -> Reading:
    """Return the values of entries that have such a source.

    Args:
        cluster: The API server.
        entries: The entries with their definitions.
        missing: Collects the optional entries whose source does not exist; if ``None``, they raise like others.

    Raises:
        SourceError: The first source that cannot be used.
        UnavailableError: A Secret could not be read this time.
    """
    by_secret: dict[tuple[str, str], list[_SourceEntry]] = {}
    for definition, entry in entries:
        if isinstance(entry.source, SecretKeySource):
            # The definition's own namespace, never the pod's: a source cannot be in another namespace.
            place = definition.namespace, entry.source.secret
            by_secret.setdefault(place, []).append(_SourceEntry(definition, entry, entry.source))
    values: dict[SourceKey, SecretValue] = {}
    versions: set[str] = set()
    for (namespace, name), wanted in by_secret.items():
        body = await _body(cluster, namespace, name, wanted[0].definition)
        data = None if body is None else body.get("data") or {}
        if body is not None:
            versions.add(f"{body['metadata'].get('uid')}@{body['metadata'].get('resourceVersion')}")
        for each in wanted:
            absence = _why_absent(data, each.source)
            if absence is None:
                values[namespace, each.source] = _value(data or {}, each)
            elif each.source.is_optional and missing is not None:
                missing.append(each.entry)
            else:
                raise SourceError(each.definition, absence)
        del body, data
    return Reading(values, frozenset(versions))


async def _body(cluster: Cluster, namespace: str, name: str, definition: Definition) -> Mapping[str, Any] | None:
    """Return a Secret that may be a source, ``None`` when it does not exist.

    Raises:
        SourceError: It is reserved, or the controller may not read it.
    """
    if is_reserved_source(name):
        raise SourceError(definition, _reserved(name))
    try:
        body = await cluster.get(paths.secrets(namespace, name))
    except UnavailableError:
        raise
    except ForbiddenError:
        raise SourceError(
            definition,
            f"the operator may not read Secret '{name}' of namespace '{namespace}'; set `valueFrom.enabled` of the "
            "chart or apply manifests/optional/value-from.yaml, or the Role in it for this namespace",
        ) from None
    except ClusterError:
        raise SourceError(definition, f"Secret '{name}' cannot be read; see the controller's log") from None
    if body is None:
        return None
    labels = (body.get("metadata") or {}).get("labels") or {}
    if body.get("type") in _REFUSED_TYPES or _RESERVED_LABELS & labels.keys():
        raise SourceError(definition, _reserved(name))
    return body


def _why_absent(data: Mapping[str, Any] | None, source: SecretKeySource) -> str | None:
    """Return the message about a Secret or key that does not exist, ``None`` when it does."""
    # A pod that was injected with the entry needs it; the next pod goes without it.
    otherwise = ", or create the pod again, which then goes without this optional entry" if source.is_optional else ""
    if data is None:
        return f"Secret '{source.secret}' that `valueFrom` names is missing; create it{otherwise}"
    if not isinstance(data.get(source.key), str):
        return f"{_describe(source)} that `valueFrom` names is missing; add it{otherwise}"
    return None


def _value(data: Mapping[str, Any], wanted: _SourceEntry) -> SecretValue:
    """Return the value of one key.

    Raises:
        SourceError: The entry cannot have this value.
    """
    source = wanted.source
    described = _describe(source)
    try:
        value = SecretValue(base64.b64decode(data[source.key], validate=True))
    except (binascii.Error, ValueError):
        value = None
    if value is None:
        # Raised outside of the handler: the exception's context would hold the text.
        raise SourceError(wanted.definition, f"{described} cannot be decoded; store it again")
    if value.size > source.size:
        raise SourceError(
            wanted.definition, f"{described} must be at most {source.size // _KIB} KiB; store a smaller value"
        )
    if isinstance(wanted.entry, EnvEntry) and not _is_text(value):
        raise SourceError(
            wanted.definition, f"{described} must be UTF-8 without NUL for a variable; put bytes into `spec.files`"
        )
    return value


def _describe(source: SecretKeySource) -> str:
    return f"key '{source.key}' of Secret '{source.secret}'"


def _is_text(value: SecretValue) -> bool:
    try:
        return "\0" not in value.reveal().decode()
    except UnicodeDecodeError:
        return False


def _reserved(name: str) -> str:
    return f"Secret '{name}' holds credentials of the cluster or this operator and cannot be a source; name another one"
