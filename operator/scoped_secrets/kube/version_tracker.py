"""Tracks which version of each object of one kind is known, so that lists and watch events may arrive in any order.

Kubernetes lets clients compare the resourceVersions of one resource type as numbers (KEP-5504, since 1.35). So a
version alone tells whether it is newer: neither a slow list nor a slow watch can take an object back to an earlier
state. On a server whose versions are not numbers, only equality can be tested; there, an event that arrives during a
list counts as newer than the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Merge", "VersionTracker", "is_before"]


@dataclass(frozen=True, slots=True)
class Merge:
    """What a complete list changes: the locations to put, and the locations to remove."""

    put: frozenset[str]
    removed: frozenset[str]


class VersionTracker:
    """The known versions of one kind's objects, by location.

    Attributes:
        list_version: The resourceVersion of the last complete list, empty before it: every change up to it is known.
    """

    def __init__(self) -> None:
        """Start with no known object."""
        self._versions: dict[str, str] = {}
        self._deleted: dict[str, str] = {}
        self._changed_since_list: set[str] = set()
        self.list_version = ""
        self._newest = ""
        self._newest_before_list = ""

    def __len__(self) -> int:
        """Return how many objects are known."""
        return len(self._versions)

    def is_known(self, location: str, version: str) -> bool:
        """Tell whether this is the known version of an object."""
        return self._versions.get(location) == version

    def is_newer(self, location: str, version: str, *, is_deletion: bool = False) -> bool:
        """Tell whether a watch event is newer than the known version of its object and than the last list."""
        known = self._versions.get(location)
        if known == version:
            # A deletion has a version of its own, except on an old server.
            return is_deletion
        earlier = known or self._deleted.get(location, "")
        return not _is_at_most(version, earlier) and not _is_at_most(version, self.list_version)

    def put(self, location: str, version: str) -> None:
        """Record that an object has this version now."""
        self._versions[location] = version
        self._deleted.pop(location, None)
        self._record_change(location, version)

    def remove(self, location: str, version: str) -> None:
        """Record that an object was deleted at this version."""
        self._versions.pop(location, None)
        self._deleted[location] = version
        self._record_change(location, version)

    def begin_list(self) -> None:
        """Record that a list is about to be requested."""
        self._newest_before_list = self._newest
        self._changed_since_list.clear()

    def detect_rollback(self, resource_version: str) -> None:
        """Compare the resourceVersion of the requested list with the newest version that was known before.

        A list is never older than that. If it is, the cluster's history was rewritten (etcd was restored from a
        backup), and all known versions are void.
        """
        if resource_version != self._newest_before_list and _is_at_most(resource_version, self._newest_before_list):
            self._versions = dict.fromkeys(self._versions, "")
            self._deleted.clear()
            self.list_version = ""
            self._newest = resource_version

    def merge(self, listed: Mapping[str, str], resource_version: str) -> Merge:
        """Return what a complete list changes, and record its versions as known.

        Args:
            listed: The versions in the list, by location.
            resource_version: The resourceVersion of the list.
        """
        merge = Merge(
            frozenset(location for location, version in listed.items() if self._is_listed_newer(location, version)),
            frozenset(
                location
                for location, version in self._versions.items()
                if location not in listed and not self._is_created_later(location, version, resource_version)
            ),
        )
        for location in merge.put:
            self._versions[location] = listed[location]
        for location in merge.removed:
            del self._versions[location]
        self._deleted = {
            location: version for location, version in self._deleted.items() if _is_at_most(resource_version, version)
        }
        self.list_version = resource_version
        self._newest = _later(self._newest, resource_version)
        self._changed_since_list.clear()
        return merge

    def _is_listed_newer(self, location: str, version: str) -> bool:
        """Tell whether the list has a later version of an object than the known one."""
        known = self._versions.get(location)
        earlier = self._deleted.get(location, "") if known is None else known
        if version == known or _is_at_most(version, earlier):
            return False
        return _are_numbers(version, earlier) or location not in self._changed_since_list

    def _is_created_later(self, location: str, version: str, resource_version: str) -> bool:
        """Tell whether an object that the list lacks was created after the list, instead of being deleted."""
        if _are_numbers(version, resource_version):
            return not _is_at_most(version, resource_version)
        return location in self._changed_since_list

    def _record_change(self, location: str, version: str) -> None:
        self._changed_since_list.add(location)
        self._newest = _later(self._newest, version)


def is_before(version: str, other: str) -> bool:
    """Tell whether a version is certainly earlier than another."""
    return version != other and _is_at_most(version, other)


def _are_numbers(version: str, other: str) -> bool:
    """Tell whether two versions can be compared; the empty version, of an unknown object, is before all others."""
    return (version.isdecimal() or not version) and (other.isdecimal() or not other)


def _later(version: str, other: str) -> str:
    """Return the later of two versions; the second when they are not numbers."""
    return version if _is_at_most(other, version) else other


def _is_at_most(version: str, other: str) -> bool:
    """Tell whether a version is certainly not later than another; without numbers, only equality is certain."""
    if version == other:
        return True
    return _are_numbers(version, other) and int(version or "0") <= int(other or "0")
