"""The claims that a rule of a policy requires of a job (DESIGN section 6).

A new claim is a field of `Claims` (what the cluster knows about the job), a field of `Rule` (what the policy asks for)
and one line in `Rule._checks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final

from scoped_secrets.core.admission_record import NO_PROJECT, AdmissionRecord
from scoped_secrets.core.policy.label_selector import LabelSelector
from scoped_secrets.core.scope import globs
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Claims", "FailingClaim", "Rule", "matches_any"]

_NOT_STATED: Final = "is stated by no trusted issuer"


@dataclass(frozen=True, slots=True)
class Claims:
    """What the cluster vouches for about a job: namespace, service account, labels as stored, and admission's record.

    The labels are the only claims that the pod's author makes.
    """

    path: ScopePath
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)
    record: AdmissionRecord = field(default_factory=AdmissionRecord)

    @property
    def project(self) -> str | None:
        """Return the namespace's project or, in a namespace without one, the one that a trusted issuer states."""
        stated = self.record.project
        return self.path.project or (stated if stated not in ("", NO_PROJECT) else None)


@dataclass(frozen=True, slots=True)
class FailingClaim:
    """The first claim of a rule that does not hold.

    Attributes:
        held: How many claims hold before it.
        claim: Its name.
        problem: Why, as it follows the name in a sentence.
    """

    held: int
    claim: str
    problem: str = "does not match"


@dataclass(frozen=True, slots=True)
class Rule:
    """A conjunction of claims. One value of a claim's list is enough; an empty claim always holds."""

    name: str
    projects: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    pod_selector: LabelSelector | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None

    @property
    def has_only_self_made_claims(self) -> bool:
        """Tell whether the rule asks for labels and for nothing that the cluster vouches for.

        A pod's author writes its labels, so that such a rule lets every pod in that asks for it.
        """
        return self.pod_selector is not None and not any(
            (
                self.projects,
                self.environments,
                self.namespaces,
                self.service_accounts,
                self.creators,
                self.refs,
                self.events,
            )
        )

    def failing_claim(self, claims: Claims, now: datetime, *, in_doubt: bool = False) -> FailingClaim | None:
        """Return the first claim that does not hold; ``None`` when all hold.

        Args:
            claims: The facts about the job.
            now: The present time, with a time zone.
            in_doubt: Whether a claim holds that is not known, as it does in a rule that denies.
        """
        for held, (claim, verdict) in enumerate(self._checks(claims, now, in_doubt=in_doubt)):
            if verdict is not True:
                return FailingClaim(held, claim, verdict or "does not match")
        return None

    def _checks(self, claims: Claims, now: datetime, *, in_doubt: bool) -> Iterator[tuple[str, bool | str]]:
        """Yield each claim, and whether it holds; a text says why it does not."""
        record = claims.record
        yield "projects", matches_any(self.projects, claims.project)
        yield "environments", matches_any(self.environments, claims.path.environment)
        yield "namespaces", matches_any(self.namespaces, claims.namespace)
        yield "serviceAccounts", matches_any(self.service_accounts, claims.service_account)
        yield "creators", not self.creators or (record.creator in self.creators if record.creator else in_doubt)
        yield "refs", self._holds_for_refs(record.refs, in_doubt=in_doubt)
        yield "events", not self.events or (record.event in self.events if record.event else in_doubt or _NOT_STATED)
        yield "podSelector", self.pod_selector is None or self.pod_selector.matches(claims.labels)
        yield "notBefore", self.not_before is None or now >= self.not_before
        yield "notAfter", self.not_after is None or now < self.not_after

    def _holds_for_refs(self, refs: Sequence[str], *, in_doubt: bool) -> bool | str:
        """Tell whether the ref matches: each that the job may run for, or in doubt one of them."""
        if not self.refs:
            return True
        if not refs:
            return in_doubt or _NOT_STATED
        matching = [matches_any(self.refs, ref) for ref in refs]
        return any(matching) if in_doubt else all(matching)


def matches_any(patterns: Sequence[str], value: str | None) -> bool:
    """Tell whether a value matches one of the patterns; without patterns, every value matches."""
    if not patterns:
        return True
    return value is not None and any(globs.matches(pattern, value) for pattern in patterns)
