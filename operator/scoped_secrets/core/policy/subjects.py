"""Users, groups and service accounts, as a RoleBinding names them."""

from enum import StrEnum

from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["Requester", "Subject", "SubjectKind"]


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
class Subject:
    """A user, a group or a service account."""

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
