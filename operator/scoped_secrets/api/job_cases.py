"""The file of cases that `scoped-secrets test` runs: jobs, and what they are expected to get."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from scoped_secrets import names
from scoped_secrets.api.base import Rule, Time
from scoped_secrets.api.trusted_issuers import StrictModel
from scoped_secrets.api.validation_messages import known_fields, to_user_error
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.names import Reason

__all__ = ["CaseModel", "CasesFile", "ExpectationModel", "JobModel", "parse_cases"]

_ONE_SUBJECT: Final = Rule("", "must have either `pod`, the path of a file, or `job`, a description")
_ONE_PLACE: Final = Rule("", "must have `namespace`, or the `project` or `organization` that leads to one")
_EXPECTS: Final = Rule("", "must have at least one of `winners`, `variables`, `files`, `leftOut` and `denied`")
_DENIED_ALONE: Final = Rule("", "must have `denied` alone, or with `message`: a denied job gets nothing")
_MESSAGE_OF_DENIAL: Final = Rule("", "must have `denied` with `message`", "message")
_UNIQUE: Final = Rule("", "must have each `name` once", "cases")


class JobModel(StrictModel):
    """A job by the facts that decide."""

    namespace: str | None = None
    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    secrets: str = ""
    service_account: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ONE_PLACE.require(any(place is not None for place in (self.namespace, self.organization, self.project)))
        return self


class ClaimsModel(StrictModel):
    """What admission would vouch for."""

    creator: str = ""
    ref: str = ""
    event: str = ""


class ExpectationModel(StrictModel):
    """What a job gets: every field that is given is compared as a whole."""

    winners: dict[str, str] | None = None
    variables: tuple[str, ...] | None = None
    files: tuple[str, ...] | None = None
    left_out: dict[str, Reason] | None = None
    denied: Reason | None = None
    message: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        granted = any(part is not None for part in (self.winners, self.variables, self.files, self.left_out))
        _EXPECTS.require(granted or self.denied is not None)
        _DENIED_ALONE.require(not granted or self.denied is None)
        _MESSAGE_OF_DENIAL.require(self.message is None or self.denied is not None)
        return self


class CaseModel(StrictModel):
    """One case."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    pod: str | None = None
    job: JobModel | None = None
    claims: ClaimsModel = Field(default_factory=ClaimsModel)
    expect: ExpectationModel

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ONE_SUBJECT.require((self.pod is None) != (self.job is None))
        return self


class CasesFile(StrictModel):
    """The whole file."""

    definitions: Annotated[tuple[str, ...], Field(min_length=1)]
    namespace_scopes: tuple[str, ...] = ()
    organization: str = names.DEFAULT_ORGANIZATION
    default_access: Access = Access.ALLOW_IN_SCOPE
    default_home: str = names.DEFAULT_HOME
    now: Time | None = None
    cases: Annotated[tuple[CaseModel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _UNIQUE.require(len({case.name for case in self.cases}) == len(self.cases))
        return self


def parse_cases(document: Mapping[str, Any]) -> CasesFile:
    """Read the file.

    Raises:
        InvalidObjectError: It is not valid; the message names the field.
    """
    try:
        return CasesFile.model_validate(document)
    except ValidationError as error:
        sentence = to_user_error(error, known_fields(CasesFile))
    # Raised outside of the handler: the context would be pydantic's error, which holds the input.
    raise sentence
