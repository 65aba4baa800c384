"""Computes the desired status of an object, and the change to write, if there is one.

The controller compares before it calls the API server, because even an apply that changes nothing costs the server more
than a millisecond (DESIGN section 9). A condition keeps its transition time until its status changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from scoped_secrets.controller.key_use import oldest_key
from scoped_secrets.controller.value_age import ResealedTexts, as_stored, entry_states, known_states
from scoped_secrets.controller.value_from import SourceReport
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.policy.policy import Effect, Policy
from scoped_secrets.core.policy_effect import policy_effect
from scoped_secrets.core.resolution.definitions import Definition, SealedSource, SlottedDefinition
from scoped_secrets.core.status import Condition, DefinitionStatus, status_of
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import data_key_context
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealed_texts import matches_context, parse_header
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.errors import SealingError
from scoped_secrets.names import CONTROLLER_REASONS, ConditionType, Reason
from scoped_secrets.timestamps import rfc3339

__all__ = [
    "DesiredStatus",
    "PolicyStatus",
    "changed_status",
    "definition_status",
    "invalid_status",
    "newly_true",
    "policy_conditions",
    "policy_status",
    "why_not_unsealable",
]

_CONDITION_TYPES: Final = frozenset(ConditionType)
"""The types that the controller writes."""

_EVENT_TYPES: Final = frozenset({ConditionType.ROTATION_DUE, ConditionType.EXPIRED})
"""The types that become true by time alone: an event reports them."""

_MAX_MESSAGE: Final = 1024
"""The longest message that the CRD allows, in characters."""


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The desired status of a policy."""

    observed_generation: int
    conditions: tuple[Condition, ...]
    matched_count: int = 0
    matched: tuple[str, ...] = ()
    changes_at: datetime | None = None


DesiredStatus: TypeAlias = DefinitionStatus | PolicyStatus


def definition_status(
    entry: SlottedDefinition | RejectedDefinition,
    inventory: Inventory,
    keys: KeyRing,
    cluster_id: str,
    observed: Mapping[str, Any],
    now: datetime,
    resealed_texts: ResealedTexts | None = None,
    sources: SourceReport | None = None,
    *,
    copy_problem: str | None = None,
) -> DefinitionStatus:
    """Return the status that a definition should have.

    Args:
        entry: The definition.
        inventory: All of them.
        keys: The sealing keys.
        cluster_id: The cluster that values are sealed for.
        observed: The stored status, which says since when the definition has its values.
        now: The present time.
        resealed_texts: The texts that the controller resealed.
        sources: The state of the Secrets that `valueFrom` names.
        copy_problem: Why the copy that the definition asks for cannot be made.
    """
    definition = entry.definition
    not_ready = None if definition.not_ready in CONTROLLER_REASONS else definition.not_ready
    if isinstance(entry, SlottedDefinition):
        not_ready = not_ready or why_not_unsealable(entry, keys, cluster_id)
    if not_ready is Reason.COPY_PENDING and copy_problem is not None:
        not_ready = Reason.COPY_FAILED
    sources = sources or SourceReport()
    if sources.problem is not None:
        not_ready = not_ready or Reason.SOURCE_MISSING
    if not_ready is not definition.not_ready:
        definition = replace(definition, not_ready=not_ready)
        entry = replace(entry, definition=definition)
    status = status_of(entry, inventory, now, entry_states(definition, observed, now, resealed_texts))
    conditions = tuple(
        replace(condition, message=copy_problem)
        if condition.reason is Reason.COPY_FAILED and copy_problem is not None
        else _with_sources(condition, sources)
        for condition in status.conditions
    )
    return replace(status, key_id=oldest_key(definition, keys), conditions=conditions, missing=sources.missing)


def _with_sources(condition: Condition, sources: SourceReport) -> Condition:
    """Return the condition with the missing sources in its message, if it is about sources."""
    if condition.reason is Reason.SOURCE_MISSING and sources.problem is not None:
        return replace(condition, message=sources.problem)
    if condition.reason is Reason.AVAILABLE and sources.missing:
        first, others = str(sources.missing[0]), len(sources.missing) - 1
        which = f"{first} and {others} more optional entries" if others else f"the optional {first}"
        return replace(condition, message=f"{condition.message}; now without {which}, whose Secret or key is missing")
    return condition


def why_not_unsealable(slotted: SlottedDefinition, keys: KeyRing, cluster_id: str) -> Reason | None:
    """Return why a value of a definition cannot be unsealed, as far as the headers of the sealed texts tell."""
    definition = slotted.definition
    data_keys: dict[str, Reason | None] = {}
    for entry in definition.entries:
        source = entry.source
        if not isinstance(source, SealedSource) or not source.text:
            continue
        try:
            header = parse_header(source.text)
        except SealingError:
            return Reason.INVALID
        context = sealing_context(cluster_id, definition.namespace, definition.name, slotted.slot, entry.sealing_key)
        if not matches_context(header, context):
            return Reason.SEALED_FOR_ANOTHER
        if isinstance(header, SealedHeader):
            reason = None if keys.get(header.key_id) is not None else Reason.KEY_LOST
        else:
            if header.data_key_id not in data_keys:
                data_keys[header.data_key_id] = _why_not_openable(definition, header.data_key_id, context, keys)
            reason = data_keys[header.data_key_id]
        if reason is not None:
            return reason
    return None


def _why_not_openable(
    definition: Definition, data_key_id: str, context: SealingContext, keys: KeyRing
) -> Reason | None:
    """Return why a data key of a definition cannot be unsealed, as far as its header tells."""
    data_key = definition.data_key(data_key_id)
    try:
        header = parse_header("" if data_key is None else data_key.text)
    except SealingError:
        return Reason.INVALID
    if not matches_context(header, data_key_context(context, data_key_id)):
        return Reason.SEALED_FOR_ANOTHER
    if not isinstance(header, SealedHeader) or keys.get(header.key_id) is None:
        return Reason.KEY_LOST
    return None


def invalid_status(generation: int, message: str, observed: Mapping[str, Any]) -> DefinitionStatus:
    """Return the status of a stored object that cannot be read; the age of its values is kept."""
    return DefinitionStatus(
        observed_generation=generation,
        conditions=(Condition(ConditionType.READY, Reason.INVALID, message, is_true=False),),
        env_count=0,
        file_count=0,
        entries=known_states(observed),
    )


def policy_status(
    policy: Policy, inventory: Inventory, generation: int, invalid: str | None, now: datetime
) -> PolicyStatus:
    """Return the status that a policy should have.

    Args:
        policy: The policy.
        inventory: All definitions and namespaces.
        generation: The generation of the stored object.
        invalid: Why the stored object cannot be read; ``None`` when it can.
        now: The present time.
    """
    effect = policy_effect(policy, inventory, now)
    conditions = policy_conditions(policy, invalid)
    # What a policy that is not enforced as written would do is of no interest.
    if effect.ineffective is not None and all(condition.is_true for condition in conditions):
        conditions = (*conditions, effect.ineffective)
    return PolicyStatus(generation, conditions, effect.matched_count, effect.matched, effect.changes_at)


def policy_conditions(policy: Policy, invalid: str | None) -> tuple[Condition, ...]:
    """Return whether a policy is accepted and enforced.

    Args:
        policy: The policy.
        invalid: Why the stored object cannot be read; ``None`` when it can.
    """
    if invalid is not None:
        return _not_accepted(Reason.INVALID, invalid)
    accepted = Condition(ConditionType.ACCEPTED, Reason.ACCEPTED, "every field is enforced", is_true=True)
    if not policy.organization:
        return accepted, Condition(ConditionType.READY, Reason.NAMESPACE_OUTSIDE, _OUTSIDE, is_true=False)
    idle = [rule.name for rule in policy.rules if policy.effect is Effect.ALLOW and rule.has_only_self_made_claims]
    message = "the policy is enforced" if not idle else _ONLY_LABELS.format(rule=idle[0])
    return accepted, Condition(ConditionType.READY, Reason.AVAILABLE, message, is_true=True)


def _not_accepted(reason: Reason, message: str) -> tuple[Condition, ...]:
    return tuple(
        Condition(kind, reason, message, is_true=False) for kind in (ConditionType.ACCEPTED, ConditionType.READY)
    )


def changed_status(status: DesiredStatus, observed: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """Return the status to write, ``None`` when the stored one is equal.

    Args:
        status: What the status should be.
        observed: What is stored.
        now: The present time, for conditions that change.
    """
    fields = {"observedGeneration": status.observed_generation}
    # Empty values are left out of what is written: server-side apply then removes the field.
    omitempty: dict[str, list[Any] | str] = {}
    if isinstance(status, DefinitionStatus):
        fields |= {"envCount": status.env_count, "fileCount": status.file_count}
        omitempty = {
            "shadows": list(status.shadows),
            "shadowedBy": list(status.shadowed_by),
            "entries": as_stored(status.entries),
            "missingEntries": [{"kind": entry.kind.value, "name": entry.name} for entry in status.missing],
            "keyId": status.key_id,
        }
    else:
        fields["matchedCount"] = status.matched_count
        omitempty = {"matched": list(status.matched)}
    stored = _stored_conditions(observed)
    conditions = [
        _condition(condition, status.observed_generation, stored.get(condition.type.value), now)
        for condition in status.conditions
    ]
    is_same = (
        {condition["type"]: condition for condition in conditions} == stored
        and all(observed.get(name) == value for name, value in fields.items())
        and all((observed.get(name) or type(value)()) == value for name, value in omitempty.items())
    )
    if is_same:
        return None
    return fields | {name: value for name, value in omitempty.items() if value} | {"conditions": conditions}


def newly_true(status: Mapping[str, Any], observed: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the conditions that the new status sets to true and that become true by time alone."""
    stored = _stored_conditions(observed)
    return [
        condition
        for condition in status["conditions"]
        if condition["type"] in _EVENT_TYPES
        and condition["status"] == "True"
        and stored.get(condition["type"], {}).get("status") != "True"
    ]


def _stored_conditions(observed: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the stored conditions that the controller writes, by type."""
    conditions = observed.get("conditions")
    if not isinstance(conditions, list):
        return {}
    return {c["type"]: c for c in conditions if isinstance(c, Mapping) and c.get("type") in _CONDITION_TYPES}


def _condition(
    condition: Condition, generation: int, stored: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any]:
    status = "True" if condition.is_true else "False"
    since = stored.get("lastTransitionTime") if stored is not None and stored.get("status") == status else None
    return {
        "type": condition.type.value,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since or rfc3339(now),
        "reason": condition.reason.value,
        "message": condition.message[:_MAX_MESSAGE],
    }


_ONLY_LABELS: Final = (
    "the policy is enforced; its rule '{rule}' matches no job, because a pod's author writes the labels of "
    "`podSelector`: add another claim to the rule"
)
_OUTSIDE: Final = (
    "the policy's namespace has no scope path, so it governs nothing; an administrator must label the namespace"
)
