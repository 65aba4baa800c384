"""What a policy says about sessions in running pods that hold its bundles (DESIGN section 6)."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DENY_EVERYTHING", "ExemptSubject", "Interaction", "InteractiveAccess", "Requester", "SubjectKind"]


class Interaction(StrEnum):
    """A way into a running pod, by its field in a policy."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portForward"
    EPHEMERAL_CONTAINERS = "ephemeralContainers"


class SubjectKind(StrEnum):
    """What a subject names, as in a RoleBinding."""

    USER = "User"
    GROUP = "Group"
    SERVICE_ACCOUNT = "ServiceAccount"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who makes a request, as the API server authenticated it."""

    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ExemptSubject:
    """A user, a group or a service account to which a denial does not apply."""

    kind: SubjectKind
    name: str
    namespace: str = ""
    """The namespace of a service account."""

    def includes(self, requester: Requester) -> bool:
        """Tell whether the requester is this subject or one of its members."""
        match self.kind:
            case SubjectKind.USER:
                return requester.name == self.name
            case SubjectKind.GROUP:
                return self.name in requester.groups
            case SubjectKind.SERVICE_ACCOUNT:
                return requester.name == f"system:serviceaccount:{self.namespace}:{self.name}"


@dataclass(frozen=True, slots=True)
class InteractiveAccess:
    """What one policy denies, and to whom it does not apply. It exempts from its own denials only."""

    denied: frozenset[Interaction]
    exempt: tuple[ExemptSubject, ...] = ()

    def denies(self, interaction: Interaction, requester: Requester) -> bool:
        """Tell whether the policy denies the interaction to the requester."""
        return interaction in self.denied and not any(subject.includes(requester) for subject in self.exempt)


DENY_EVERYTHING = InteractiveAccess(frozenset(Interaction))
"""The access of a policy that cannot be read."""
