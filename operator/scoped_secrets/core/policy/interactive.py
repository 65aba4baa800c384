"""What a policy says about sessions in running pods that hold its bundles (DESIGN section 6)."""

from enum import StrEnum

from scoped_secrets.core.policy.subjects import Requester, Subject
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["DENY_EVERYTHING", "Interaction", "InteractiveAccess"]


class Interaction(StrEnum):
    """A way into a running pod, by its field in a policy."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portForward"
    EPHEMERAL_CONTAINERS = "ephemeralContainers"


@dataclass(frozen=True, slots=True)
class InteractiveAccess:
    """What one policy denies, and to whom it does not apply. It exempts from its own denials only."""

    denied: frozenset[Interaction]
    exempt: tuple[Subject, ...] = ()

    def denies(self, interaction: Interaction, requester: Requester) -> bool:
        """Tell whether the policy denies the interaction to the requester."""
        return interaction in self.denied and not any(subject.includes(requester) for subject in self.exempt)


DENY_EVERYTHING = InteractiveAccess(frozenset(Interaction))
"""The access of a policy that cannot be read."""
