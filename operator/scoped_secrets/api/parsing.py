"""From Kubernetes bodies to domain data, once, at the edge.

Parsing asks for what the CRD's schema asks for, so that whatever is stored parses. What no schema can say (sizes in
bytes, base64, the form of a sealed text, fields that this version does not enforce) never raises here: such a
definition is converted with `not_ready` and so can be used by nobody. If it vanished instead, jobs would get the value
of a wider definition. Admission refuses it earlier, by `check_scoped_secret` and `unsupported_fields`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC
from sys import intern
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from scoped_secrets.api.base import LabelSelector
from scoped_secrets.api.entries import ENV_VALUE_BYTES, FILE_BYTES, EnvEntryModel, FileEntryModel
from scoped_secrets.api.scopedsecret import BUNDLE_BYTES, ScopedSecret
from scoped_secrets.api.secretpolicy import PolicyRule, SecretPolicy
from scoped_secrets.api.validation_messages import known_fields, to_user_error
from scoped_secrets.core.policy import claims, policy
from scoped_secrets.core.policy import label_selector as selectors
from scoped_secrets.core.resolution.definitions import (
    Definition,
    EnvEntry,
    FileEntry,
    PlainSource,
    Rotation,
    SealedSource,
    SecretKeySource,
    Source,
)
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.crypto.sealing import plaintext_bound
from scoped_secrets.errors import InvalidObjectError, SealingError
from scoped_secrets.names import ConditionType, Reason

__all__ = [
    "check_scoped_secret",
    "parse_scoped_secret",
    "parse_secret_policy",
    "to_definition",
    "to_policy",
    "unsupported_fields",
]

Entry: TypeAlias = EnvEntryModel | FileEntryModel

# What only the controller can find out. Other reasons are found out here, from the spec itself.
_REPORTED: Final = frozenset({Reason.KEY_LOST, Reason.SEALED_FOR_ANOTHER, Reason.SOURCE_MISSING, Reason.EXPIRED})
# Whoever renders looks at the Secrets themselves: a job that was admitted waits for them, and is not refused.
_LOOKED_UP: Final = frozenset({Reason.SOURCE_MISSING})
_PADDING: Final = 63
_KIB: Final = 1024
_NO_LABELS: Final[Mapping[str, str]] = {}
_SCOPED_SECRET_FIELDS: Final = known_fields(ScopedSecret)
_SECRET_POLICY_FIELDS: Final = known_fields(SecretPolicy)


def parse_scoped_secret(body: Mapping[str, Any]) -> ScopedSecret:
    """Read a ScopedSecret, stored or still to be admitted.

    Raises:
        InvalidObjectError: The body breaks the schema.
    """
    try:
        return ScopedSecret.model_validate(body)
    except ValidationError as error:
        sentence = to_user_error(error, _SCOPED_SECRET_FIELDS)
    # Raised outside, so that pydantic's error, which holds the input, is not its context.
    raise sentence


def parse_secret_policy(body: Mapping[str, Any]) -> SecretPolicy:
    """Read a SecretPolicy, stored or still to be admitted.

    Raises:
        InvalidObjectError: The body breaks the schema.
    """
    try:
        return SecretPolicy.model_validate(body)
    except ValidationError as error:
        sentence = to_user_error(error, _SECRET_POLICY_FIELDS)
    raise sentence


def check_scoped_secret(model: ScopedSecret) -> None:
    """Refuse what the schema cannot: sizes in bytes, NUL, base64, and texts that are no sealed texts.

    Raises:
        InvalidObjectError: With the path of the first entry that is wrong.
    """
    total = 0
    groups: tuple[tuple[str, Sequence[Entry]], ...] = (("env", model.spec.env), ("files", model.spec.files))
    for field, entries in groups:
        for index, entry in enumerate(entries):
            try:
                total += _measure(entry).least
            except _UnusableEntryError as error:
                raise InvalidObjectError(f"`spec.{field}[{index}].{error.field}` {error.demand}") from None
    if total > BUNDLE_BYTES:
        raise InvalidObjectError(
            f"`spec` must hold at most {BUNDLE_BYTES // _KIB} KiB in all values together; "
            "divide it into several ScopedSecrets"
        )


def unsupported_fields(model: SecretPolicy) -> tuple[str, ...]:
    """Return the paths of fields that are given but that this version does not enforce."""
    return tuple(_unsupported_in_policy(model))


def to_definition(model: ScopedSecret, *, keep_sealed: bool) -> Definition:
    """Return what the core knows about a stored ScopedSecret.

    Args:
        model: The parsed object.
        keep_sealed: Whether the sealed texts are kept; without them only the bounds of their sizes stay, because the
            admission process shall hold no ciphertext.
    """
    metadata, spec = model.metadata, model.spec
    # Whoever holds sealed texts renders, and looks at the Secrets: what was missing a while ago is nothing to it.
    sources = _Sources(keep_sealed=keep_sealed, missing=None if keep_sealed else _missing_entries(model))
    return Definition(
        uid=metadata.uid,
        generation=metadata.generation,
        namespace=intern(metadata.namespace),
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        secret_name=intern(model.secret_name),
        scope=spec.scope,
        project=_interned(spec.project),
        environment=_interned(spec.environment),
        labels=_labels(metadata.labels),
        override=spec.override,
        final=spec.final,
        attach=spec.attach,
        env=tuple(EnvEntry(intern(entry.name), sources.convert(entry)) for entry in spec.env),
        files=tuple(FileEntry(intern(entry.path), int(entry.mode, 8), sources.convert(entry)) for entry in spec.files),
        rotation=None if spec.rotation is None else Rotation(spec.rotation.interval_days, spec.rotation.remind_days),
        expires=None if spec.expire_time is None else spec.expire_time.astimezone(UTC),
        # The last argument: by now every entry has been looked at.
        not_ready=sources.not_ready or _not_ready(model, _REPORTED - _LOOKED_UP if keep_sealed else _REPORTED),
    )


def to_policy(model: SecretPolicy, binding: Binding) -> policy.Policy:
    """Return what the core knows about a stored SecretPolicy.

    Args:
        model: The parsed object.
        binding: The scope path of its namespace, which says what it governs.
    """
    metadata, spec = model.metadata, model.spec
    return policy.Policy(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        organization=binding.organization,
        project=binding.project,
        environment=binding.environment,
        effect=spec.effect,
        secret_names=spec.secrets.names,
        selector=_selector(spec.secrets.selector),
        scopes=spec.secrets.scopes,
        rules=tuple(_rule(rule) for rule in spec.rules),
        key_conflict=spec.key_conflict,
        broken=bool(unsupported_fields(model)),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The source of an entry, and the least size that its value can have: a sealed text hides up to 63 bytes."""

    source: Source
    least: int


class _UnusableEntryError(Exception):
    """An entry whose value breaks a rule that is no part of the schema."""

    def __init__(self, field: str, demand: str) -> None:
        """Take the field within the entry and what it must be."""
        super().__init__(demand)
        self.field = field
        self.demand = demand


class _Sources:
    """The sources of one definition's entries, converted one by one."""

    def __init__(self, *, keep_sealed: bool, missing: Collection[tuple[str, str]] | None) -> None:
        self._keep_sealed = keep_sealed
        self._missing = missing
        self._reasons: set[Reason] = set()
        self._total = 0

    def convert(self, entry: Entry) -> Source:
        """Return the entry's source; one that cannot be used is replaced by an empty one and remembered."""
        if entry.has_secret_plaintext:
            self._reasons.add(Reason.PLAINTEXT_REFUSED)
            return _NOTHING
        try:
            measured = _measure(entry)
        except _UnusableEntryError:
            self._reasons.add(Reason.INVALID)
            return _NOTHING
        self._total += measured.least
        source = measured.source
        if isinstance(source, SealedSource) and not self._keep_sealed:
            return SealedSource("", source.size)
        if isinstance(source, SecretKeySource) and source.is_optional and self._missing is not None:
            return replace(source, is_missing=_kind_and_name(entry) in self._missing)
        return source

    @property
    def not_ready(self) -> Reason | None:
        """Return why the entries make the definition unusable, the gravest reason first."""
        if Reason.PLAINTEXT_REFUSED in self._reasons:
            return Reason.PLAINTEXT_REFUSED
        return Reason.INVALID if self._reasons or self._total > BUNDLE_BYTES else None


_NOTHING: Final = SealedSource("", 0)


def _missing_entries(model: ScopedSecret) -> Collection[tuple[str, str]] | None:
    """Return what the controller says of optional entries, ``None`` while it has not looked at this generation."""
    if model.status.observed_generation != model.metadata.generation:
        return None
    return {(entry.kind, entry.name) for entry in model.status.missing_entries}


def _kind_and_name(entry: Entry) -> tuple[str, str]:
    """Return what tells an entry from the others in a status."""
    return ("Env", entry.name) if isinstance(entry, EnvEntryModel) else ("File", entry.path)


def _measure(entry: Entry) -> _Measured:
    """Return source and size of one entry.

    Raises:
        _UnusableEntryError: The value breaks a rule that is no part of the schema.
    """
    if entry.value_from is not None:
        reference = entry.value_from.secret_key_ref
        limit = ENV_VALUE_BYTES if isinstance(entry, EnvEntryModel) else FILE_BYTES
        is_optional = reference.optional is True
        return _Measured(SecretKeySource(intern(reference.name), intern(reference.key), limit, is_optional), 0)
    plaintext = _plaintext(entry)
    if plaintext is not None:
        limit = ENV_VALUE_BYTES if isinstance(entry, EnvEntryModel) else FILE_BYTES
        if len(plaintext) > limit:
            raise _UnusableEntryError(entry.plain_field, f"must be at most {limit // _KIB} KiB")
        source = SealedSource("", len(plaintext)) if entry.sensitive else PlainSource(plaintext)
        return _Measured(source, len(plaintext))
    text = entry.sealed or ""
    try:
        bound = plaintext_bound(text)
    except SealingError:
        raise _UnusableEntryError(
            "sealed", "must be a sealed text as `kubectl scoped-secrets seal` prints it; seal the value again"
        ) from None
    # The schema bounds the text's length, and with it the value's.
    return _Measured(SealedSource(text, bound), max(bound - _PADDING, 0))


def _plaintext(entry: Entry) -> bytes | None:
    """Return the bytes that an entry gives in plain text, secret or not."""
    try:
        plaintext = entry.plaintext()
    except ValueError:
        raise _UnusableEntryError(entry.plain_field, "must be base64, as the program `base64` prints it") from None
    if plaintext is not None and isinstance(entry, EnvEntryModel) and b"\0" in plaintext:
        raise _UnusableEntryError(entry.plain_field, "must have no NUL character; put bytes into `spec.files`")
    return plaintext


def _not_ready(model: ScopedSecret, reported: AbstractSet[Reason]) -> Reason | None:
    """Return why a definition with sound entries may still be used by nobody."""
    for condition in model.status.conditions:
        if (
            condition.type == ConditionType.READY
            and condition.status == "False"
            and condition.observed_generation == model.metadata.generation
            and condition.reason in reported
        ):
            return Reason(condition.reason)
    return None


def _unsupported_in_policy(model: SecretPolicy) -> Iterator[str]:
    for index, rule in enumerate(model.spec.rules):
        for field, claim in (("refs", rule.refs), ("events", rule.events), ("creators", rule.creators)):
            if claim:
                yield f"spec.rules[{index}].{field}"
    if model.spec.interactive is not None:
        yield "spec.interactive"


def _rule(rule: PolicyRule) -> claims.Rule:
    return claims.Rule(
        name=rule.name,
        projects=rule.projects,
        environments=rule.environments,
        namespaces=rule.namespaces,
        service_accounts=rule.service_accounts,
        pod_selector=_selector(rule.pod_selector),
        not_before=rule.not_before,
        not_after=rule.not_after,
    )


def _selector(selector: LabelSelector | None) -> selectors.LabelSelector | None:
    """Return the selector as expressions only: a label that must match is one that is in a list of one."""
    if selector is None:
        return None
    labels = (
        selectors.Requirement(key, selectors.Operator.IN, (value,)) for key, value in selector.match_labels.items()
    )
    expressions = (selectors.Requirement(item.key, item.operator, item.values) for item in selector.match_expressions)
    return selectors.LabelSelector((*labels, *expressions))


def _labels(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the labels with shared strings: thousands of definitions have the same few keys and values."""
    if not labels:
        return _NO_LABELS
    return {intern(key): intern(value) for key, value in labels.items()}


def _interned(text: str | None) -> str | None:
    return None if text is None else intern(text)
