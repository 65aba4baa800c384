"""What a SecretPolicy does in the cluster as it is now: the definitions that it governs, and why it has no effect.

A policy may be stored before what it is about, so that nothing here denies it: the status and a warning of admission
tell its author (DESIGN section 6).
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scoped_secrets.core.inventory import CollisionKey, Inventory
from scoped_secrets.core.policy.claims import Rule, matches_any
from scoped_secrets.core.policy.policy import Effect, Policy
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.status import MAX_LISTED, Condition
from scoped_secrets.messages import quoted_names
from scoped_secrets.names import ConditionType, Reason

__all__ = ["PolicyEffect", "policy_effect"]

_NAMED: Final = 5
"""How many names a message lists."""

_PLACE_CLAIMS: Final = ("projects", "namespaces", "environments")
"""The claims about where a job stands, in the order in which they are checked."""


@dataclass(frozen=True, slots=True)
class PolicyEffect:
    """What one policy does.

    Attributes:
        matched_count: The number of definitions that it governs.
        matched: The first of them in the order of names, as `namespace/name`.
        ineffective: Why it does not do what its author may expect; ``None`` when it does.
        changes_at: When a rule ends, so that this changes by time alone; ``None`` when it never does.
    """

    matched_count: int = 0
    matched: tuple[str, ...] = ()
    ineffective: Condition | None = None
    changes_at: datetime | None = None


def policy_effect(policy: Policy, inventory: Inventory, now: datetime) -> PolicyEffect:
    """Return what a policy does.

    Args:
        policy: The policy, with the scope path of its namespace.
        inventory: All definitions and namespaces.
        now: The present time, with a time zone.
    """
    if not policy.organization:
        return PolicyEffect()
    governed = [slotted for slotted in _within_reach(policy, inventory) if policy.governs(slotted)]
    locations = heapq.nsmallest(MAX_LISTED, (slotted.definition.location for slotted in governed))
    found = _ineffective(policy, governed, inventory, now)
    condition = None if found is None else Condition(ConditionType.INEFFECTIVE, *found, is_true=True)
    return PolicyEffect(len(governed), tuple(locations), condition, _next_end(policy, now))


def _within_reach(policy: Policy, inventory: Inventory) -> Iterator[SlottedDefinition]:
    """Yield the definitions that the policy may govern, by the cheapest index that has them all."""
    if policy.project is not None:
        yield from _slotted(inventory.namespace_definitions(policy.namespace), inventory)
    elif policy.secret_names and all(globs.is_exact(name) for name in policy.secret_names):
        for name in sorted(set(policy.secret_names)):
            yield from inventory.colliding(CollisionKey(policy.organization, name))
    else:
        yield from _slotted(inventory.locations(), inventory)


def _slotted(locations: Iterable[str], inventory: Inventory) -> Iterator[SlottedDefinition]:
    entries = (inventory.get(location) for location in locations)
    return (entry for entry in entries if isinstance(entry, SlottedDefinition))


def _ineffective(
    policy: Policy, governed: list[SlottedDefinition], inventory: Inventory, now: datetime
) -> tuple[Reason, str] | None:
    """Return why the policy does not do what its author may expect; the first finding counts."""
    elsewhere = _named_elsewhere(policy, governed, inventory)
    if elsewhere:
        message = (
            f"`spec.secrets.names` has {quoted_names(elsewhere, _NAMED)}, defined in another namespace only: a policy "
            "governs the definitions of its own namespace, or in the organization's home all; move the policy"
        )
        return Reason.NOT_GOVERNED, message
    if not governed:
        message = (
            "no definition that the policy governs matches `spec.secrets` now; check `names`, `selector` and `scopes`, "
            "and the policy's namespace"
        )
        return Reason.SELECTS_NOTHING, message
    if policy.effect is Effect.ALLOW and policy.rules:
        failures = [(rule.name, _dead_claim(rule, policy, inventory, now)) for rule in policy.rules]
        dead = [(name, claim) for name, claim in failures if claim is not None]
        if len(dead) == len(failures):
            listed = ", ".join(f"rule '{name}': `{claim}`" for name, claim in dead[:_NAMED])
            message = (
                f"no job can match any rule now, so the policy denies the bundle to every job ({listed}); correct the "
                "claims, or delete the policy"
            )
            return Reason.NEVER_ALLOWS, message
    return None


def _named_elsewhere(policy: Policy, governed: list[SlottedDefinition], inventory: Inventory) -> list[str]:
    """Return the names that the policy spells out and of which it governs no definition, although there are some."""
    if policy.project is None:
        return []
    present = {slotted.slot.secret_name for slotted in governed}
    absent = sorted({name for name in policy.secret_names if globs.is_exact(name)} - present)
    return [
        name
        for name in absent
        if any(
            slotted.slot.project in (None, policy.project) and slotted.definition.namespace != policy.namespace
            for slotted in inventory.colliding(CollisionKey(policy.organization, name))
        )
    ]


def _dead_claim(rule: Rule, policy: Policy, inventory: Inventory, now: datetime) -> str | None:
    """Return the first claim that no job of the organization can fulfill any more; ``None`` for a rule that can match.

    Only what the namespaces of the organization rule out counts. Accounts and labels of pods are not known.
    """
    if rule.not_after is not None and now >= rule.not_after:
        return "notAfter"
    farthest = 0
    for binding in inventory.bindings():
        if binding.organization != policy.organization or policy.project not in (None, binding.project):
            continue
        held = _held_claims(rule, binding)
        if held == len(_PLACE_CLAIMS):
            return None
        farthest = max(farthest, held)
    return _PLACE_CLAIMS[farthest]


def _held_claims(rule: Rule, binding: Binding) -> int:
    """Return how many of the claims about the place, in their order, some job of a namespace can fulfill."""
    if not matches_any(rule.projects, binding.project):
        return 0
    if not matches_any(rule.namespaces, binding.namespace):
        return 1
    return len(_PLACE_CLAIMS) if _may_run_for(binding, rule) else 2


def _may_run_for(binding: Binding, rule: Rule) -> bool:
    """Tell whether a pod of a namespace can run for an environment that the rule names."""
    if not rule.environments:
        return True
    if binding.environment is not None:
        return matches_any(rule.environments, binding.environment)
    if binding.project is None:
        return False
    # Such a rule may grant the environment to its accounts.
    return bool(rule.service_accounts) or any(
        globs.overlaps(allowed, named) for allowed in binding.allow_environments for named in rule.environments
    )


def _next_end(policy: Policy, now: datetime) -> datetime | None:
    ends = (rule.not_after for rule in policy.rules)
    return min((end for end in ends if end is not None and end > now), default=None)
