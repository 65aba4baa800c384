"""Definitions as the core sees them: what a ScopedSecret says, without its values in plain text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.names import Reason

__all__ = [
    "Attach",
    "Definition",
    "EnvEntry",
    "FileEntry",
    "Override",
    "PlainSource",
    "Rotation",
    "SealedSource",
    "SecretKeySource",
    "SlottedDefinition",
    "Source",
    "describe_entry",
    "is_reserved_source",
]

_OWN_SECRETS: Final = (
    names.SEALING_KEY_SECRET,
    names.FINGERPRINT_KEY_SECRET,
    names.CERTIFICATE_SECRET,
    names.ADMISSION_SECRET,
)


class Override(StrEnum):
    """What a narrower definition does with the wider ones of its name."""

    REPLACE = "Replace"
    MERGE = "Merge"


class Attach(StrEnum):
    """Whether a bundle comes to every job of its scope or only to those that name it."""

    ON_REFERENCE = "OnReference"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True)
class SealedSource:
    """A value that only the controller can open.

    Attributes:
        text: The sealed text; empty where only the plan matters (the admission process keeps no ciphertext).
        size: The upper bound of the plaintext's size in bytes.
    """

    text: str = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class PlainSource:
    """Plain configuration: an entry with ``sensitive: false``, readable by everyone by its author's choice."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class SecretKeySource:
    """One key of a native Secret in the definition's own namespace."""

    secret: str
    key: str
    size: int = 32 * 1024
    """The largest size in bytes that the value may have: what it has is not known before rendering."""
    is_optional: bool = False
    """Whether jobs go without the entry while the Secret or its key is missing."""
    is_missing: bool | None = None
    """Whether an optional source was missing when the controller last looked; ``None`` when that is not known."""


def is_reserved_source(secret: str) -> bool:
    """Tell whether a Secret's name alone says that it is a pod's bundle or one of the operator's own."""
    return secret.startswith(names.BUNDLE_PREFIX) or any(
        secret == own or secret.startswith(f"{own}-") for own in _OWN_SECRETS
    )


Source: TypeAlias = SealedSource | PlainSource | SecretKeySource


@dataclass(frozen=True, slots=True)
class EnvEntry:
    """One variable."""

    name: str
    source: Source


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file; the path as written, absolute, relative or below ``~/``."""

    path: str
    mode: int
    source: Source


def describe_entry(entry: EnvEntry | FileEntry) -> str:
    """Return the words for an entry in a message: its kind and its name."""
    return f"variable '{entry.name}'" if isinstance(entry, EnvEntry) else f"file '{entry.path}'"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How often the values should be replaced.

    Attributes:
        interval_days: The age in days that no value should exceed.
        remind_days: For how many days before that people are reminded.
    """

    interval_days: int
    remind_days: int


@dataclass(frozen=True, slots=True)
class Definition:
    """One stored ScopedSecret at one generation."""

    uid: str
    generation: int
    namespace: str
    name: str
    created: str
    """The creation time as RFC 3339 in UTC, whose text order is its time order."""
    secret_name: str
    scope: Scope
    project: str | None = None
    environment: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    override: Override = Override.REPLACE
    final: bool = False
    attach: Attach = Attach.ON_REFERENCE
    env: tuple[EnvEntry, ...] = ()
    files: tuple[FileEntry, ...] = ()
    rotation: Rotation | None = None
    expires: datetime | None = None
    not_ready: Reason | None = None
    """Why nobody may use it now, from the controller's ``Ready`` condition; ``None`` when it may be used."""

    @property
    def location(self) -> str:
        """Return ``namespace/name``, as people are shown it."""
        return f"{self.namespace}/{self.name}"

    @property
    def pin(self) -> str:
        """Return ``uid@generation``, which a pod records of every definition that it uses (DESIGN section 9)."""
        return f"{self.uid}@{self.generation}"

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time is over: from that moment on nobody may use it."""
        return self.expires is not None and now >= self.expires

    @property
    def seniority(self) -> tuple[str, str]:
        """Return the order in a conflict: the least one keeps the slot (rule A.1)."""
        return self.created, self.location


@dataclass(frozen=True, slots=True)
class SlottedDefinition:
    """A definition in the slot that its namespace gives it."""

    definition: Definition
    slot: Slot
