"""Convert Kubernetes bodies to domain data, once, at the edge.

Parsing demands the same as the CRD's schema, so that every stored object parses. Rules that a schema cannot express
(sizes in bytes, base64, the form of a sealed text) never raise here: a
definition that breaks one is converted with `not_ready`, so that no job can use it. If it were skipped instead, jobs
would get the value of a wider definition. Admission denies such objects earlier, with `check_scoped_secret`.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC
from functools import lru_cache
from sys import intern
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from scoped_secrets.api.base import LabelSelector
from scoped_secrets.api.entries import EntryModel, EnvEntryModel
from scoped_secrets.api.scopedsecret import BUNDLE_BYTES, ScopedSecret
from scoped_secrets.api.secretpolicy import Interactive, PolicyRule, SecretPolicy
from scoped_secrets.api.validation_messages import known_fields, to_user_error
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.policy import claims, interactive, policy, subjects
from scoped_secrets.core.policy import label_selector as selectors
from scoped_secrets.core.resolution.definitions import (
    CopyRequest,
    Definition,
    Entry,
    PlainSource,
    Previous,
    Rotation,
    SealedDataKey,
    SealedSource,
    SecretKeySource,
    Source,
)
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.crypto.entry_header import named_data_key
from scoped_secrets.crypto.padding import padded_bound
from scoped_secrets.crypto.sealed_texts import plaintext_bound
from scoped_secrets.errors import InvalidObjectError, SealingError
from scoped_secrets.names import CONTROLLER_REASONS, ConditionType, Reason

__all__ = [
    "check_scoped_secret",
    "parse_scoped_secret",
    "parse_secret_policy",
    "to_definition",
    "to_policy",
]

# The controller reads the Secrets themselves when it renders: an admitted job waits for a missing one.
_READ_AT_RENDERING: Final = frozenset({Reason.SOURCE_MISSING})
_PADDING: Final = 63
_KIB: Final = 1024
_NO_LABELS: Final[Mapping[str, str]] = {}


def parse_scoped_secret(body: Mapping[str, Any]) -> ScopedSecret:
    """Parse a ScopedSecret, stored or under admission.

    Raises:
        InvalidObjectError: The body breaks the schema.
    """
    try:
        return ScopedSecret.model_validate(body)
    except ValidationError as error:
        sentence = to_user_error(error, known_fields(ScopedSecret))
    # Raised outside of the handler: the context would be pydantic's error, which holds the input.
    raise sentence


def parse_secret_policy(body: Mapping[str, Any]) -> SecretPolicy:
    """Parse a SecretPolicy, stored or under admission.

    Raises:
        InvalidObjectError: The body breaks the schema.
    """
    try:
        return SecretPolicy.model_validate(body)
    except ValidationError as error:
        sentence = to_user_error(error, known_fields(SecretPolicy))
    raise sentence


def check_scoped_secret(model: ScopedSecret) -> None:
    """Check the rules that the schema cannot express: sizes in bytes, NUL, base64, and the form of sealed texts.

    Raises:
        InvalidObjectError: An entry breaks a rule; the message has the path of the first one.
    """
    total = 0
    for position, entry in model.enumerate_entries():
        try:
            total += _measure(entry).least
        except _UnusableEntryError as error:
            raise InvalidObjectError(f"`{position.field}.{error.field}` {error.demand}") from None
    if total > BUNDLE_BYTES:
        raise InvalidObjectError(
            f"`spec` must hold at most {BUNDLE_BYTES // _KIB} KiB in all values together; "
            "divide it into several ScopedSecrets"
        )


def to_definition(model: ScopedSecret, *, keep_sealed: bool, seals: bool = False) -> Definition:
    """Convert a stored ScopedSecret to a definition.

    Args:
        model: The parsed object.
        keep_sealed: Whether to keep the sealed texts and data keys. The admission process holds no ciphertext and keeps
            only the upper bounds of the sizes.
        seals: Whether plain text counts as what admission makes of it, a sealed text; else no job can use it. Offline
            tools read objects as they are before admission.
    """
    metadata, spec = model.metadata, model.spec
    # The controller keeps sealed texts and reads the Secrets when it renders, so a reported absence does not matter.
    sources = _SourceConverter(
        keep_sealed=keep_sealed,
        missing=None if keep_sealed else _missing_entries(model),
        data_keys={each.id for each in spec.data_keys},
        seals=seals,
    )
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
        env=tuple(Entry.variable(intern(entry.name), sources.convert(entry), _previous(entry)) for entry in spec.env),
        files=tuple(
            Entry.file(_interned(entry.path), int(entry.mode, 8), sources.convert(entry), _interned(entry.env))
            for entry in spec.files
        ),
        data_keys=tuple(SealedDataKey(each.id, each.sealed) for each in spec.data_keys) if keep_sealed else (),
        rotation=None if spec.rotation is None else Rotation(spec.rotation.interval_days, spec.rotation.remind_days),
        expires=None if spec.expire_time is None else spec.expire_time.astimezone(UTC),
        copy_request=None
        if spec.copy_from is None
        else CopyRequest(spec.copy_from.namespace, spec.copy_from.name, spec.copy_from.grant),
        previous_end=tuple(previous.until for entry in spec.env if (previous := _previous(entry)) is not None),
        # The last argument: by now every entry has been converted.
        not_ready=sources.not_ready
        or (None if spec.copy_from is None else Reason.COPY_PENDING)
        or _not_ready(model, CONTROLLER_REASONS - _READ_AT_RENDERING if keep_sealed else CONTROLLER_REASONS),
    )


def _previous(entry: EnvEntryModel) -> Previous | None:
    if entry.previous_of is None or entry.expire_time is None:
        return None
    return Previous(intern(entry.previous_of), entry.expire_time.astimezone(UTC))


def to_policy(model: SecretPolicy, binding: Binding) -> policy.Policy:
    """Convert a stored SecretPolicy to a policy.

    Args:
        model: The parsed object.
        binding: The binding of its namespace, which says what the policy governs.
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
        interactive=_interactive(spec.interactive),
    )


class _Measured(NamedTuple):
    """The bounds of the size of an entry's value in bytes.

    They differ for a sealed text, which has up to 63 bytes of padding, and are 0 for a value from a Secret.
    """

    least: int
    most: int


class _UnusableEntryError(Exception):
    """An entry whose value breaks a rule that the schema cannot express."""

    def __init__(self, field: str, demand: str) -> None:
        """Keep the field within the entry and the rule."""
        super().__init__(demand)
        self.field = field
        self.demand = demand


class _SourceConverter:
    """Converts the sources of one definition's entries, and collects why the definition cannot be used."""

    def __init__(
        self,
        *,
        keep_sealed: bool,
        missing: AbstractSet[EntryKey] | None,
        data_keys: AbstractSet[str],
        seals: bool,
    ) -> None:
        self._keep_sealed = keep_sealed
        self._seals = seals
        self._missing = missing
        self._data_keys = data_keys
        self._reasons: set[Reason] = set()
        self._total = 0

    def convert(self, entry: EntryModel) -> Source:
        """Return the entry's source; an unusable one is replaced by an empty one, and its reason is kept."""
        if entry.has_secret_plaintext and not self._seals:
            self._reasons.add(Reason.PLAINTEXT_REFUSED)
            return _NOTHING
        try:
            measured = _measure(entry)
        except _UnusableEntryError:
            self._reasons.add(Reason.INVALID)
            return _NOTHING
        data_key_id = None if entry.sealed is None else named_data_key(entry.sealed)
        if data_key_id is not None and data_key_id not in self._data_keys:
            self._reasons.add(Reason.INVALID)
            return _NOTHING
        self._total += measured.least
        return self._source(entry, measured)

    @property
    def not_ready(self) -> Reason | None:
        """Return why the entries make the definition unusable; ``None`` when they do not."""
        if Reason.PLAINTEXT_REFUSED in self._reasons:
            return Reason.PLAINTEXT_REFUSED
        return Reason.INVALID if self._reasons or self._total > BUNDLE_BYTES else None

    def _source(self, entry: EntryModel, measured: _Measured) -> Source:
        if entry.value_from is not None:
            reference = entry.value_from.secret_key_ref
            is_optional = reference.optional is True
            return SecretKeySource(
                intern(reference.name),
                intern(reference.key),
                entry.max_bytes,
                is_optional=is_optional,
                is_missing=entry.key in self._missing if is_optional and self._missing is not None else None,
            )
        if not entry.sensitive:
            return PlainSource(_plaintext(entry) or b"")
        if entry.has_secret_plaintext:
            return _sized(padded_bound(measured.most))
        return SealedSource(entry.sealed or "", measured.most) if self._keep_sealed else _sized(measured.most)


@lru_cache(maxsize=1024)
def _sized(size: int) -> SealedSource:
    """Return the one source of this size without its text: sizes are padded, so thousands of entries share a few."""
    return SealedSource("", size)


_NOTHING: Final = _sized(0)


def _missing_entries(model: ScopedSecret) -> AbstractSet[EntryKey] | None:
    """Return the missing optional entries; ``None`` until the controller has checked this generation."""
    if model.status.observed_generation != model.metadata.generation:
        return None
    return {entry.key for entry in model.status.missing_entries}


def _measure(entry: EntryModel) -> _Measured:
    """Return the size of the value of one entry.

    Raises:
        _UnusableEntryError: The value breaks a rule that the schema cannot express.
    """
    if entry.value_from is not None:
        return _Measured(0, 0)
    plaintext = _plaintext(entry)
    if plaintext is not None:
        if len(plaintext) > entry.max_bytes:
            raise _UnusableEntryError(entry.plain_field, f"must be at most {entry.max_bytes // _KIB} KiB")
        return _Measured(len(plaintext), len(plaintext))
    text = entry.sealed or ""
    try:
        bound = plaintext_bound(text)
    except SealingError:
        raise _UnusableEntryError(
            "sealed", "must be a sealed text as `kubectl scoped-secrets seal` prints it; seal the value again"
        ) from None
    # The schema bounds the text's length, and with it the value's.
    return _Measured(max(bound - _PADDING, 0), bound)


def _plaintext(entry: EntryModel) -> bytes | None:
    """Return the plain text of an entry, secret or not; ``None`` when it has none."""
    try:
        plaintext = entry.plaintext()
    except ValueError:
        raise _UnusableEntryError(entry.plain_field, "must be base64, as the program `base64` prints it") from None
    if plaintext is not None and entry.kind is EntryKind.ENV and b"\0" in plaintext:
        raise _UnusableEntryError(entry.plain_field, "must have no NUL character; put bytes into `spec.files`")
    return plaintext


def _not_ready(model: ScopedSecret, reported: AbstractSet[Reason]) -> Reason | None:
    """Return why no job can use a definition whose entries are valid."""
    for condition in model.status.conditions:
        if (
            condition.type == ConditionType.READY
            and condition.status == "False"
            and condition.observed_generation == model.metadata.generation
            and condition.reason in reported
        ):
            return Reason(condition.reason)
    return None


def _rule(rule: PolicyRule) -> claims.Rule:
    return claims.Rule(
        name=rule.name,
        projects=rule.projects,
        environments=rule.environments,
        namespaces=rule.namespaces,
        service_accounts=rule.service_accounts,
        creators=rule.creators,
        refs=rule.refs,
        events=rule.events,
        pod_selector=_selector(rule.pod_selector),
        not_before=rule.not_before,
        not_after=rule.not_after,
    )


def _interactive(model: Interactive | None) -> interactive.InteractiveAccess | None:
    if model is None:
        return None
    effects = {
        interactive.Interaction.EXEC: model.exec,
        interactive.Interaction.ATTACH: model.attach,
        interactive.Interaction.PORT_FORWARD: model.port_forward,
        interactive.Interaction.EPHEMERAL_CONTAINERS: model.ephemeral_containers,
    }
    return interactive.InteractiveAccess(
        denied=frozenset(each for each, effect in effects.items() if effect is policy.Effect.DENY),
        exempt=tuple(
            subjects.Subject(subject.kind, subject.name, subject.namespace or "") for subject in model.exempt_subjects
        ),
    )


def _selector(selector: LabelSelector | None) -> selectors.LabelSelector | None:
    """Return the selector as expressions only: a label that must match is in a list of one value."""
    if selector is None:
        return None
    labels = (
        selectors.Requirement(key, selectors.Operator.IN, (value,)) for key, value in selector.match_labels.items()
    )
    expressions = (selectors.Requirement(item.key, item.operator, item.values) for item in selector.match_expressions)
    return selectors.LabelSelector((*labels, *expressions))


def _labels(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the labels with interned strings: thousands of definitions share a few keys and values."""
    if not labels:
        return _NO_LABELS
    return {intern(key): intern(value) for key, value in labels.items()}


def _interned(text: str | None) -> str | None:
    return None if text is None else intern(text)
