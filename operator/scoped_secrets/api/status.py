"""What the controller reports of each kind: names, counts and fingerprints, bounded, and never a value."""

from typing import Annotated, Final, TypeAlias

from pydantic import Field, StringConstraints

from scoped_secrets.api.base import SENTENCES, CamelModel, Condition, Time, list_map
from scoped_secrets.core.entry import EntryKey, EntryKind

__all__ = ["EntryStatus", "MissingEntry", "ScopedSecretStatus", "SecretPolicyStatus", "Usage"]

_FINGERPRINT: Final = r"^[0-9a-f]{10}$"
SENTENCES[_FINGERPRINT] = "must be 10 hexadecimal digits"

_MAX_LOCATION: Final = 63 + 1 + 253
_ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}

Location: TypeAlias = Annotated[str, StringConstraints(max_length=_MAX_LOCATION)]
Conditions: TypeAlias = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))]
Digits: TypeAlias = Annotated[str, StringConstraints(max_length=10, pattern=_FINGERPRINT)]
Count: TypeAlias = Annotated[int, Field(ge=0)]


class EntryStatus(CamelModel):
    """What may be told about one stored value."""

    kind: EntryKind
    """Whether the entry is a variable, `Env`, or a file, `File`."""
    name: Annotated[str, StringConstraints(max_length=512)]
    """Name of the variable or path of the file, as written in the spec."""
    fingerprint: Digits | None = None
    """First 10 hexadecimal digits of a keyed digest of the value. Equal digits over time mean that this entry did not
    change; digits of different entries or objects say nothing about each other. Absent when the value was sealed
    offline, where nobody has the key."""
    sealed_digest: Digits | None = None
    """Instead of the fingerprint of a value that was sealed offline: first 10 hexadecimal digits of a digest of the
    sealed text. It changes whenever the value is sealed again, even when the value is the same."""
    changed_time: Time
    """Since when the controller has known these digits, as RFC 3339: the age of the value, from which
    `spec.rotation` counts."""


class MissingEntry(CamelModel):
    """One entry that jobs go without."""

    kind: EntryKind
    """Whether the entry is a variable, `Env`, or a file, `File`."""
    name: Annotated[str, StringConstraints(max_length=512)]
    """Name of the variable or path of the file, as written in the spec."""

    @property
    def key(self) -> EntryKey:
        """Return the identity of the entry within the definition."""
        return EntryKey(self.kind, self.name)


class Usage(CamelModel):
    """One consumer that was given the bundle."""

    namespace: Annotated[str, StringConstraints(max_length=63)]
    """Namespace of the pods."""
    consumer: Annotated[str, StringConstraints(max_length=_MAX_LOCATION)]
    """Kind and name of what created the pods, such as `Job/deploy`."""
    last_used_time: Time
    """When one of its pods was last given the bundle, as RFC 3339."""


class ScopedSecretStatus(CamelModel):
    """What the controller observed about a ScopedSecret."""

    observed_generation: Count = 0
    """The `metadata.generation` that the status is about; while it is behind, the status is out of date."""
    key_id: Annotated[str, StringConstraints(max_length=64)] = ""
    """Id of the oldest sealing key that an entry needs; empty without sealed entries. When the key is retired, the
    entries have to be sealed again."""
    conditions: Conditions = ()
    """Conditions, one of each type: `Ready` (jobs may use it), `Conflicted` (an older definition holds the same place),
    `Blocked` (a wider definition is final), with `spec.rotation` `RotationDue` (a value should be replaced; jobs still
    get it) and with `spec.expireTime` `Expired` (every job that names it is refused)."""
    env_count: Count = 0
    """Number of variables in the bundle."""
    file_count: Count = 0
    """Number of files in the bundle."""
    shadows: Annotated[tuple[Location, ...], Field(max_length=20, json_schema_extra=_ATOMIC)] = ()
    """Wider definitions of the same name that this one hides from jobs at its scope, as `namespace/name`; at most the
    first 20 in order."""
    shadowed_by: Annotated[tuple[Location, ...], Field(max_length=20, json_schema_extra=_ATOMIC)] = ()
    """Definitions of the same name that hide this one from some or all of its jobs, as `namespace/name`; at most the
    first 20 in order."""
    entries: Annotated[tuple[EntryStatus, ...], Field(max_length=150, json_schema_extra=list_map("kind", "name"))] = ()
    """The sealed entries with the fingerprints of their values and since when they have them, so that a person can see
    that a value changed without seeing it. Entries with `sensitive: false` or `valueFrom` are left out."""
    missing_entries: Annotated[
        tuple[MissingEntry, ...], Field(max_length=150, json_schema_extra=list_map("kind", "name"))
    ] = ()
    """The entries with `valueFrom.secretKeyRef.optional` that jobs go without now, because the Secret or its key is
    missing. The controller looks every 30 seconds at most."""
    published_count: Count = 0
    """Number of namespaces that hold the published Secret; 0 without `spec.publish`."""
    last_used_time: Time | None = None
    """When a pod was last given the bundle, as RFC 3339; written in batches, minutes late. Absent when never."""
    use_count: Count = 0
    """Number of pods that were given the bundle since it was created; written in batches, minutes late."""
    usage: Annotated[tuple[Usage, ...], Field(max_length=20, json_schema_extra=_ATOMIC)] = ()
    """The last distinct consumers of the bundle, at most 20, the latest first."""


class SecretPolicyStatus(CamelModel):
    """What the controller observed about a SecretPolicy."""

    observed_generation: Count = 0
    """The `metadata.generation` that the status is about; while it is behind, the status is out of date."""
    conditions: Conditions = ()
    """Conditions, one of each type: `Ready` (the policy is enforced). A policy that is not ready denies what it
    selects."""
