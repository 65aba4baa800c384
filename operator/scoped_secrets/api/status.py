"""What the controller reports about each kind: names, counts and fingerprints, bounded, and never a value."""

from typing import Annotated, Final, TypeAlias

from pydantic import Field, StringConstraints

from scoped_secrets.api.base import ATOMIC, CamelModel, Condition, Time, list_map
from scoped_secrets.api.patterns import SENTENCES
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto.recorded_fingerprints import RECORDED_CHARACTERS

__all__ = ["EntryStatus", "MissingEntry", "ScopedSecretStatus", "SecretPolicyStatus"]

_FINGERPRINT: Final = r"^[0-9a-f]{10}$"
SENTENCES[_FINGERPRINT] = "must be 10 hexadecimal digits"

_MAX_LOCATION: Final = 63 + 1 + 253

Location: TypeAlias = Annotated[str, StringConstraints(max_length=_MAX_LOCATION)]
Conditions: TypeAlias = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))]
_RECORDED: Final = rf"^[A-Za-z0-9+/]{{{RECORDED_CHARACTERS - 1}}}=$"
SENTENCES[_RECORDED] = "must be what the controller recorded"
Digits: TypeAlias = Annotated[str, StringConstraints(max_length=10, pattern=_FINGERPRINT)]
Count: TypeAlias = Annotated[int, Field(ge=0)]


class EntryStatus(CamelModel):
    """The fingerprint and the age of one stored value."""

    kind: EntryKind
    """Whether the entry is a variable, `Env`, or a file, `File`."""
    name: Annotated[str, StringConstraints(max_length=512)]
    """Name of the variable or path of the file, as written in the spec; `$NAME` for a file that has no path and to
    which the variable NAME points."""
    fingerprint: Digits | None = None
    """First 10 hexadecimal digits of a keyed, salted digest of the value. Equal digits over time mean that this entry
    did not change; the same value has other digits when it is sealed again. Absent when the value was sealed offline,
    because the key of the digest is only in the cluster."""
    sealed_digest: Digits | None = None
    """Instead of the fingerprint of a value that was sealed offline: first 10 hexadecimal digits of a digest of the
    sealed text. It changes whenever the value is sealed again, even when the value is the same."""
    recorded_fingerprint: (
        Annotated[str, StringConstraints(max_length=RECORDED_CHARACTERS, pattern=_RECORDED)] | None
    ) = None
    """A keyed, salted digest of a value that was sealed offline, which the controller has opened, and a digest of its
    sealed text. `verify` and an apply of the same value compare with it. Absent until the controller has opened the
    value, and with `settings.keepUnchanged: false` in the chart."""
    changed_time: Time
    """When the controller first saw these digits, as RFC 3339: the age of the value, from which `spec.rotation`
    counts."""


class MissingEntry(CamelModel):
    """One optional entry that jobs do not get now."""

    kind: EntryKind
    """Whether the entry is a variable, `Env`, or a file, `File`."""
    name: Annotated[str, StringConstraints(max_length=512)]
    """Name of the variable or path of the file, as written in the spec; `$NAME` for a file that has no path and to
    which the variable NAME points."""

    @property
    def key(self) -> EntryKey:
        """Return the identity of the entry within the definition."""
        return EntryKey(self.kind, self.name)


class ScopedSecretStatus(CamelModel):
    """What the controller observed about a ScopedSecret."""

    observed_generation: Count = 0
    """The `metadata.generation` that the status describes; while it is lower than the object's, the status is out of
    date."""
    key_id: Annotated[str, StringConstraints(max_length=64)] = ""
    """Id of the oldest sealing key that an entry needs; empty without sealed entries. The entries must be sealed again
    before the key is retired."""
    conditions: Conditions = ()
    """Conditions, one of each type: `Ready` (jobs may use it), `Conflicted` (an older definition has the same name
    and scope), `Blocked` (a wider definition is final), `Restricted` (a part does not count, because it would change
    what a namespace gets that is trusted more), with `spec.rotation` `RotationDue` (a value should be replaced; jobs
    still get it) and with `spec.expireTime` `Expired` (every job that names the bundle is denied)."""
    env_count: Count = 0
    """Number of variables in the bundle."""
    file_count: Count = 0
    """Number of files in the bundle."""
    shadows: Annotated[tuple[Location, ...], Field(max_length=20, json_schema_extra=ATOMIC)] = ()
    """Wider definitions of the same name that this one hides from jobs at its scope, as `namespace/name`; at most the
    first 20 in order."""
    shadowed_by: Annotated[tuple[Location, ...], Field(max_length=20, json_schema_extra=ATOMIC)] = ()
    """Definitions of the same name that hide this one from some or all of its jobs, as `namespace/name`; at most the
    first 20 in order."""
    entries: Annotated[tuple[EntryStatus, ...], Field(max_length=150, json_schema_extra=list_map("kind", "name"))] = ()
    """The sealed entries with the fingerprints and ages of their values: they show that a value changed without
    showing the value. Entries with `sensitive: false` or `valueFrom` are left out."""
    missing_entries: Annotated[
        tuple[MissingEntry, ...], Field(max_length=150, json_schema_extra=list_map("kind", "name"))
    ] = ()
    """The entries with `valueFrom.secretKeyRef.optional` that jobs do not get now, because the Secret or its key is
    missing. The controller checks every 30 seconds at most."""


class SecretPolicyStatus(CamelModel):
    """What the controller observed about a SecretPolicy."""

    observed_generation: Count = 0
    """The `metadata.generation` that the status describes; while it is lower than the object's, the status is out of
    date."""
    conditions: Conditions = ()
    """Conditions, one of each type: `Accepted` (this version enforces every field), `Ready` (it is accepted, and its
    namespace has a scope path) and, only when it applies, `Ineffective` (it governs no definition, names a definition
    that it does not govern, or is an Allow policy that no job can match). A policy that is not accepted denies every
    bundle that it selects."""
    matched_count: Count = 0
    """Number of definitions that the policy governs."""
    matched: Annotated[tuple[Location, ...], Field(max_length=20, json_schema_extra=ATOMIC)] = ()
    """Definitions that the policy governs, as `namespace/name`; at most the first 20 in order."""
