"""Who may use a bundle (DESIGN section 6).

Evaluation knows no order. It runs after resolution and never changes the winner: a denied bundle is denied, and no
wider value takes its place. Every decision carries the policy, the rule and the first failing claim, names only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from scoped_secrets.core import globs
from scoped_secrets.core.definitions import Placed
from scoped_secrets.core.scope import Binding, Scope, ScopePath
from scoped_secrets.names import Reason

__all__ = [
    "Access",
    "Allowed",
    "Claims",
    "Effect",
    "KeyConflict",
    "LabelSelector",
    "Operator",
    "Policy",
    "Refused",
    "Requirement",
    "Rule",
    "evaluate",
    "fails_on_key_conflict",
    "grants_environment",
]


class Effect(StrEnum):
    """What a policy does to the bundles that it selects."""

    ALLOW = "Allow"
    DENY = "Deny"


class Access(StrEnum):
    """What holds for a bundle that no Allow policy selects."""

    ALLOW_IN_SCOPE = "AllowInScope"
    DENY = "Deny"


class KeyConflict(StrEnum):
    """What happens when two bundles of one job hold the same variable or path."""

    LAST_WINS = "LastWins"
    FAIL = "Fail"


class Operator(StrEnum):
    """The operators of Kubernetes label selectors."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression of a label selector."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels satisfy it; ``NotIn`` holds without the label, as in Kubernetes."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A Kubernetes label selector: all of its requirements hold."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels satisfy every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class Claims:
    """What is known about a job. Only what the cluster vouches for: namespace, account and labels as stored."""

    path: ScopePath
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """Claims that all hold; within a claim one value is enough. An empty claim is not asked."""

    name: str
    projects: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    pod_selector: LabelSelector | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None

    def failing_claim(self, claims: Claims, now: datetime) -> tuple[int, str] | None:
        """Return how many claims held and the name of the first one that did not; ``None`` when all hold."""
        for held, (claim, holds) in enumerate(self._checks(claims, now)):
            if not holds:
                return held, claim
        return None

    def _checks(self, claims: Claims, now: datetime) -> Iterator[tuple[str, bool]]:
        yield "projects", _any_matches(self.projects, claims.path.project)
        yield "environments", _any_matches(self.environments, claims.path.environment)
        yield "namespaces", _any_matches(self.namespaces, claims.namespace)
        yield "serviceAccounts", _any_matches(self.service_accounts, claims.service_account)
        yield "podSelector", self.pod_selector is None or self.pod_selector.matches(claims.labels)
        yield "notBefore", self.not_before is None or now >= self.not_before
        yield "notAfter", self.not_after is None or now < self.not_after


@dataclass(frozen=True, slots=True)
class Policy:
    """One stored SecretPolicy, with the scope that its namespace lets it govern."""

    namespace: str
    name: str
    organization: str
    project: str | None = None
    """The only project that it governs; ``None`` for a policy in the organization's home."""
    environment: str | None = None
    """The only environment that it governs; ``None`` unless it stands in an environment's namespace."""
    effect: Effect = Effect.ALLOW
    secret_names: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    scopes: tuple[Scope, ...] = ()
    rules: tuple[Rule, ...] = ()
    key_conflict: KeyConflict = KeyConflict.LAST_WINS
    broken: bool = False
    """Whether it says something that this version does not enforce; it then denies what it selects."""

    @property
    def location(self) -> str:
        """Return ``namespace/name``, as people are shown it."""
        return f"{self.namespace}/{self.name}"

    def governs(self, placed: Placed) -> bool:
        """Tell whether the definition is in this policy's part of the organization and selected by it."""
        slot, definition = placed.slot, placed.definition
        return (
            self.organization == slot.organization
            and self.project in (None, slot.project)
            and self.environment in (None, slot.environment)
            and (not self.scopes or slot.scope in self.scopes)
            and (not self.secret_names or _any_matches(self.secret_names, slot.secret_name))
            and (self.selector is None or self.selector.matches(definition.labels))
        )


@dataclass(frozen=True, slots=True)
class Allowed:
    """A bundle that the job may use; without a policy, by the operator's default."""

    policy: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A bundle that the job may not use, with names only."""

    reason: Reason
    policy: str | None = None
    rule: str | None = None
    claim: str | None = None

    @property
    def detail(self) -> str:
        """Return half a sentence that says what to look at."""
        if self.policy is None:
            return "no policy allows it and the default access is Deny"
        if self.reason is Reason.POLICY_ERROR:
            return f"policy '{self.policy}' uses a claim that this version does not enforce"
        if self.claim is not None:
            return f"policy '{self.policy}', rule '{self.rule}', asks for another claim `{self.claim}`"
        if self.rule is not None:
            return f"policy '{self.policy}', rule '{self.rule}', denies it"
        return f"policy '{self.policy}' allows nobody"


Verdict: TypeAlias = Allowed | Refused


def evaluate(policies: Sequence[Policy], placed: Placed, claims: Claims, default: Access, now: datetime) -> Verdict:
    """Decide whether a job may use one definition that resolution chose for it."""
    selected = sorted(
        (policy for policy in policies if policy.governs(placed)),
        key=lambda policy: policy.location,
    )
    for policy in selected:
        if policy.broken:
            return Refused(Reason.POLICY_ERROR, policy.location)
    for policy in selected:
        if policy.effect is Effect.DENY:
            denial = _denial(policy, claims, now)
            if denial is not None:
                return denial
    allowing = [policy for policy in selected if policy.effect is Effect.ALLOW]
    if allowing:
        return _allowance(allowing, claims, now)
    return Allowed() if default is Access.ALLOW_IN_SCOPE else Refused(Reason.POLICY_DENIED)


def grants_environment(
    policies: Sequence[Policy],
    binding: Binding,
    environment: str,
    service_account: str,
    now: datetime,
) -> bool:
    """Tell whether a rule lets the account's pods say that they run for the environment (DESIGN section 3).

    Only a rule that names both environments and accounts grants; one without them would grant to everyone.
    """
    claims = Claims(
        path=ScopePath(binding.organization, binding.project, environment),
        namespace=binding.namespace,
        service_account=service_account,
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
        and policy.project in (None, binding.project)
        and policy.environment is None
        for rule in policy.rules
    )


def fails_on_key_conflict(policies: Sequence[Policy], used: Iterable[Placed]) -> bool:
    """Tell whether a policy over any of the used definitions refuses equal keys of two bundles."""
    strict = [policy for policy in policies if policy.key_conflict is KeyConflict.FAIL]
    return bool(strict) and any(policy.governs(placed) for placed in used for policy in strict)


def _denial(policy: Policy, claims: Claims, now: datetime) -> Refused | None:
    if not policy.rules:
        return Refused(Reason.POLICY_DENIED, policy.location, rule="*")
    for rule in policy.rules:
        if rule.failing_claim(claims, now) is None:
            return Refused(Reason.POLICY_DENIED, policy.location, rule.name)
    return None


def _allowance(policies: Sequence[Policy], claims: Claims, now: datetime) -> Verdict:
    nearest = Refused(Reason.POLICY_DENIED, policies[0].location)
    most_held = -1
    for policy in policies:
        for rule in policy.rules:
            failure = rule.failing_claim(claims, now)
            if failure is None:
                return Allowed(policy.location, rule.name)
            held, claim = failure
            if held > most_held:
                most_held = held
                nearest = Refused(Reason.POLICY_DENIED, policy.location, rule.name, claim)
    return nearest


def _any_matches(patterns: Sequence[str], value: str | None) -> bool:
    if not patterns:
        return True
    return value is not None and any(globs.matches(pattern, value) for pattern in patterns)
