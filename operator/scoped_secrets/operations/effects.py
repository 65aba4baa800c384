"""What a definition does among the others, and who may use it: the words for what the core decides."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Effect, Policy
from scoped_secrets.core.resolution.definitions import Attach, SlottedDefinition
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.core.status import status_of
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import ConditionType
from scoped_secrets.timestamps import rfc3339

__all__ = ["Effects", "describe_slot", "effects_of", "governing"]

_BAD_NEWS: Final = (ConditionType.CONFLICTED, ConditionType.BLOCKED, ConditionType.RESTRICTED)


@dataclass(frozen=True, slots=True)
class Effects:
    """What a definition does among the others.

    Attributes:
        shadows: The wider definitions that it hides, as `namespace/name`.
        shadowed_by: The narrower definitions that hide it.
        problems: Why jobs do not get all or any of it, as sentences.
        access: Who may use it, one sentence for each rule.
    """

    shadows: tuple[str, ...]
    shadowed_by: tuple[str, ...]
    problems: tuple[str, ...]
    access: tuple[str, ...]


def effects_of(location: str, inventory: Inventory, now: datetime) -> Effects:
    """Return what the definition at `namespace/name` does.

    Raises:
        DeniedError: Its namespace may not hold it.
    """
    entry = inventory.get(location)
    if entry is None:
        raise ValueError("the inventory must have the definition")
    if isinstance(entry, RejectedDefinition):
        raise entry.denial
    status = status_of(entry, inventory, now)
    return Effects(
        shadows=status.shadows,
        shadowed_by=status.shadowed_by,
        problems=tuple(
            f"{condition.type}: {condition.message}"
            for condition in status.conditions
            if condition.type in _BAD_NEWS and condition.is_true
        ),
        access=tuple(_access(entry, inventory)),
    )


def governing(entry: SlottedDefinition, inventory: Inventory) -> list[Policy]:
    """Return the policies that govern a definition, in the order of their names."""
    slot = entry.slot
    found = (policy for policy in inventory.policies(slot.organization, slot.project) if policy.governs(entry))
    return sorted(found, key=lambda policy: policy.location)


def describe_slot(slot: Slot) -> str:
    """Return the words for the jobs of a scope."""
    if slot.project is None:
        return f"organization '{slot.organization}'"
    project = f"project '{slot.project}'"
    return project if slot.environment is None else f"environment '{slot.environment}' of {project}"


def _access(entry: SlottedDefinition, inventory: Inventory) -> Iterator[str]:
    jobs = f"jobs of {describe_slot(entry.slot)}"
    way = "without being named" if entry.definition.attach is Attach.ALWAYS else "that name it"
    policies = governing(entry, inventory)
    allowing = [policy for policy in policies if policy.effect is Effect.ALLOW]
    if not allowing:
        yield f"every one of the {jobs} {way}, unless the operator's default access is Deny; no Allow policy selects it"
    for policy in policies:
        if policy.broken:
            yield f"no job: policy '{policy.location}' cannot be read and denies"
        verb = "allows" if policy.effect is Effect.ALLOW else "denies"
        if not policy.rules:
            yield f"policy '{policy.location}' has no rules, so that it denies {jobs}"
        for rule in policy.rules:
            yield f"policy '{policy.location}', rule '{rule.name}' {verb} {jobs} with {_claims(rule)}"
        if policy.interactive is not None and policy.interactive.denied:
            sessions = ", ".join(sorted(each.value for each in policy.interactive.denied))
            yield f"policy '{policy.location}' denies sessions in their pods: {sessions}"


def _claims(rule: Rule) -> str:
    lists = {
        "projects": rule.projects,
        "environments": rule.environments,
        "namespaces": rule.namespaces,
        "serviceAccounts": rule.service_accounts,
        "creators": rule.creators,
        "refs": rule.refs,
        "events": rule.events,
    }
    parts = [f"{claim} {' or '.join(texts)}" for claim, texts in lists.items() if texts]
    if rule.pod_selector is not None:
        parts.append("the labels of its podSelector")
    parts += [
        f"{claim} {rfc3339(moment)}"
        for claim, moment in (("notBefore", rule.not_before), ("notAfter", rule.not_after))
        if moment is not None
    ]
    return ", ".join(parts) or "any claims"
