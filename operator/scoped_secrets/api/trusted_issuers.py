"""The file of trusted issuers, which administrators write (in the chart `trustedIssuers`)."""

from typing import Annotated, Final, Literal, Self, TypeAlias

import yaml
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scoped_secrets.api.base import CamelModel, Rule
from scoped_secrets.api.patterns import LABEL_KEY, LABEL_VALUE, SENTENCES
from scoped_secrets.api.secretpolicy import EnvironmentGlob, Event, ExemptSubject
from scoped_secrets.api.validation_messages import known_fields, to_user_error
from scoped_secrets.core.policy.issuer_presets import PRESETS, IssuerPreset
from scoped_secrets.core.policy.issuers import ClaimSource, OwnerKind, RefForm, SourceKind, TrustedIssuer
from scoped_secrets.core.policy.subjects import Subject
from scoped_secrets.errors import InvalidObjectError

__all__ = ["StrictModel", "TrustedIssuersFile", "parse_trusted_issuers"]

_API_VERSION: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/v[a-z0-9]+)?$"
_KIND: Final = r"^[A-Z][A-Za-z0-9]*$"
_RESOURCE: Final = r"^[a-z][a-z0-9]*$"
_CONSTANT: Final = r"^[^\x00-\x1f\x7f]+$"
_SENTENCES: Final = {
    _API_VERSION: "must be the version of an API, such as 'tekton.dev/v1'",
    _KIND: "must be the name of a kind, such as 'TaskRun'",
    _RESOURCE: "must be the plural of a kind in lower case, such as 'taskruns'",
    _CONSTANT: "must have no control character",
}
SENTENCES.update({pattern: sentence for pattern, sentence in _SENTENCES.items() if pattern not in SENTENCES})

_ONE_SOURCE: Final = Rule("", "must have exactly one of `label`, `annotation` and `value`")
_STATES_SOMETHING: Final = Rule("", "must state at least one claim, because the preset has none of its own", "claims")
_STATES_ITS_OWN: Final = Rule("", "must state at least one claim; write `claims`, or a `preset`", "claims")
_HAS_CREATOR: Final = Rule(
    "", "must have at least one subject, because everyone may write an ownerReference", "creators"
)
_REF_HAS_EVENT: Final = Rule("", "needs a claim `event` to compare with", "claims.ref.events")
_PROJECTS_HAVE_SOURCE: Final = Rule("", "needs a claim `project` whose values it maps", "projects")
_ENVIRONMENTS_HAVE_SOURCE: Final = Rule("", "needs a claim `environment` that it limits", "environments")
_UNIQUE: Final = Rule(
    "", "must have each `name` once; an issuer without a name has that of its preset", "trustedIssuers"
)
_NAMED: Final = Rule("", "must be given, because the issuer has no preset", "name")

_Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=LABEL_VALUE)]
_Key: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=LABEL_KEY)]


class StrictModel(CamelModel):
    """A part of the file: an unknown field is a mistake, because no API server prunes it."""

    model_config = ConfigDict(extra="forbid")


class Source(StrictModel):
    """Where a claim stands."""

    label: _Key | None = None
    annotation: _Key | None = None
    value: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_CONSTANT)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ONE_SOURCE.require(sum(text is not None for text in (self.label, self.annotation, self.value)) == 1)
        return self

    def to_source(self) -> ClaimSource:
        """Return the source."""
        if self.label is not None:
            return ClaimSource(SourceKind.LABEL, self.label)
        if self.annotation is not None:
            return ClaimSource(SourceKind.ANNOTATION, self.annotation)
        return ClaimSource(SourceKind.VALUE, self.value or "")


class RefSource(Source):
    """Where the ref stands, and what the text is."""

    form: RefForm = RefForm.FULL
    events: Annotated[tuple[Event, ...], Field(max_length=50)] = ()


class ClaimSources(StrictModel):
    """Where each claim stands; a claim that is given replaces that of the preset."""

    project: Source | None = None
    environment: Source | None = None
    ref: RefSource | None = None
    event: Source | None = None


class Owner(StrictModel):
    """One kind of objects."""

    api_version: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=_API_VERSION)]
    kind: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_KIND)]
    resource: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_RESOURCE)] | None = None


class Issuer(StrictModel):
    """One trusted issuer."""

    name: _Name | None = None
    preset: (
        Literal[
            "gitlab-runner",
            "github-arc",
            "tekton-pipelines-as-code",
            "argo-workflows",
            "buildkite",
            "jenkins",
            "buildbot",
            "semaphore-agent",
            "job",
        ]
        | None
    ) = None
    creators: Annotated[tuple[ExemptSubject, ...], Field(max_length=50)] = ()
    owners: Annotated[tuple[Owner, ...], Field(max_length=3)] = ()
    claims: ClaimSources = Field(default_factory=ClaimSources)
    projects: Annotated[dict[Annotated[str, StringConstraints(max_length=255)], _Name], Field(max_length=1000)] = Field(
        default_factory=dict
    )
    environments: Annotated[tuple[EnvironmentGlob, ...], Field(max_length=50)] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _NAMED.require(self.name is not None or self.preset is not None)
        _HAS_CREATOR.require(bool(self.creators))
        issuer = self.to_issuer()
        stated = issuer.project or issuer.environment or issuer.ref or issuer.event
        (_STATES_ITS_OWN if self.preset is None else _STATES_SOMETHING).require(stated is not None)
        _REF_HAS_EVENT.require(not issuer.ref_events or issuer.event is not None)
        _PROJECTS_HAVE_SOURCE.require(not issuer.projects or issuer.project is not None)
        _ENVIRONMENTS_HAVE_SOURCE.require(not issuer.environments or issuer.environment is not None)
        return self

    def to_issuer(self) -> TrustedIssuer:
        """Return the issuer, with what the preset adds."""
        preset = PRESETS[self.preset] if self.preset is not None else IssuerPreset()
        claims = self.claims
        ref = claims.ref
        return TrustedIssuer(
            name=self.name or self.preset or "",
            creators=tuple(Subject(each.kind, each.name, each.namespace or "") for each in self.creators),
            owners=tuple(map(_owner, self.owners)) or preset.owners,
            project=_source(claims.project) or preset.project,
            environment=_source(claims.environment) or preset.environment,
            ref=_source(ref) or preset.ref,
            event=_source(claims.event) or preset.event,
            ref_form=preset.ref_form if ref is None else ref.form,
            ref_events=preset.ref_events if ref is None else ref.events,
            projects=self.projects,
            environments=self.environments,
        )


class TrustedIssuersFile(StrictModel):
    """The whole file."""

    trusted_issuers: Annotated[tuple[Issuer, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [issuer.name or issuer.preset for issuer in self.trusted_issuers]
        _UNIQUE.require(len(set(names)) == len(names))
        return self


def parse_trusted_issuers(text: str) -> tuple[TrustedIssuer, ...]:
    """Read the file, in YAML or JSON.

    Raises:
        InvalidObjectError: It is not a valid file; the message names the field.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        # Raised outside of the handler: the context would quote the input.
        document = _NO_DOCUMENT
    if document is _NO_DOCUMENT:
        raise InvalidObjectError("the file must be YAML or JSON")
    try:
        file = TrustedIssuersFile.model_validate({} if document is None else document)
    except ValidationError as error:
        sentence = to_user_error(error, known_fields(TrustedIssuersFile))
    else:
        return tuple(issuer.to_issuer() for issuer in file.trusted_issuers)
    raise sentence


_NO_DOCUMENT: Final = object()


def _source(source: Source | None) -> ClaimSource | None:
    return None if source is None else source.to_source()


def _owner(owner: Owner) -> OwnerKind:
    return OwnerKind(owner.api_version, owner.kind, owner.resource or f"{owner.kind.lower()}s")
