"""Explain: every definition of a bundle that a job could get, what becomes of it and why, and what policy says."""

from collections.abc import Iterator
from enum import StrEnum

from scoped_secrets.core.decide import Denied
from scoped_secrets.core.grant import DecisionTrail, DeniedBundle, Grant, GrantedBundle
from scoped_secrets.core.injection.held_bundles import HeldBundles
from scoped_secrets.core.interactive import InteractiveDenial, find_interactive_denial
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.policy.interactive import Interaction
from scoped_secrets.core.policy.subjects import Requester
from scoped_secrets.core.resolution.definitions import Definition, SlottedDefinition
from scoped_secrets.core.resolution.resolve import Resolution, resolve, slot_owners
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope, ScopePath
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Candidate", "Explanation", "Result", "Verdict", "explain_bundle"]

_ANONYMOUS = Requester("")
"""A person whom no policy exempts."""


class Result(StrEnum):
    """What becomes of a definition."""

    WINNER = "winner"
    MERGED = "merged"
    SHADOWED = "shadowed"
    BLOCKED = "blocked"
    NO_CANDIDATE = "no candidate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One definition of the bundle.

    Attributes:
        scope: Its scope.
        definition: `namespace/name`.
        keys: The names of its variables and files.
        result: What becomes of it.
        why: The rule that says so.
    """

    scope: Scope
    definition: str
    keys: tuple[str, ...]
    result: Result
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the job gets the bundle.

    Attributes:
        is_granted: Whether it does.
        message: Why, in the words of admission.
        reason: The reason of a denial; empty when the job gets the bundle.
    """

    is_granted: bool
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One bundle and one job.

    Attributes:
        name: The bundle.
        path: Where the job stands; ``None`` when that is denied.
        namespace: Its namespace.
        candidates: The definitions, the winner first.
        undelivered: The entries that only definitions without effect have.
        verdict: Whether the job gets the bundle.
        sessions: Which sessions in its pod policies deny.
    """

    name: str
    path: ScopePath | None
    namespace: str
    candidates: tuple[Candidate, ...]
    undelivered: tuple[str, ...]
    verdict: Verdict
    sessions: tuple[InteractiveDenial, ...]


def explain_bundle(name: str, pod: Pod | None, decision: Grant | Denied, inventory: Inventory) -> Explanation:
    """Explain what one bundle is for a pod.

    Args:
        name: The bundle.
        pod: The pod; ``None`` when it is denied before it is looked at.
        decision: What is granted to the pod, or why it is denied.
        inventory: The state from which it was made.
    """
    trail = decision.trail
    verdict = _verdict(name, decision, trail)
    binding = None if pod is None else inventory.binding(pod.namespace)
    if pod is None or trail is None or binding is None:
        return Explanation(name, None, "" if pod is None else pod.namespace, (), (), verdict, ())
    path = trail.claims.path
    resolution = _resolution(name, trail, inventory)
    candidates = tuple(_candidates(name, path, resolution, inventory))
    return Explanation(
        name=name,
        path=path,
        namespace=pod.namespace,
        candidates=candidates,
        undelivered=_undelivered(resolution),
        verdict=verdict,
        sessions=tuple(_sessions(name, pod, binding, inventory)),
    )


def _resolution(name: str, trail: DecisionTrail, inventory: Inventory) -> Resolution | None:
    """Return the resolution of the decision or, of a bundle that it did not come to, the one that it would have."""
    for applied in trail.applied:
        if applied.name == name:
            return applied.resolution
    without = [left.bundle for left in trail.left_out]
    for bundle in (*without, trail.denied):
        if bundle is not None and bundle.name == name:
            return bundle.resolution
    path = trail.claims.path
    definitions = inventory.definitions(path.organization, path.project, name)
    return resolve(name, definitions, path, inventory.territory(path))


def _verdict(name: str, decision: Grant | Denied, trail: DecisionTrail | None) -> Verdict:
    if isinstance(decision, Grant):
        applied = decision.bundle(name)
        if applied is not None:
            return Verdict(is_granted=True, message=_permission(applied))
        left = next((left for left in decision.left_out if left.name == name), None)
        if left is None:
            return Verdict(is_granted=False, message="the job does not name the bundle")
        detail = "no definition applies to the job" if left.bundle is None else left.bundle.detail
        return Verdict(is_granted=False, message=f"the job runs without it: {detail}", reason=left.reason)
    denied: DeniedBundle | None = None if trail is None else trail.denied
    other = "" if denied is None or denied.name == name else "the job is denied because of another bundle: "
    return Verdict(is_granted=False, message=f"{other}{decision.message}", reason=decision.reason)


def _permission(applied: GrantedBundle) -> str:
    """Return what allows a bundle, of several definitions each in their order."""
    texts = [
        "allowed by the default access, because no Allow policy selects it"
        if each.policy is None
        else f"allowed by policy '{each.policy}', rule '{each.rule}'"
        for each in applied.allowed
    ]
    if len(texts) == 1:
        return texts[0]
    contributors = applied.resolution.contributors
    return "; ".join(
        f"'{slotted.definition.location}' is {text}" for slotted, text in zip(contributors, texts, strict=True)
    )


def _candidates(name: str, path: ScopePath, resolution: Resolution | None, inventory: Inventory) -> Iterator[Candidate]:
    """Yield the definitions: those that take part in the order of their rank, then the others."""
    taking_part: list[SlottedDefinition] = []
    if resolution is not None:
        taking_part = [*resolution.blocked, *resolution.contributors, *resolution.shadowed]
        order = [*resolution.contributors, *resolution.shadowed, *resolution.blocked]
        for slotted in order:
            yield _candidate(slotted, *_result(slotted, resolution, path))
    definitions = inventory.definitions(path.organization, path.project, name)
    owners = {slotted.definition.location for slotted in slot_owners(definitions)}
    for slotted in sorted(definitions, key=lambda each: each.definition.location):
        if slotted not in taking_part:
            why = _exclusion(slotted, path, is_owner=slotted.definition.location in owners)
            yield _candidate(slotted, Result.NO_CANDIDATE, why)
    for location in sorted(inventory.locations()):
        entry = inventory.get(location)
        if isinstance(entry, RejectedDefinition) and _is_nearby(entry.definition, name, path, inventory):
            definition, denial = entry.definition, entry.denial
            why = f"its namespace may not define it ({denial.reason})"
            yield Candidate(definition.scope, location, _keys(definition), Result.NO_CANDIDATE, why)


def _is_nearby(definition: Definition, name: str, path: ScopePath, inventory: Inventory) -> bool:
    """Tell whether the author of a rejected definition may have meant jobs at a path."""
    binding = inventory.binding(definition.namespace)
    return (
        definition.secret_name == name
        and binding is not None
        and binding.organization == path.organization
        and binding.project in (None, path.project)
    )


def _candidate(slotted: SlottedDefinition, result: Result, why: str) -> Candidate:
    definition = slotted.definition
    return Candidate(slotted.slot.scope, definition.location, _keys(definition), result, why)


def _result(slotted: SlottedDefinition, resolution: Resolution, path: ScopePath) -> tuple[Result, str]:
    winner, *merged = resolution.contributors
    if slotted is winner:
        return Result.WINNER, _victory(slotted, resolution, path)
    if slotted in merged:
        narrower = resolution.contributors[resolution.contributors.index(slotted) - 1]
        return Result.MERGED, f"'{narrower.definition.location}' says `override: Merge`"
    if slotted in resolution.blocked:
        return Result.BLOCKED, f"'{winner.definition.location}' is wider and says `final: true`"
    last = resolution.contributors[-1].definition
    return Result.SHADOWED, f"'{last.location}' takes precedence and says `override: {last.override}`"


def _victory(winner: SlottedDefinition, resolution: Resolution, path: ScopePath) -> str:
    if resolution.blocked:
        return "says `final: true`"
    pattern = winner.slot.environment
    if pattern is None:
        return f"no narrower definition than scope {winner.slot.scope} applies"
    if globs.is_exact(pattern):
        return f"exact match of environment '{path.environment}'"
    return f"pattern '{pattern}' is the most specific one that matches environment '{path.environment}'"


def _exclusion(slotted: SlottedDefinition, path: ScopePath, *, is_owner: bool) -> str:
    """Return why a definition of the name takes no part."""
    pattern = slotted.slot.environment
    if not slotted.slot.applies_to(path):
        if path.environment is None:
            return f"is for environment '{pattern}', and the job has none"
        return f"environment '{pattern}' does not match '{path.environment}'"
    if not is_owner:
        return "another definition has the same slot and keeps it (SlotTaken)"
    return "its namespace is trusted less than those of the job's environment (NotTrusted)"


def _keys(definition: Definition) -> tuple[str, ...]:
    return tuple(entry.name for entry in definition.entries)


def _undelivered(resolution: Resolution | None) -> tuple[str, ...]:
    """Return the entries that only shadowed and blocked definitions have."""
    if resolution is None:
        return ()
    delivered = {key for slotted in resolution.contributors for key in _keys(slotted.definition)}
    others = (*resolution.shadowed, *resolution.blocked)
    return tuple(dict.fromkeys(key for slotted in others for key in _keys(slotted.definition) if key not in delivered))


def _sessions(name: str, pod: Pod, binding: Binding, inventory: Inventory) -> Iterator[InteractiveDenial]:
    held = HeldBundles(frozenset({name}))
    for interaction in Interaction:
        denial = find_interactive_denial(interaction, _ANONYMOUS, pod, held, binding, inventory)
        if denial is not None:
            yield denial
