"""One entry of a bundle: a variable or a file with exactly one source (DESIGN section 5)."""

import base64
import binascii
import re
from typing import Annotated, ClassVar, Final, Self, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from scoped_secrets.api.base import CamelModel, Rule, Time, validations
from scoped_secrets.api.patterns import OBJECT_NAME, SENTENCES
from scoped_secrets.api.reserved_variables import RESERVED_NAMES, RESERVED_PREFIXES
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind, file_entry_name, previous_name
from scoped_secrets.crypto.values import SecretValue

__all__ = [
    "ONE_ENV_SOURCE",
    "ONE_FILE_SOURCE",
    "EntryModel",
    "EnvEntryModel",
    "FileEntryModel",
    "SecretKeyReference",
    "ValueSource",
]

_SEALED_PREFIXES: Final = ("v1:", "v2:")
# The length of the self-contained sealed text of the largest value: the format is fixed, see crypto.sealing. A text
# under a data key is shorter.
_SEALED_ENV_CHARACTERS: Final = 45_374
_SEALED_FILE_CHARACTERS: Final = 700_734
# The largest file in base64, with room for a line break every 64 characters.
_BASE64_CHARACTERS: Final = 716_000

_VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
VariableName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_VARIABLE)]
_MODE: Final = r"^0?[0-7]{3}$"
_DATA_KEY: Final = r"^[A-Za-z0-9._-]+$"
SENTENCES.update(
    {
        _VARIABLE: "must consist of letters, digits and '_', and not begin with a digit",
        _DATA_KEY: "must consist of letters, digits, '.', '_' and '-'",
    }
)


def _not_reserved(field: str) -> Rule:
    """Return the rule that a field, which may be absent, holds no reserved name."""
    conditions = [
        *(f"!self.{field}.startsWith('{prefix}')" for prefix in RESERVED_PREFIXES),
        f"!(self.{field} in {sorted(RESERVED_NAMES)})",
    ]
    return Rule(
        f"!has(self.{field}) || ({' && '.join(conditions)})",
        "must not be a variable that the loader, the shell, Kubernetes or this operator reads; store the value under "
        "another name and set this variable in the container's own `env`, with the value `${secrets.NAME.OTHER}`",
        field,
    )


def _is_reserved(name: str) -> bool:
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES)


def _path_rule(condition: str, message: str) -> Rule:
    """Return a rule for the path, which may be absent."""
    return Rule(f"!has(self.path) || {condition}", message, "path")


# Only under this one name: with any other, a text could be moved to a variable that a job prints.
_PREVIOUS_NAME: Final = Rule(
    "!has(self.previousOf) || self.name == self.previousOf + '_PREVIOUS'",
    "must be the name of the variable `previousOf` and `_PREVIOUS`",
    "name",
)
_PREVIOUS_IS_WHOLE: Final = Rule(
    "has(self.previousOf) == has(self.expireTime) && (!has(self.previousOf) || has(self.sealed))",
    "must have `previousOf`, `expireTime` and `sealed` together: they are a former value, which "
    "`rotate --keep-previous` writes",
)
_NAME_NOT_RESERVED: Final = _not_reserved("name")
_FILE_VARIABLE_NOT_RESERVED: Final = _not_reserved("env")
ONE_ENV_SOURCE: Final = Rule(
    "[has(self.value), has(self.sealed), has(self.valueFrom)].exists_one(given, given)",
    "must have exactly one of `value`, `sealed` and `valueFrom`",
)
ONE_FILE_SOURCE: Final = Rule(
    "[has(self.content), has(self.contentBase64), has(self.sealed), has(self.valueFrom)].exists_one(given, given)",
    "must have exactly one of `content`, `contentBase64`, `sealed` and `valueFrom`",
)
_PLAIN_ENV: Final = Rule(
    "!has(self.sensitive) || self.sensitive || has(self.value)",
    "must be true with `sealed` and `valueFrom`; only a `value` can be plain configuration",
    "sensitive",
)
_PLAIN_FILE: Final = Rule(
    "!has(self.sensitive) || self.sensitive || has(self.content) || has(self.contentBase64)",
    "must be true with `sealed` and `valueFrom`; only `content` and `contentBase64` can be plain configuration",
    "sensitive",
)
# Not a pattern: the API server's message would quote the text, and a person may have written the value there.
_SEALED_TEXT: Final = Rule(
    "!has(self.sealed) || self.sealed.startsWith('v1:') || self.sealed.startsWith('v2:')",
    "must begin with 'v1:' or 'v2:', as `kubectl scoped-secrets seal` prints it; plain text belongs into another field",
    "sealed",
)
_FILE_NAMED: Final = Rule(
    "has(self.path) || has(self.env)",
    "must have `path`, where the job finds the file, or `env`, the variable that holds its path, or both",
)
# Not a pattern: the API server's message would show the expression, which is no remedy.
_MODE_OCTAL: Final = Rule(
    f"!has(self.mode) || self.mode.matches('{_MODE}')",
    'must be an octal mode in quotes, from "0000" to "0777", such as "0600"; write "0600" for 0o600',
    "mode",
)
_PATH_SHORT: Final = _path_rule("bytes(self.path).size() <= 512", "must be at most 512 bytes")
_PATH_NAMES_FILE: Final = _path_rule("!self.path.endsWith('/')", "must name a file; take the '/' from its end")
_PATH_HOME: Final = _path_rule(
    "!self.path.startsWith('~') || self.path.startsWith('~/')",
    "must be absolute, relative to the job's home, or begin with '~/'; another user's home cannot be named",
)
_PATH_LITERAL: Final = _path_rule(
    "!self.path.startsWith('$')",
    "must not begin with '$', because variables are not expanded in a path; write '~/' for the job's home",
)
_PATH_ONE_LINE: Final = _path_rule(
    r"!self.path.contains('\n') && !self.path.contains('\u0000')",
    "must have no line break and no NUL character",
)


class SecretKeyReference(CamelModel):
    """One key of a native Secret."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=OBJECT_NAME)]
    """Name of a Secret in the namespace of this ScopedSecret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=_DATA_KEY)]
    """Key of the Secret's `data`. While it is missing, every job that names this bundle is denied, unless `optional`
    is true."""
    optional: Annotated[bool, Field(strict=True)] | None = None
    """Whether jobs run without this entry while the Secret or its key is missing; false by default. No fallback to a
    wider definition or another bundle is used. `status.missingEntries` and each job's `resolution.json` list what is
    left out. A Secret that the operator may not read does not count as missing."""


class ValueSource(CamelModel):
    """Another source of a value."""

    secret_key_ref: SecretKeyReference
    """One key of a native Secret, for example of one that a Vault or cloud synchronizer writes."""


class EnvEntryModel(CamelModel):
    """One environment variable with exactly one source."""

    kind: ClassVar[EntryKind] = EntryKind.ENV
    max_bytes: ClassVar[int] = ENV_VALUE_BYTES
    """The maximum size of the value in bytes."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            _NAME_NOT_RESERVED, ONE_ENV_SOURCE, _PLAIN_ENV, _SEALED_TEXT, _PREVIOUS_NAME, _PREVIOUS_IS_WHOLE
        )
    )

    name: VariableName
    """Name of the variable, at most 255 characters. Names that the loader, the shell, Kubernetes or this operator reads
    are rejected: the variables of ld.so(8) and dyld(1) such as LD_PRELOAD, and BASH_ENV, BASH_FUNC_*, PROMPT_COMMAND,
    IFS, KUBERNETES_SERVICE_*, KUBERNETES_PORT* and SCOPED_SECRETS_*."""
    value: Annotated[str, StringConstraints(max_length=ENV_VALUE_BYTES)] | None = Field(
        default=None, repr=False, exclude=True
    )
    """The value in plain text, at most 32 KiB of UTF-8 without NUL; it may be empty. Write-only: admission
    replaces it by `sealed` before the object is stored, and no one can read it back, unless `sensitive` is false."""
    sealed: Annotated[str, StringConstraints(max_length=_SEALED_ENV_CHARACTERS)] | None = Field(
        default=None, repr=False
    )
    """The value sealed for this object and this entry, as `kubectl scoped-secrets seal` prints it; safe in Git. It
    cannot be unsealed elsewhere: seal it again for another object, scope or name. A text that begins with `v2:` needs
    its data key in `spec.dataKeys`; one that begins with `v1:` is self-contained."""
    value_from: ValueSource | None = None
    """Take the value from a native Secret of the same namespace when a pod is created: at most 32 KiB of UTF-8 without
    NUL. The operator needs an additional role for it, which is off by default."""
    sensitive: Annotated[bool, Field(strict=True)] = True
    """Whether the value is secret; true by default. With false, `value` is stored as it is and everyone who can read
    this object can read it: for plain configuration that belongs to the bundle."""
    previous_of: VariableName | None = None
    """The variable whose former value this is; `sealed` was made for that variable. The name must be the same with
    `_PREVIOUS` at its end. `kubectl scoped-secrets rotate --keep-previous` writes it."""
    expire_time: Time | None = None
    """Time, as RFC 3339 with a zone, from which new jobs run without this former value; at most 90 days ahead. It is
    required with `previousOf`, and not allowed without."""

    @property
    def key(self) -> EntryKey:
        """Return the identity of the entry within its ScopedSecret."""
        return EntryKey(self.kind, self.name)

    @property
    def sealing_key(self) -> EntryKey:
        """Return the entry that the sealed text was made for."""
        return self.key if self.previous_of is None else EntryKey(self.kind, self.previous_of)

    @property
    def plain_field(self) -> str:
        """Return the name of the field that holds plain text."""
        return "value"

    @property
    def has_secret_plaintext(self) -> bool:
        """Tell whether a secret stands here in plain text: before sealing, or stored with the webhook off."""
        return self.sensitive and self.value is not None

    def plaintext(self) -> bytes | None:
        """Return what stands here in plain text, secret or not."""
        return None if self.value is None else self.value.encode()

    def secret_value(self) -> SecretValue | None:
        """Return the plain text that has to be sealed; ``None`` when there is none or it is plain configuration."""
        return SecretValue(self.value.encode()) if self.sensitive and self.value is not None else None

    @model_validator(mode="after")
    def _check(self) -> Self:
        # An object has a hundred entries, each read of a field takes a while, and most entries lack most fields.
        name, value, sealed, of = self.name, self.value, self.sealed, self.previous_of
        _NAME_NOT_RESERVED.require(not _is_reserved(name))
        # Not "exactly one": a server-side apply of a new source meets the sealed text that admission stored for the
        # old one, and admission has yet to choose. The API server's own rule decides afterwards.
        given = (value is not None) + (self.value_from is not None)
        ONE_ENV_SOURCE.require(given == 1 or (given == 0 and sealed is not None))
        if not self.sensitive:
            _PLAIN_ENV.require(value is not None)
        if sealed is not None:
            _SEALED_TEXT.require(sealed.startswith(_SEALED_PREFIXES))
        if of is not None or self.expire_time is not None:
            _PREVIOUS_NAME.require(of is None or name == previous_name(of))
            _PREVIOUS_IS_WHOLE.require(None not in {of, self.expire_time, sealed})
        return self


class FileEntryModel(CamelModel):
    """One file with exactly one source, at a path of its own or where a variable points, or both."""

    kind: ClassVar[EntryKind] = EntryKind.FILE
    max_bytes: ClassVar[int] = FILE_BYTES
    """The maximum size of the content in bytes."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            ONE_FILE_SOURCE,
            _PLAIN_FILE,
            _SEALED_TEXT,
            _FILE_NAMED,
            _FILE_VARIABLE_NOT_RESERVED,
            _MODE_OCTAL,
            _PATH_SHORT,
            _PATH_NAMES_FILE,
            _PATH_HOME,
            _PATH_LITERAL,
            _PATH_ONE_LINE,
        )
    )

    path: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Where the job finds the file, at most 512 bytes: absolute, or relative to the job's home, or below `~/`. It must
    not lie in a system directory or be the parent of another file. Without it the file stays below
    `/run/scoped-secrets`, and the variable `env` says where."""
    env: VariableName | None = None
    """Name of a variable that holds the absolute path of the file, such as `KUBECONFIG`, at most 255 characters. It
    is required without `path`, is no name of `spec.env` or of another file, and obeys the rules for these names."""
    mode: Annotated[str, StringConstraints(max_length=16)] = "0600"
    """Permissions as octal text in quotes, from "0000" to "0777"; "0600" by default, which ssh requires of keys. A pod
    is denied when the mode does not let its user read the file."""
    content: Annotated[str, StringConstraints(max_length=FILE_BYTES)] | None = Field(
        default=None, repr=False, exclude=True
    )
    """The content as text, at most 512 KiB of UTF-8, kept byte for byte. Write-only: admission replaces it by
    `sealed` before the object is stored, and no one can read it back, unless `sensitive` is false."""
    content_base64: Annotated[str, StringConstraints(max_length=_BASE64_CHARACTERS)] | None = Field(
        default=None, repr=False, exclude=True
    )
    """The content as base64, for bytes that are not text; at most 512 KiB of bytes, line breaks are ignored.
    Write-only like `content`."""
    sealed: Annotated[str, StringConstraints(max_length=_SEALED_FILE_CHARACTERS)] | None = Field(
        default=None, repr=False
    )
    """The content sealed for this object and this path (without a path, this variable), as
    `kubectl scoped-secrets seal` prints it; safe in Git. It cannot be unsealed elsewhere: seal it again for another
    object, scope or path. A text that begins with `v2:` needs its data key in `spec.dataKeys`; one that begins with
    `v1:` is self-contained."""
    value_from: ValueSource | None = None
    """Take the content from a native Secret of the same namespace when a pod is created: at most 512 KiB. The
    size is unknown at admission, so each such file counts as 512 KiB of the job's 6 MiB, and all files of one Secret as
    1 MiB at most. The operator needs an additional role for it, which is off by default."""
    sensitive: Annotated[bool, Field(strict=True)] = True
    """Whether the content is secret; true by default. With false it is stored as it is and everyone who can read this
    object can read it: for plain configuration that belongs to the bundle."""

    @property
    def key(self) -> EntryKey:
        """Return the identity of the entry within its ScopedSecret."""
        return EntryKey(self.kind, file_entry_name(self.path, self.env))

    @property
    def sealing_key(self) -> EntryKey:
        """Return the entry that the sealed text was made for."""
        return self.key

    @property
    def plain_field(self) -> str:
        """Return the name of the field that holds plain text."""
        return "content" if self.content is not None else "contentBase64"

    @property
    def has_secret_plaintext(self) -> bool:
        """Tell whether a secret stands here in plain text: before sealing, or stored with the webhook off."""
        return self.sensitive and (self.content is not None or self.content_base64 is not None)

    def plaintext(self) -> bytes | None:
        """Return what stands here in plain text, secret or not.

        Raises:
            ValueError: ``contentBase64`` is no base64; the message holds nothing of it.
        """
        if self.content is not None:
            return self.content.encode()
        if self.content_base64 is None:
            return None
        try:
            return base64.b64decode("".join(self.content_base64.split()), validate=True)
        except (binascii.Error, ValueError):
            # The context would hold the text.
            raise ValueError("no base64") from None

    def secret_value(self) -> SecretValue | None:
        """Return the plain bytes that have to be sealed; ``None`` when there are none or they are configuration.

        Raises:
            ValueError: ``contentBase64`` is no base64; the message holds nothing of it.
        """
        content = self.plaintext() if self.sensitive else None
        return None if content is None else SecretValue(content)

    @model_validator(mode="after")
    def _check(self) -> Self:
        # See EnvEntryModel: `sealed` may still stand beside a new source.
        given = (self.content is not None) + (self.content_base64 is not None) + (self.value_from is not None)
        ONE_FILE_SOURCE.require(given == 1 or (given == 0 and self.sealed is not None))
        _PLAIN_FILE.require(self.sensitive or self.content is not None or self.content_base64 is not None)
        _SEALED_TEXT.require(self.sealed is None or self.sealed.startswith(_SEALED_PREFIXES))
        _FILE_NAMED.require(self.path is not None or self.env is not None)
        _FILE_VARIABLE_NOT_RESERVED.require(self.env is None or not _is_reserved(self.env))
        _MODE_OCTAL.require(re.fullmatch(_MODE, self.mode) is not None)
        if self.path is not None:
            self._check_path(self.path)
        return self

    @staticmethod
    def _check_path(path: str) -> None:
        _PATH_SHORT.require(len(path.encode()) <= 512)  # noqa: PLR2004 - the rule's own number
        _PATH_NAMES_FILE.require(not path.endswith("/"))
        _PATH_HOME.require(not path.startswith("~") or path.startswith("~/"))
        _PATH_LITERAL.require(not path.startswith("$"))
        _PATH_ONE_LINE.require("\n" not in path and "\0" not in path)


EntryModel: TypeAlias = EnvEntryModel | FileEntryModel
