"""Whether a job may use a bundle (DESIGN section 6).

Policies have no order. Evaluation runs after resolution and never changes the winner: a denied bundle is denied, and no
fallback is used. Every decision carries the policy, the rule and the first failing claim, names only.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.policy.claims import Claims, FailingClaim
from scoped_secrets.core.policy.policy import Access, Effect, KeyConflict, Policy
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["PolicyAllowed", "PolicyDenied", "evaluate", "fails_on_key_conflict", "grants_environment"]


@dataclass(frozen=True, slots=True)
class PolicyAllowed:
    """Policy allows the bundle: a rule of a policy or, without a policy, the default access."""

    policy: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyDenied:
    """Policy denies the bundle; names only."""

    reason: Reason
    policy: str | None = None
    rule: str | None = None
    claim: str | None = None
    problem: str = "does not match"

    @property
    def detail(self) -> str:
        """Return the part of a message that names the policy, the rule and the claim."""
        if self.policy is None:
            return "denied by the default access Deny: no Allow policy selects it"
        if self.reason is Reason.POLICY_ERROR:
            return f"denied by policy '{self.policy}', which cannot be read"
        if self.claim is not None:
            return f"denied by policy '{self.policy}', rule '{self.rule}': `{self.claim}` {self.problem}"
        if self.rule is not None:
            return f"denied by policy '{self.policy}', rule '{self.rule}' (effect Deny)"
        return f"denied by policy '{self.policy}', which has no rules and therefore allows no job"


_ONLY_LABELS: Final = FailingClaim(
    0, "podSelector", "is its only claim and allows no job, because a pod's author writes its labels"
)

Verdict: TypeAlias = PolicyAllowed | PolicyDenied


def evaluate(
    policies: Sequence[Policy], slotted: SlottedDefinition, claims: Claims, default: Access, now: datetime
) -> Verdict:
    """Decide whether a job may use a definition that resolution chose for it.

    Args:
        policies: The policies of the organization's home and of the job's project, in any order.
        slotted: The definition.
        claims: The facts about the job that the cluster states.
        default: The decision when no Allow policy selects the definition.
        now: The present time, with a time zone.
    """
    selected = sorted(
        (policy for policy in policies if policy.governs(slotted)),
        key=lambda policy: policy.location,
    )
    for policy in selected:
        if policy.broken:
            return PolicyDenied(Reason.POLICY_ERROR, policy.location)
    for policy in selected:
        if policy.effect is Effect.DENY:
            denial = _denial(policy, claims, now)
            if denial is not None:
                return denial
    allowing = [policy for policy in selected if policy.effect is Effect.ALLOW]
    if allowing:
        return _allowance(allowing, claims, now)
    return PolicyAllowed() if default is Access.ALLOW_IN_SCOPE else PolicyDenied(Reason.POLICY_DENIED)


def grants_environment(
    policies: Sequence[Policy],
    binding: Binding,
    environment: str,
    service_account: str,
    record: AdmissionRecord,
    now: datetime,
) -> bool:
    """Tell whether a rule grants the environment to the account's pods (DESIGN section 3).

    Only a rule that names both environments and service accounts grants: one without them would grant to every pod. The
    policy is in the home or in a namespace of the environment: a project cannot let itself into an environment.
    """
    claims = Claims(
        path=ScopePath(binding.organization, binding.project, environment),
        namespace=binding.namespace,
        service_account=service_account,
        record=record,
    )
    return any(
        rule.environments
        and rule.service_accounts
        and rule.pod_selector is None
        and rule.failing_claim(claims, now) is None
        for policy in policies
        if policy.effect is Effect.ALLOW
        and not policy.broken
        and policy.organization == binding.organization
        and (policy.project is None or (policy.project, policy.environment) == (binding.project, environment))
        for rule in policy.rules
    )


def fails_on_key_conflict(policies: Sequence[Policy], used: Iterable[SlottedDefinition]) -> bool:
    """Tell whether a policy that governs one of the definitions denies equal keys of two bundles."""
    strict = [policy for policy in policies if policy.key_conflict is KeyConflict.FAIL]
    return bool(strict) and any(policy.governs(slotted) for slotted in used for policy in strict)


def _denial(policy: Policy, claims: Claims, now: datetime) -> PolicyDenied | None:
    if not policy.rules:
        return PolicyDenied(Reason.POLICY_DENIED, policy.location, rule="*")
    for rule in policy.rules:
        # What is not known is not excluded: a pod must not get past a denial by a ref that nothing states.
        if rule.failing_claim(claims, now, in_doubt=True) is None:
            return PolicyDenied(Reason.POLICY_DENIED, policy.location, rule.name)
    return None


def _allowance(policies: Sequence[Policy], claims: Claims, now: datetime) -> Verdict:
    nearest = PolicyDenied(Reason.POLICY_DENIED, policies[0].location)
    most_held = -1
    for policy in policies:
        for rule in policy.rules:
            failure = _ONLY_LABELS if rule.has_only_self_made_claims else rule.failing_claim(claims, now)
            if failure is None:
                return PolicyAllowed(policy.location, rule.name)
            if failure.held > most_held:
                most_held = failure.held
                nearest = PolicyDenied(Reason.POLICY_DENIED, policy.location, rule.name, failure.claim, failure.problem)
    return nearest
