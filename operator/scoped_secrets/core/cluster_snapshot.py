"""What a decision may ask about the cluster: a port that the inventory implements."""

from collections.abc import Collection, Sequence
from typing import Protocol

from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.binding import Binding

__all__ = ["ClusterSnapshot"]


class ClusterSnapshot(Protocol):
    """One consistent state of bindings, definitions and policies.

    Each question is answered for one path of the organization, so that its cost depends on what stands on that path and
    not on how much there is in the cluster.
    """

    def binding(self, namespace: str) -> Binding | None:
        """Return the scope path of a namespace, ``None`` when it stands outside."""

    def definitions(self, organization: str, project: str | None, name: str) -> Sequence[SlottedDefinition]:
        """Return the definitions of one name in the organization's home scope and in one project."""

    def attached(self, organization: str, project: str | None) -> Collection[str]:
        """Return the names that have a definition with ``attach: Always`` on this path."""

    def policies(self, organization: str, project: str | None) -> Sequence[Policy]:
        """Return the policies of the organization's home and of one project."""
