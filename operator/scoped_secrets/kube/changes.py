"""What an event or a list changes in an inventory."""

from dataclasses import dataclass, field

from scoped_secrets.kube.decoding import InvalidObject

__all__ = ["ChangeCollector", "Changes", "ignore_changes"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one event or one list changed.

    Attributes:
        definitions: Locations of ScopedSecrets that changed, that are deleted, or whose status may have to change.
        policies: Locations of SecretPolicies that changed or are deleted.
        namespaces: Names of namespaces whose scope path changed.
        invalid: Stored objects that cannot be read, among those that changed.
    """

    definitions: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    invalid: tuple[InvalidObject, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any change."""
        return bool(self.definitions or self.policies or self.namespaces or self.invalid)


def ignore_changes(changes: Changes) -> None:
    """Do nothing with changes."""


@dataclass(slots=True)
class ChangeCollector:
    """Collects the changes of one event or list, to report them once.

    All changes of one event or list have the same time: the states between two of its objects never existed in the
    cluster, and must not become past snapshots of the inventory.
    """

    time: float
    definitions: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    invalid: list[InvalidObject] = field(default_factory=list)

    def changes(self) -> Changes:
        """Return what was collected."""
        return Changes(
            frozenset(self.definitions), frozenset(self.policies), frozenset(self.namespaces), tuple(self.invalid)
        )
