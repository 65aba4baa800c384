"""A state of the definitions a few minutes ago, as the inventory can still tell it."""

from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import Final, TypeAlias

from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Attach, SlottedDefinition
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.core.scope.trust import Territory
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["PastState", "Version"]

# One pod, or a few of one project, are decided from it.
_MEMO_SIZE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Version:
    """A slotted definition and the time during which it was stored."""

    slotted: SlottedDefinition
    since: float
    until: float = inf


_Versions: TypeAlias = Callable[[str, str | None, str], Iterable[Version]]


class PastState:
    """The state of definitions just before one moment; bindings and policies are the present ones.

    Past policies are not kept: a bundle that policy denies now is not granted because it was allowed a minute ago.
    """

    def __init__(
        self, present: ClusterSnapshot, versions: _Versions, moment: float, superseded: Sequence[Version]
    ) -> None:
        """Take the present state, and what differs from it.

        Args:
            present: The present state.
            versions: Returns the present versions for an organization, a project and the name of a bundle.
            moment: The time, in seconds of the inventory's clock.
            superseded: The versions that are not stored any more.
        """
        self._present = present
        self._versions = versions
        self._moment = moment
        self._superseded = superseded
        self.memo = Memo(_MEMO_SIZE)

    def binding(self, namespace: str) -> Binding | None:
        """Return the present scope path of a namespace."""
        return self._present.binding(namespace)

    def definitions(self, organization: str, project: str | None, name: str) -> Sequence[SlottedDefinition]:
        """Return the definitions of one name along a path."""
        present = (each for each in self._versions(organization, project, name) if each.since < self._moment)
        past = (
            version
            for version in self._superseded
            if version.since < self._moment <= version.until
            and version.slotted.slot.secret_name == name
            and version.slotted.slot.project in (None, project)
        )
        return [version.slotted for version in (*present, *past)]

    def attached(self, organization: str, project: str | None) -> Collection[str]:
        """Return the names that may have had ``attach: Always`` along a path."""
        names = set(self._present.attached(organization, project))
        names.update(
            version.slotted.slot.secret_name
            for version in self._superseded
            if version.slotted.definition.attach is Attach.ALWAYS and version.slotted.slot.project in (None, project)
        )
        return names

    def territory(self, path: ScopePath) -> Territory:
        """Return whose objects count now for the jobs at a path."""
        return self._present.territory(path)

    def home_attach_paths(self, organization: str) -> Sequence[str]:
        """Return the paths below which the home allows attached bundles to have files now."""
        return self._present.home_attach_paths(organization)

    def policies(self, organization: str, project: str | None) -> Sequence[Policy]:
        """Return the present policies."""
        return self._present.policies(organization, project)
