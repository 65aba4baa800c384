"""From what a status should say to what is written, and whether anything is written at all.

A status is compared before a call is made: even an apply that changes nothing costs the API server more than a
millisecond (DESIGN section 9). A condition keeps its time until its status flips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from scoped_secrets.controller.key_use import oldest_key
from scoped_secrets.controller.value_age import ResealHistory, as_stored, entry_states, known_states, rfc3339
from scoped_secrets.controller.value_from import SourceReport
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import SealedSource, SlottedDefinition
from scoped_secrets.core.status import Condition, DefinitionStatus, status_of
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import matches_context, parse_header
from scoped_secrets.errors import SealingError
from scoped_secrets.names import ConditionType, Reason

__all__ = ["changed_status", "definition_status", "invalid_status", "newly_true", "policy_status", "why_unopenable"]

_OURS: Final = frozenset(ConditionType)
"""The types that we write."""

_TOLD: Final = frozenset({ConditionType.ROTATION_DUE, ConditionType.EXPIRED})
"""The types that become true by time alone, when nobody is looking: an event tells of them."""

_MAX_MESSAGE: Final = 1024
"""How many characters the CRD lets a message have."""

_FOUND_HERE: Final = frozenset({Reason.KEY_LOST, Reason.SEALED_FOR_ANOTHER, Reason.SOURCE_MISSING, Reason.EXPIRED})
"""What only the controller finds out. Others read it in the status, and so does our own inventory; here it is found out
anew each time, so that a status never becomes its own reason."""


def definition_status(
    entry: SlottedDefinition | RejectedDefinition,
    inventory: Inventory,
    keys: KeyRing,
    cluster_id: str,
    observed: Mapping[str, Any],
    now: datetime,
    reseals: ResealHistory | None = None,
    sources: SourceReport | None = None,
) -> DefinitionStatus:
    """Return the status that a definition should have.

    Args:
        entry: The definition.
        inventory: All of them.
        keys: What opens values.
        cluster_id: What values are sealed for.
        observed: The stored status, which remembers since when the definition has its values.
        now: The present time.
        reseals: The texts that were resealed.
        sources: What is missing of the Secrets that `valueFrom` names.
    """
    definition = entry.definition
    not_ready = None if definition.not_ready in _FOUND_HERE else definition.not_ready
    if isinstance(entry, SlottedDefinition):
        not_ready = not_ready or why_unopenable(entry, keys, cluster_id)
    sources = sources or SourceReport()
    if sources.problem is not None:
        not_ready = not_ready or Reason.SOURCE_MISSING
    if not_ready is not definition.not_ready:
        definition = replace(definition, not_ready=not_ready)
        entry = replace(entry, definition=definition)
    status = status_of(entry, inventory, now, entry_states(definition, observed, now, reseals))
    conditions = tuple(_with_names(condition, sources) for condition in status.conditions)
    return replace(status, key_id=oldest_key(definition, keys), conditions=conditions, missing=sources.missing)


def _with_names(condition: Condition, sources: SourceReport) -> Condition:
    """Return a condition that says which source is missing, where it is about that."""
    if condition.reason is Reason.SOURCE_MISSING and sources.problem is not None:
        return replace(condition, message=sources.problem)
    if condition.reason is Reason.AVAILABLE and sources.missing:
        first, others = str(sources.missing[0]), len(sources.missing) - 1
        which = f"{first} and {others} more optional entries" if others else f"the optional {first}"
        return replace(condition, message=f"{condition.message}; now without {which}, whose Secret or key is missing")
    return condition


def why_unopenable(slotted: SlottedDefinition, keys: KeyRing, cluster_id: str) -> Reason | None:
    """Return why a definition has a value that will not open, as far as its sealed texts tell without being opened."""
    definition = slotted.definition
    for entry in definition.entries:
        source = entry.source
        if not isinstance(source, SealedSource) or not source.text:
            continue
        try:
            header = parse_header(source.text)
        except SealingError:
            return Reason.INVALID
        context = sealing_context(cluster_id, definition.namespace, definition.name, slotted.slot, entry.key)
        if not matches_context(header, context):
            return Reason.SEALED_FOR_ANOTHER
        if keys.get(header.key_id) is None:
            return Reason.KEY_LOST
    return None


def invalid_status(generation: int, message: str, observed: Mapping[str, Any]) -> DefinitionStatus:
    """Return the status of a stored object that cannot be read; what was known of its values stays known."""
    return DefinitionStatus(
        observed_generation=generation,
        conditions=(Condition(ConditionType.READY, Reason.INVALID, message, is_true=False),),
        env_count=0,
        file_count=0,
        entries=known_states(observed),
    )


def policy_status(policy: Policy, invalid: str | None) -> tuple[Condition, ...]:
    """Return the conditions that a policy should have.

    Args:
        policy: The policy.
        invalid: What is wrong with the stored object when it cannot be read.
    """
    if invalid is not None:
        return (Condition(ConditionType.READY, Reason.INVALID, invalid, is_true=False),)
    if policy.broken:
        return (Condition(ConditionType.READY, Reason.NOT_SUPPORTED, _NOT_SUPPORTED, is_true=False),)
    if not policy.organization:
        return (Condition(ConditionType.READY, Reason.NAMESPACE_OUTSIDE, _OUTSIDE, is_true=False),)
    return (Condition(ConditionType.READY, Reason.AVAILABLE, "the policy is enforced", is_true=True),)


def changed_status(
    status: DefinitionStatus | tuple[int, Sequence[Condition]], observed: Mapping[str, Any], now: datetime
) -> dict[str, Any] | None:
    """Return the status to write, ``None`` when the stored one already says so.

    Args:
        status: What it should be; of a policy, its generation and its conditions.
        observed: What is stored.
        now: The present time, for conditions that flip.
    """
    generation: int
    conditions: Sequence[Condition]
    if isinstance(status, DefinitionStatus):
        generation, conditions = status.observed_generation, status.conditions
        fields: dict[str, Any] = {"envCount": status.env_count, "fileCount": status.file_count}
        lists: dict[str, list[Any]] = {"shadows": list(status.shadows), "shadowedBy": list(status.shadowed_by)}
        lists["entries"] = as_stored(status.entries)
        lists["missingEntries"] = [{"kind": entry.kind.value, "name": entry.name} for entry in status.missing]
        optional = {"keyId": status.key_id}
    else:
        (generation, conditions), fields, lists, optional = status, {}, {}, {}
    stored = _stored_conditions(observed)
    wanted = [_condition(condition, generation, stored.get(condition.type.value), now) for condition in conditions]
    fields |= {"observedGeneration": generation}
    is_same = (
        {condition["type"]: condition for condition in wanted} == stored
        and all(observed.get(name) == value for name, value in fields.items())
        and all((observed.get(name) or []) == value for name, value in lists.items())
        and all((observed.get(name) or "") == value for name, value in optional.items())
    )
    if is_same:
        return None
    # What is empty is left out: with server-side apply that removes it.
    return fields | {name: value for name, value in (lists | optional).items() if value} | {"conditions": wanted}


def newly_true(status: Mapping[str, Any], observed: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the conditions of a status to be written that time has made true since the stored one."""
    stored = _stored_conditions(observed)
    return [
        condition
        for condition in status["conditions"]
        if condition["type"] in _TOLD
        and condition["status"] == "True"
        and stored.get(condition["type"], {}).get("status") != "True"
    ]


def _stored_conditions(observed: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the conditions of the types that are ours, by type."""
    conditions = observed.get("conditions")
    if not isinstance(conditions, list):
        return {}
    return {c["type"]: c for c in conditions if isinstance(c, Mapping) and c.get("type") in _OURS}


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


_NOT_SUPPORTED: Final = (
    "the policy has a field that this version does not enforce, and denies all that it selects; remove the field"
)
_OUTSIDE: Final = (
    "the policy's namespace has no scope path, so it governs nothing; an administrator must label the namespace"
)
