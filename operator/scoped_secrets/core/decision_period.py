"""How long a decision about a pod stays the same while nothing but the time changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.grant import DecisionTrail

__all__ = ["DecisionPeriod", "decision_period"]


@dataclass(frozen=True, slots=True)
class DecisionPeriod:
    """The time during which a decision holds; ``None`` without a beginning or an end.

    Attributes:
        since: The first moment.
        until: The first moment after it.
    """

    since: datetime | None
    until: datetime | None

    def includes(self, now: datetime) -> bool:
        """Tell whether the decision holds at a moment."""
        return (self.since is None or now >= self.since) and (self.until is None or now < self.until)


def decision_period(trail: DecisionTrail, snapshot: ClusterSnapshot, now: datetime) -> DecisionPeriod:
    """Return how long a decision that was made now holds, as long as the snapshot does."""
    moments = list(_moments(trail, snapshot))
    return DecisionPeriod(
        max((moment for moment in moments if moment <= now), default=None),
        min((moment for moment in moments if moment > now), default=None),
    )


def _moments(trail: DecisionTrail, snapshot: ClusterSnapshot) -> Iterator[datetime]:
    """Yield every moment that decisions along the path compare the time with."""
    for policy in snapshot.policies(trail.binding.organization, trail.binding.project):
        for rule in policy.rules:
            yield from (moment for moment in (rule.not_before, rule.not_after) if moment is not None)
    left_out = (each.bundle.resolution for each in trail.left_out if each.bundle is not None)
    for resolution in (*(applied.resolution for applied in trail.applied), *left_out):
        for slotted in () if resolution is None else resolution.contributors:
            if slotted.definition.expires is not None:
                yield slotted.definition.expires
            yield from slotted.definition.previous_end
            yield from slotted.definition.previous_end
