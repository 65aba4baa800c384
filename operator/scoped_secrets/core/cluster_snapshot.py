"""The state of the cluster as decisions read it; the inventory implements it."""

from collections.abc import Collection, Sequence
from typing import Protocol

from scoped_secrets.core.memo import Memo
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.core.scope.trust import Territory

__all__ = ["ClusterSnapshot"]


class ClusterSnapshot(Protocol):
    """One consistent state of bindings, definitions and policies.

    Each method reads one path of an organization, so that its cost depends on the objects of that path and not on the
    size of the cluster.
    """

    @property
    def memo(self) -> Memo:
        """Return where results are kept that hold as long as this state does."""

    def binding(self, namespace: str) -> Binding | None:
        """Return the scope path of a namespace, ``None`` when it has none."""

    def definitions(self, organization: str, project: str | None, name: str) -> Sequence[SlottedDefinition]:
        """Return the definitions of a name in the organization's scope and in a project."""

    def attached(self, organization: str, project: str | None) -> Collection[str]:
        """Return the names with a definition that says ``attach: Always`` on this path."""

    def territory(self, path: ScopePath) -> Territory:
        """Return whose objects count for the jobs at a path."""

    def home_attach_paths(self, organization: str) -> Sequence[str]:
        """Return the paths below which the organization's home allows attached bundles to have files."""

    def policies(self, organization: str, project: str | None) -> Sequence[Policy]:
        """Return the policies of the organization's home and of a project."""
