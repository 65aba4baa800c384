"""The claims that a rule of a policy requires of a job (DESIGN section 6).

A new claim is a field of `Claims` (what the cluster knows about the job), a field of `Rule` (what the policy asks for)
and one line in `Rule._checks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scoped_secrets.core.policy.label_selector import LabelSelector
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.slot import ScopePath

__all__ = ["Claims", "Rule", "matches_any"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What the cluster vouches for about a job: namespace, service account and labels as stored."""

    path: ScopePath
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """A conjunction of claims. One value of a claim's list is enough; an empty claim always holds."""

    name: str
    projects: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    pod_selector: LabelSelector | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None

    def failing_claim(self, claims: Claims, now: datetime) -> tuple[int, str] | None:
        """Return how many claims hold and the name of the first one that does not; ``None`` when all hold."""
        for held, (claim, holds) in enumerate(self._checks(claims, now)):
            if not holds:
                return held, claim
        return None

    def _checks(self, claims: Claims, now: datetime) -> Iterator[tuple[str, bool]]:
        yield "projects", matches_any(self.projects, claims.path.project)
        yield "environments", matches_any(self.environments, claims.path.environment)
        yield "namespaces", matches_any(self.namespaces, claims.namespace)
        yield "serviceAccounts", matches_any(self.service_accounts, claims.service_account)
        yield "podSelector", self.pod_selector is None or self.pod_selector.matches(claims.labels)
        yield "notBefore", self.not_before is None or now >= self.not_before
        yield "notAfter", self.not_after is None or now < self.not_after


def matches_any(patterns: Sequence[str], value: str | None) -> bool:
    """Tell whether a value matches one of the patterns; without patterns, every value matches."""
    if not patterns:
        return True
    return value is not None and any(globs.matches(pattern, value) for pattern in patterns)
