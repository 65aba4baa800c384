"""The ScopedSecret: one bundle of variables and files at one scope (DESIGN section 5)."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from scoped_secrets.api.base import ATOMIC, MAP_BY_NAME, CamelModel, ObjectMeta, Rule, Time, list_map, validations
from scoped_secrets.api.entries import EntryModel, EnvEntryModel, FileEntryModel
from scoped_secrets.api.patterns import ENVIRONMENT, LABEL_VALUE, OBJECT_NAME, SENTENCES
from scoped_secrets.api.status import ScopedSecretStatus
from scoped_secrets.core.entry import EntryKind, EntryPosition
from scoped_secrets.core.resolution.definitions import Attach, Override
from scoped_secrets.core.scope.slot import Scope

__all__ = [
    "BUNDLE_BYTES",
    "CopySource",
    "DataKey",
    "Rotation",
    "ScopedSecret",
    "ScopedSecretSpec",
]

BUNDLE_BYTES: Final = 900 * 1024
# The length of the sealed text of a data key: the format is fixed, see crypto.data_keys. With a fingerprint, which no
# data key needs, the envelope is 16 characters longer.
_SEALED_DATA_KEY_CHARACTERS: Final = 1_683
_DATA_KEY_ID: Final = r"^[0-9a-f]{16}$"
SENTENCES[_DATA_KEY_ID] = "must be 16 hexadecimal digits, as `kubectl scoped-secrets seal` prints them"
REMIND_DAYS: Final = 7
"""The default of `spec.rotation.remindDays`, in days."""

_REMIND_BEFORE: Final = Rule(
    f"(has(self.remindDays) ? self.remindDays : {REMIND_DAYS}) < self.intervalDays",
    "must be less than `intervalDays`",
    "remindDays",
)
_ENVIRONMENT_GIVEN: Final = Rule(
    "self.scope != 'Environment' || has(self.environment)",
    "must be given with `scope` Environment: a name such as 'production' or a pattern such as 'review/*'",
    "environment",
)
_ENVIRONMENT_LEFT_OUT: Final = Rule(
    "self.scope == 'Environment' || !has(self.environment)",
    "must be left out unless `scope` is Environment",
    "environment",
)
_PROJECT_LEFT_OUT: Final = Rule(
    "self.scope != 'Organization' || !has(self.project)",
    "must be left out with `scope` Organization, which is for every project",
    "project",
)
_UNIQUE_ENV: Final = Rule("", "must have each `name` once", "env")
_UNIQUE_DATA_KEYS: Final = Rule("", "must have each `id` once", "dataKeys")
# Not a pattern: the API server's message would quote the text.
_SEALED_DATA_KEY: Final = Rule(
    "self.sealed.startsWith('v1:')", "must begin with 'v1:', as `kubectl scoped-secrets seal` prints it", "sealed"
)
# The list of files is atomic, because a key of a list-map must be required or have a default, and `path` is neither.
_UNIQUE_PATHS: Final = Rule(
    "!has(self.files) || self.files.all(one, !has(one.path) || "
    "self.files.exists_one(other, has(other.path) && other.path == one.path))",
    "must have each `path` once",
    "files",
)
_UNIQUE_FILE_VARIABLES: Final = Rule(
    "!has(self.files) || self.files.all(one, !has(one.env) || "
    "self.files.exists_one(other, has(other.env) && other.env == one.env))",
    "must have each `env` once",
    "files",
)
_VARIABLES_APART: Final = Rule(
    "!has(self.files) || !has(self.env) || "
    "self.files.all(file, !has(file.env) || !self.env.exists(variable, variable.name == file.env))",
    "must have no `env` that is also a `name` in `spec.env`; rename one of the two",
    "files",
)
_COPY_WITHOUT_ENTRIES: Final = Rule(
    "!has(self.copyFrom) || (!has(self.env) && !has(self.files) && !has(self.dataKeys))",
    "must be left out where `env`, `files` or `dataKeys` are given, because the copy has the entries of its source",
    "copyFrom",
)
_COPY_ON_CREATION: Final = Rule(
    "!has(self.copyFrom) || (has(oldSelf.copyFrom) && self.copyFrom == oldSelf.copyFrom)",
    "must stay as it was created, and cannot be added later; leave it out, or delete the object and create another one",
    "copyFrom",
)


def _immutable(field: str, *, required: bool = False) -> Rule:
    """Return the rule that a field of the spec is neither changed, added nor removed while the object exists."""
    same = f"self.{field} == oldSelf.{field}"
    if not required:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return Rule(same, "must stay as it was created; delete the object and create another one", field)


# A rule of the whole object: CEL sees `metadata.name` only there.
_NAME_FITS: Final = Rule(
    "has(self.spec.secretName) || self.metadata.name.size() <= 63",
    "must have a `spec.secretName` of at most 63 characters, because `metadata.name` is longer",
)


class Rotation(CamelModel):
    """How often people should replace the values."""

    model_config = ConfigDict(json_schema_extra=validations(_REMIND_BEFORE))

    interval_days: Annotated[int, Field(strict=True, ge=1, le=3650)]
    """Days after which a value should be replaced, 1 to 3650; afterwards condition `RotationDue` is True. Jobs still
    get the value."""
    remind_days: Annotated[int, Field(strict=True, ge=0, le=365)] = REMIND_DAYS
    """Days before the end of the interval on which reminders begin, 0 to 365; 7 by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _REMIND_BEFORE.require(self.remind_days < self.interval_days)
        return self


class DataKey(CamelModel):
    """One data key, which encrypts values of this object."""

    model_config = ConfigDict(json_schema_extra=validations(_SEALED_DATA_KEY))

    id: Annotated[str, StringConstraints(max_length=16, pattern=_DATA_KEY_ID)]
    """Id of the data key, 16 hexadecimal digits, which the sealed texts of entries name."""
    sealed: Annotated[str, StringConstraints(max_length=_SEALED_DATA_KEY_CHARACTERS)] = Field(repr=False)
    """The data key, sealed for this object; safe in Git. It cannot be unsealed for another object or scope."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _SEALED_DATA_KEY.require(self.sealed.startswith("v1:"))
        return self


class CopySource(CamelModel):
    """The ScopedSecret whose entries a new one copies."""

    namespace: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=OBJECT_NAME)]
    """Namespace of the source, at most 63 characters."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=OBJECT_NAME)]
    """Name of the source, at most 253 characters. Who creates the copy needs the verb `copy` on it."""
    grant: Annotated[str, StringConstraints(max_length=256)] = ""
    """Proof that admission allowed the copy; admission writes it and replaces what is given."""


class ScopedSecretSpec(CamelModel):
    """The desired state of the ScopedSecret."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            _ENVIRONMENT_GIVEN,
            _ENVIRONMENT_LEFT_OUT,
            _PROJECT_LEFT_OUT,
            _immutable("scope", required=True),
            _immutable("secretName"),
            _immutable("project"),
            _immutable("environment"),
            _UNIQUE_PATHS,
            _UNIQUE_FILE_VARIABLES,
            _VARIABLES_APART,
            _COPY_WITHOUT_ENTRIES,
            _COPY_ON_CREATION,
        )
    )

    secret_name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_VALUE)] | None = None
    """Name by which jobs request the bundle, at most 63 characters; `metadata.name` by default. Definitions with the
    same name at several scopes are one bundle, and the narrowest wins. It cannot be changed."""
    description: Annotated[str, StringConstraints(max_length=1024)] = ""
    """What the bundle is for and whom to ask, at most 1024 characters. Everyone who can read this object can read the
    description, so it must not hold a value."""
    scope: Scope
    """Where the definition applies: `Organization`, `Project` or `Environment`, from wide to narrow; the narrowest
    definition wins. The labels of the namespace say which scopes it may define. It cannot be changed."""
    project: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_VALUE)] | None = None
    """The project, at most 63 characters. Needed only in the organization's home namespace; in a project's namespace
    it is the project of the namespace by default, and no other is allowed. It cannot be changed."""
    environment: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=ENVIRONMENT)] | None = None
    """The environment, at most 128 characters, required with `scope` Environment and not allowed without: an exact
    name such as `production` or a pattern such as `review/*`, where `*` stands for any text without `/`. It cannot be
    changed."""
    override: Override = Override.REPLACE
    """What happens to wider definitions of the name: `Replace` hides them completely, which is the default; `Merge`
    starts from the next wider one and overwrites it entry by entry."""
    final: Annotated[bool, Field(strict=True)] = False
    """Whether narrower definitions of the name are ignored and marked `Blocked`; false by default. It counts only in
    the organization's home."""
    attach: Attach = Attach.ON_REFERENCE
    """Which jobs get the bundle: with `OnReference`, the default, those that name it; with `Always` every injected job
    of the scope. Files of a job that does not name the bundle stay in its home directory, unless the annotation
    `scopedsecrets.dev/allow-attach-paths` of the home or of the namespace allows more."""
    env: Annotated[tuple[EnvEntryModel, ...], Field(max_length=100, json_schema_extra=MAP_BY_NAME)] = ()
    """Environment variables of the bundle, at most 100, each `name` once; all values of a bundle together have at
    most 900 KiB. Each entry has exactly one of `value`, `sealed` and `valueFrom`."""
    files: Annotated[tuple[FileEntryModel, ...], Field(max_length=50, json_schema_extra=ATOMIC)] = ()
    """Files of the bundle, at most 50, each `path` once and each `env` once; all values of a bundle together have at
    most 900 KiB. Each entry has `path`, `env` or both, and exactly one of `content`, `contentBase64`, `sealed` and
    `valueFrom`."""
    data_keys: Annotated[tuple[DataKey, ...], Field(max_length=200, json_schema_extra=list_map("id"))] = ()
    """Data keys of the sealed texts in `env` and `files`, at most 200, each `id` once. Admission adds one for each
    write that seals values and removes those that no entry names; `kubectl scoped-secrets seal` writes them into
    manifests. Leave the field out of manifests in plain text."""
    copy_from: CopySource | None = None
    """Another ScopedSecret whose entries this one gets, values included: the controller seals them again for this
    object and then removes the field. It is given on creation only, in place of `env` and `files`."""
    rotation: Rotation | None = None
    """How often the values should be replaced: condition `RotationDue` and an event report the oldest one."""
    expire_time: Time | None = None
    """Time, as RFC 3339 with a zone, from which every job that names the bundle is denied with reason `Expired`;
    running jobs keep the values that they have. When it is set or changed it must be in the future."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        is_environment = self.scope is Scope.ENVIRONMENT
        _ENVIRONMENT_GIVEN.require(not is_environment or self.environment is not None)
        _ENVIRONMENT_LEFT_OUT.require(is_environment or self.environment is None)
        _PROJECT_LEFT_OUT.require(self.scope is not Scope.ORGANIZATION or self.project is None)
        _UNIQUE_ENV.require(len({entry.name for entry in self.env}) == len(self.env))
        _UNIQUE_DATA_KEYS.require(len({each.id for each in self.data_keys}) == len(self.data_keys))
        _UNIQUE_PATHS.require(_is_unique(file.path for file in self.files))
        _UNIQUE_FILE_VARIABLES.require(_is_unique(file.env for file in self.files))
        _COPY_WITHOUT_ENTRIES.require(self.copy_from is None or not (self.env or self.files or self.data_keys))
        _VARIABLES_APART.require({file.env for file in self.files}.isdisjoint(entry.name for entry in self.env))
        return self


# A review goes through the entries of an object several times.
@lru_cache(maxsize=256)
def _positions(kind: EntryKind, count: int) -> tuple[EntryPosition, ...]:
    """Return the positions of all entries of a list."""
    return tuple(EntryPosition(kind, index) for index in range(count))


def _is_unique(texts: Iterable[str | None]) -> bool:
    given = [text for text in texts if text is not None]
    return len(set(given)) == len(given)


class ScopedSecret(CamelModel):
    """One bundle of environment variables and files for the jobs of an organization, a project or an environment.

    Values are write-only: they are sealed before the object is stored. Among definitions with the same name
    the narrowest wins. A pod with the label `scopedsecrets.dev/inject: "true"` gets the bundles that its annotation
    `scopedsecrets.dev/secrets` names.
    """

    model_config = ConfigDict(json_schema_extra=validations(_NAME_FITS))

    metadata: ObjectMeta
    """Standard metadata; the labels are the tags that policies select."""
    spec: ScopedSecretSpec
    """The entries of the bundle and the scope where it applies."""
    status: ScopedSecretStatus = Field(default_factory=ScopedSecretStatus)
    """What the controller observed: names and counts, never a value."""

    @property
    def secret_name(self) -> str:
        """Return the name that jobs use: ``spec.secretName``, else the object's own."""
        return self.spec.secret_name or self.metadata.name

    @property
    def entries(self) -> tuple[EntryModel, ...]:
        """Return all entries: the variables, then the files, each in the order of the spec."""
        return *self.spec.env, *self.spec.files

    def enumerate_entries(self) -> Iterator[tuple[EntryPosition, EntryModel]]:
        """Yield each entry with its position in the spec."""
        env, files = self.spec.env, self.spec.files
        return chain(
            zip(_positions(EntryKind.ENV, len(env)), env, strict=True),
            zip(_positions(EntryKind.FILE, len(files)), files, strict=True),
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        _NAME_FITS.require(self.spec.secret_name is not None or len(self.metadata.name) <= 63)  # noqa: PLR2004 - as above
        return self
