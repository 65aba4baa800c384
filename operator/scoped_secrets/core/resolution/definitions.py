"""Definitions: the domain form of stored ScopedSecrets, without secret values in plain text."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from sys import intern
from typing import Final, Self, TypeAlias

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey, EntryKind, EntryPosition, file_entry_name
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.core.scope.trust import Territory, Trust
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = [
    "Attach",
    "CopyRequest",
    "Definition",
    "Entry",
    "Override",
    "PlainSource",
    "Previous",
    "Rotation",
    "SealedDataKey",
    "SealedSource",
    "SecretKeySource",
    "SlottedDefinition",
    "Source",
    "is_reserved_source",
]

_OWN_SECRETS: Final = (
    names.SEALING_KEY_SECRET,
    names.FINGERPRINT_KEY_SECRET,
    names.CERTIFICATE_SECRET,
    names.ADMISSION_SECRET,
)


class Override(StrEnum):
    """What a narrower definition does with the wider definitions of its name."""

    REPLACE = "Replace"
    MERGE = "Merge"


class Attach(StrEnum):
    """Whether every job of the scope gets a bundle, or only the jobs that reference it."""

    ON_REFERENCE = "OnReference"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True)
class SealedSource:
    """A sealed value; only the controller can unseal it.

    Attributes:
        text: The sealed text. It is empty in the admission process, which needs only the size.
        size: The upper bound of the plaintext's size in bytes.
    """

    text: str = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class SealedDataKey:
    """A data key of a definition, which only the controller can unseal.

    Attributes:
        id: Its id, which the sealed texts of entries name.
        text: Its sealed text.
    """

    id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlainSource:
    """Plain configuration: the value of an entry with ``sensitive: false``."""

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
    """The largest allowed size of the value in bytes; the actual size is unknown until rendering."""
    is_optional: bool = False
    """Whether jobs run without the entry while the Secret or its key is missing."""
    is_missing: bool | None = None
    """Whether an optional source was missing at the controller's last check; ``None`` before the first check."""


def is_reserved_source(secret: str) -> bool:
    """Tell whether the name of a Secret is reserved for the bundles of pods or for the operator's own Secrets."""
    return secret.startswith(names.BUNDLE_PREFIX) or any(
        secret == own or secret.startswith(f"{own}-") for own in _OWN_SECRETS
    )


Source: TypeAlias = SealedSource | PlainSource | SecretKeySource


@dataclass(frozen=True, slots=True)
class Previous:
    """The former value of a variable, which jobs get beside the present one for some time.

    Attributes:
        of: The variable.
        until: From when on new jobs run without it.
    """

    of: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable or file of a definition.

    Attributes:
        kind: Variable or file.
        name: The name of the variable, or of the file as `file_entry_name` returns it.
        source: Where the value comes from.
        mode: The permissions of a file; ``None`` for a variable.
        path: The path of the file as written: absolute, relative or below ``~/``; ``None`` for a variable, and for a
            file that stays in the volume.
        env: The variable that holds the path of the file; ``None`` for a variable, and for a file without one.
        previous: For the former value of another variable, what that was; ``None`` for every other entry.
    """

    kind: EntryKind
    name: str
    source: Source
    mode: int | None = None
    path: str | None = None
    env: str | None = None
    previous: Previous | None = None

    @classmethod
    def variable(cls, name: str, source: Source, previous: Previous | None = None) -> Self:
        """Return the entry of a variable."""
        return cls(EntryKind.ENV, name, source, previous=previous)

    @classmethod
    def file(cls, path: str | None, mode: int, source: Source, env: str | None = None) -> Self:
        """Return the entry of a file, which has a path or a variable, or both."""
        return cls(EntryKind.FILE, file_entry_name(path, env), source, mode, path, env)

    @property
    def key(self) -> EntryKey:
        """Return the identity of the entry within its definition."""
        return EntryKey(self.kind, self.name)

    @property
    def sealing_key(self) -> EntryKey:
        """Return the entry that the sealed text was made for: another one only for a former value."""
        return self.key if self.previous is None else EntryKey(self.kind, self.previous.of)


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """The request for a copy of another definition, which the controller has not fulfilled yet.

    Attributes:
        namespace: The namespace of the source.
        name: The name of the source.
        grant: The text with which admission proves that it allowed the copy; empty without one.
    """

    namespace: str
    name: str
    grant: str = field(repr=False)

    @property
    def location(self) -> str:
        """Return ``namespace/name`` of the source."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How often the values should be replaced.

    Attributes:
        interval_days: The maximum age of a value in days.
        remind_days: How many days before the maximum age the reminders begin.
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
    env: tuple[Entry, ...] = ()
    files: tuple[Entry, ...] = ()
    data_keys: tuple[SealedDataKey, ...] = ()
    """The data keys of the entries' sealed texts; empty in the admission process, which has no sealed texts."""
    rotation: Rotation | None = None
    expires: datetime | None = None
    copy_request: CopyRequest | None = None
    """What the definition is to be a copy of; ``None`` when it has entries of its own."""
    previous_end: tuple[datetime, ...] = ()
    """When each former value ends, in the order of the variables."""
    not_ready: Reason | None = None
    """Why jobs cannot use the definition, from the controller's ``Ready`` condition; ``None`` when they can."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all entries: the variables, then the files, each in the order of the spec."""
        return *self.env, *self.files

    def enumerate_entries(self) -> Iterator[tuple[EntryPosition, Entry]]:
        """Yield each entry with its position in the spec."""
        for kind, entries in ((EntryKind.ENV, self.env), (EntryKind.FILE, self.files)):
            for index, entry in enumerate(entries):
                yield EntryPosition(kind, index), entry

    def data_key(self, data_key_id: str) -> SealedDataKey | None:
        """Return the data key with an id; ``None`` when the definition does not have it."""
        return next((each for each in self.data_keys if each.id == data_key_id), None)

    @property
    def location(self) -> str:
        """Return ``namespace/name``, as messages show it.

        The string is interned: several tables of an inventory have it as a key.
        """
        return intern(f"{self.namespace}/{self.name}")

    @property
    def pin(self) -> str:
        """Return ``uid@generation``, which a pod records for every definition that it uses (DESIGN section 9)."""
        return f"{self.uid}@{self.generation}"

    def is_expired(self, now: datetime) -> bool:
        """Tell whether `spec.expireTime` has passed; then no job can use the definition."""
        return self.expires is not None and now >= self.expires

    @property
    def seniority(self) -> tuple[str, str]:
        """Return the order of definitions of equal trust in a conflict."""
        return self.created, self.location


@dataclass(frozen=True, slots=True)
class SlottedDefinition:
    """A definition and the slot that the binding of its namespace assigns to it."""

    definition: Definition
    slot: Slot
    trust: Trust

    @property
    def is_final(self) -> bool:
        """Tell whether narrower definitions are ignored; only the home can say so."""
        return self.definition.final and self.trust is Trust.HOME

    @property
    def seniority(self) -> tuple[int, str, str]:
        """Return the order of definitions in a conflict: the smallest keeps the slot (rule A.1)."""
        return -self.trust, *self.definition.seniority

    def counts_in(self, territory: Territory, *, is_referenced: bool) -> bool:
        """Tell whether the definition counts for the jobs of an environment whose scope it applies to.

        Args:
            territory: Whose objects count there.
            is_referenced: Whether the pod or its namespace names the bundle.
        """
        if not territory.is_own or self.trust is not Trust.PROJECT:
            return True
        return self.slot.scope is not Scope.ENVIRONMENT and (is_referenced or territory.admits_attached)
