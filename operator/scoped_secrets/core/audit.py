"""What the audit log says about one decision: names only, never a value (DESIGN section 9).

Everything here is what policies saw.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from scoped_secrets.core.decide import Denied
from scoped_secrets.core.grant import DecisionTrail, DeniedBundle, GrantedBundle, LeftOut
from scoped_secrets.core.interactive import SessionDecision
from scoped_secrets.core.policy.stated_claims import stated_claims
from scoped_secrets.core.resolution.resolve import Resolution
from scoped_secrets.core.scope.slot import ScopePath

__all__ = ["MAX_TEXT", "Fields", "describe_decision", "describe_session", "shortened"]

Fields: TypeAlias = dict[str, object]
"""A part of a line; values are texts, numbers, truth values, lists and further parts."""

MAX_TEXT: Final = 253
"""The longest text in a line, in characters: a forged review may hold longer ones."""


def describe_decision(decision: DecisionTrail | Denied) -> Fields:
    """Return scope path, claims and references of a decision about a pod."""
    match decision:
        case DecisionTrail():
            return _describe_trail(decision, {})
        case Denied(trail=trail):
            denial: Fields = {"reason": decision.reason.value, "message": decision.message}
            return denial if trail is None else _describe_trail(trail, denial)


def describe_session(session: SessionDecision) -> Fields:
    """Return what was asked for, and the bundles because of which policies were asked."""
    fields: Fields = {"interaction": session.interaction.value, "bundles": sorted(session.held.names)}
    if session.held.has_unknown:
        fields["mayHoldOthers"] = True
    if session.denial is not None:
        fields |= _named(policy=session.denial.policy, bundle=session.denial.bundle)
    return fields


def shortened(text: str) -> str:
    """Return the beginning of a text that a client wrote."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _describe_trail(trail: DecisionTrail, fields: Fields) -> Fields:
    return fields | {
        "scope": _describe_path(trail.claims.path),
        "claims": _describe_claims(trail),
        "references": [*_references(trail)],
    }


def _describe_path(path: ScopePath) -> Fields:
    return _named(organization=path.organization, project=path.project, environment=path.environment)


def _describe_claims(trail: DecisionTrail) -> Mapping[str, Fields]:
    """Return each claim about the job, and who vouches for it; labels of the pod, which may be many, are left out."""
    return {
        claim.name: {"value": shortened(claim.value), "source": claim.source}
        for claim in stated_claims(trail.claims, trail.binding)
    }


def _references(trail: DecisionTrail) -> Iterator[Fields]:
    """Yield the bundles in the order of application, then what the job does not get."""
    for applied in trail.applied:
        yield _allowed(applied)
    for left_out in trail.left_out:
        yield _denied(left_out.bundle or _missing(left_out), "LeftOut")
    if trail.denied is not None:
        yield _denied(trail.denied, "Denied")


def _missing(left_out: LeftOut) -> DeniedBundle:
    return DeniedBundle(left_out.name, left_out.reason)


def _allowed(applied: GrantedBundle) -> Fields:
    # The contributors' permissions begin with the winner's.
    verdict = applied.allowed[0]
    fields: Fields = {"name": applied.name, **_winner(applied.resolution), "decision": "Allowed"}
    if applied.is_attached:
        fields["attached"] = True
    return fields | _named(policy=verdict.policy, rule=verdict.rule)


def _denied(bundle: DeniedBundle, decision: str) -> Fields:
    fields: Fields = {"name": bundle.name, **_winner(bundle.resolution), "decision": decision}
    fields["reason"] = bundle.reason.value
    if bundle.definition is not None and bundle.resolution is not None:
        merged = bundle.definition.definition.location
        fields |= {} if merged == bundle.resolution.winner.definition.location else {"definition": merged}
    if bundle.denial is not None:
        fields |= _named(policy=bundle.denial.policy, rule=bundle.denial.rule, claim=bundle.denial.claim)
    return fields


def _winner(resolution: Resolution | None) -> Fields:
    if resolution is None:
        return {}
    definition = resolution.winner.definition
    return {"winner": definition.location, "generation": definition.generation}


def _named(**names: str | None) -> Fields:
    """Return the names that are known."""
    return {field: shortened(name) for field, name in names.items() if name is not None}
