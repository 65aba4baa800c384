"""Trusted issuers: which creators of pods say truly what a job runs for, and where they say it (DESIGN section 6).

An issuer is configuration of the operator. It matches a pod by the user who created it and, when it reads the objects
that own the pod, by their kinds. Everyone may write an ownerReference, so that an owner without a creator proves
nothing. The claims of one pod all come from one issuer: the first in the list that matches.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from scoped_secrets.core.admission_record import NO_PROJECT, AdmissionRecord
from scoped_secrets.core.policy.subjects import Requester, Subject
from scoped_secrets.core.scope import globs

__all__ = [
    "ClaimSource",
    "Issued",
    "OwnerKind",
    "ReadOwners",
    "RefForm",
    "SourceKind",
    "TrustedIssuer",
    "Writings",
    "issue",
]

_PROJECT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ENVIRONMENT: Final = re.compile(r"[^\x00-\x20\x7f,]([^\x00-\x1f\x7f,]{0,126}[^\x00-\x20\x7f,])?")
_EVENT: Final = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?")
# The rules of git-check-ref-format(1) that concern single characters, and `..`.
_REF: Final = re.compile(r"(?!.*\.\.)[^\x00-\x20\x7f~^:?*\[\\]{1,244}")

_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_REFS: Final = "refs/"


class SourceKind(StrEnum):
    """Where an issuer carries a claim."""

    LABEL = "label"
    ANNOTATION = "annotation"
    VALUE = "value"


class RefForm(StrEnum):
    """What a source of refs holds."""

    FULL = "Full"
    """A full ref, such as ``refs/heads/main``; any other text is no claim."""
    BRANCH = "Branch"
    """The name of a branch."""
    TAG = "Tag"
    """The name of a tag."""
    BRANCH_OR_TAG = "BranchOrTag"
    """The name of a branch or of a tag, and the engine does not say which."""


@dataclass(frozen=True, slots=True)
class Writings:
    """The labels and annotations of a pod, or of an object that owns it, and what it is called in a source."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(repr=False)
    kind: str = "Pod"


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """One label, annotation or constant that carries a claim."""

    kind: SourceKind
    text: str
    """The key of the label or annotation, or the constant."""

    def read(self, writings: Writings) -> str | None:
        """Return what the source says about one pod."""
        match self.kind:
            case SourceKind.LABEL:
                return writings.labels.get(self.text)
            case SourceKind.ANNOTATION:
                return writings.annotations.get(self.text)
            case SourceKind.VALUE:
                return self.text

    def describe(self, writings: Writings) -> str:
        """Return where the claim comes from, for people."""
        if self.kind is SourceKind.VALUE:
            return "the issuer's configuration"
        return f"{self.kind} {self.text} of the {writings.kind}"


@dataclass(frozen=True, slots=True)
class OwnerKind:
    """A kind of objects that own pods, with what its URL needs."""

    api_version: str
    kind: str
    resource: str


ReadOwners = Mapping[tuple[OwnerKind, ...], Writings]
"""The last owner of each chain of kinds that could be followed from the pod."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """Who creates pods, and where it says what they run for."""

    name: str
    creators: tuple[Subject, ...]
    owners: tuple[OwnerKind, ...] = ()
    """The kinds from the pod's controller outward; the claims are read from the last one. Without: from the pod."""
    project: ClaimSource | None = None
    environment: ClaimSource | None = None
    ref: ClaimSource | None = None
    event: ClaimSource | None = None
    ref_form: RefForm = RefForm.FULL
    ref_events: tuple[str, ...] = ()
    """The events of which the ref is one of the repository; any when empty. A pull request may name any ref."""
    projects: Mapping[str, str] = field(default_factory=dict)
    """The project of the cluster for each project of the engine; without, both have the same names."""
    environments: tuple[str, ...] = ()
    """Patterns of the environments into which the issuer lets its pods."""

    def is_creator(self, requester: Requester) -> bool:
        """Tell whether the issuer is about pods of the requester."""
        return any(subject.includes(requester) for subject in self.creators)


@dataclass(frozen=True, slots=True)
class Issued:
    """What the issuers state about one pod.

    Attributes:
        record: The record, with the claims of the issuer that matches.
        unusable: Why a text is no claim, one sentence for each, names only.
    """

    record: AdmissionRecord
    unusable: tuple[str, ...] = ()


def issue(
    record: AdmissionRecord,
    requester: Requester,
    pod: Writings,
    owners: ReadOwners,
    issuers: Sequence[TrustedIssuer],
) -> Issued:
    """Return the record with the claims of the first issuer that matches.

    Args:
        record: The creator, and the owner.
        requester: The creator with its groups, as far as they are known.
        pod: The pod.
        owners: The owners that were read.
        issuers: The configuration.
    """
    for issuer in issuers:
        if not issuer.is_creator(requester):
            continue
        writings = owners.get(issuer.owners) if issuer.owners else pod
        if writings is None:
            continue
        # What serves many projects says nothing about a pod without one.
        if issuer.project is not None and not issuer.project.read(writings):
            continue
        return _issue(record, issuer, writings)
    return Issued(record)


def _issue(record: AdmissionRecord, issuer: TrustedIssuer, writings: Writings) -> Issued:
    claims: dict[str, str] = {}
    sources: dict[str, str] = {}
    unusable: list[str] = []
    for name, source, value in _read_all(issuer, writings):
        if value is None:
            unusable.append(f"trusted issuer '{issuer.name}': {source.describe(writings)} is no {name}, and no claim")
            if name == "project":
                claims[name] = NO_PROJECT
                sources[name] = source.describe(writings)
        else:
            claims[name] = value
            sources[name] = source.describe(writings)
    if issuer.ref_events and claims.get("event") not in issuer.ref_events:
        claims.pop("ref", None)
        sources.pop("ref", None)
    environment = claims.get("environment", "")
    is_vouched = bool(environment) and any(globs.matches(pattern, environment) for pattern in issuer.environments)
    vouched = "true" if is_vouched else ""
    stated = dataclasses.replace(
        record, **claims, issuer=issuer.name, vouched=vouched, sources=tuple(sorted(sources.items()))
    )
    return Issued(stated, tuple(unusable))


def _read_all(issuer: TrustedIssuer, writings: Writings) -> Iterator[tuple[str, ClaimSource, str | None]]:
    """Yield every claim that is stated, as it is compared; ``None`` for a text that is no claim."""
    for name, source in (
        ("project", issuer.project),
        ("environment", issuer.environment),
        ("event", issuer.event),
        ("ref", issuer.ref),
    ):
        text = None if source is None else source.read(writings)
        if source is None or not text:
            continue
        match name:
            case "project":
                yield name, source, _checked(_PROJECT, issuer.projects.get(text, "") if issuer.projects else text)
            case "environment":
                yield name, source, _checked(_ENVIRONMENT, text)
            case "event":
                yield name, source, _checked(_EVENT, text.lower().replace(" ", "_"))
            case _:
                yield name, source, _full_ref(issuer.ref_form, text)


def _full_ref(form: RefForm, text: str) -> str | None:
    """Return the full ref; of a name that a branch or a tag may have, both. `refs/heads/x` is a possible name."""
    if _checked(_REF, text) is None:
        return None
    match form:
        case RefForm.FULL:
            return text if text.startswith(_REFS) else None
        case RefForm.BRANCH:
            return f"{_BRANCHES}{text}"
        case RefForm.TAG:
            return f"{_TAGS}{text}"
        case RefForm.BRANCH_OR_TAG:
            return f"{_BRANCHES}{text} {_TAGS}{text}"


def _checked(pattern: re.Pattern[str], text: str) -> str | None:
    return text if pattern.fullmatch(text) is not None else None
