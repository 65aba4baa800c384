"""Which version of each object of one kind is known, so that lists and watch events may arrive in any order.

Kubernetes lets clients compare the resourceVersions of one resource type as numbers (KEP-5504, since 1.35). So a
version tells by itself whether it is news: neither a slow list nor a slow watch can take an object back to an earlier
state. On a server whose versions are no numbers only equality can be asked; there, what a watch reported while a list
was on its way counts as newer than the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Merge", "VersionTracker"]


@dataclass(frozen=True, slots=True)
class Merge:
    """What a complete list changes."""

    put: frozenset[str]
    removed: frozenset[str]


class VersionTracker:
    """The known versions of one kind's objects, by location."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._live: dict[str, str] = {}
        self._gone: dict[str, str] = {}
        self._touched: set[str] = set()
        # The moment of the last complete list: everything up to it is known.
        self._moment = ""
        self._newest = ""
        self._newest_before_list = ""

    def __len__(self) -> int:
        """Return how many objects are known."""
        return len(self._live)

    def is_known(self, location: str, version: str) -> bool:
        """Tell whether exactly this version of an object is the one that we have."""
        return self._live.get(location) == version

    def is_news(self, location: str, version: str, *, is_deletion: bool = False) -> bool:
        """Tell whether a watch event says something that neither a list nor a later event said before."""
        known = self._live.get(location)
        if known == version:
            # A deletion has a version of its own, unless the server is an old one.
            return is_deletion
        earlier = known or self._gone.get(location, "")
        return not _is_at_most(version, earlier) and not _is_at_most(version, self._moment)

    def put(self, location: str, version: str) -> None:
        """Take down that an object has this version now."""
        self._live[location] = version
        self._gone.pop(location, None)
        self._note(location, version)

    def remove(self, location: str, version: str) -> None:
        """Take down that an object was deleted at this version."""
        self._live.pop(location, None)
        self._gone[location] = version
        self._note(location, version)

    def begin_list(self) -> None:
        """Take down that a list is about to be asked for."""
        self._newest_before_list = self._newest
        self._touched.clear()

    def check_moment(self, moment: str) -> None:
        """Compare the moment of the list that was asked for with what was seen before.

        A list is never older than that. When it is, the cluster's history was rewritten (etcd was restored from a
        backup), and no version that we know means anything any more.
        """
        if moment != self._newest_before_list and _is_at_most(moment, self._newest_before_list):
            self._live = dict.fromkeys(self._live, "")
            self._gone.clear()
            self._moment = ""
            self._newest = moment

    def merge(self, listed: Mapping[str, str], moment: str) -> Merge:
        """Return what a complete list changes, and take it down as known.

        Args:
            listed: The versions in the list, by location.
            moment: The resourceVersion of the list.
        """
        merge = Merge(
            frozenset(location for location, version in listed.items() if self._is_listed_later(location, version)),
            frozenset(
                location
                for location, version in self._live.items()
                if location not in listed and not self._is_made_after(location, version, moment)
            ),
        )
        for location in merge.put:
            self._live[location] = listed[location]
        for location in merge.removed:
            del self._live[location]
        self._gone = {location: version for location, version in self._gone.items() if _is_at_most(moment, version)}
        self._moment = moment
        self._newest = _later(self._newest, moment)
        self._touched.clear()
        return merge

    def _is_listed_later(self, location: str, version: str) -> bool:
        """Tell whether the list has a later state of an object than we."""
        known = self._live.get(location)
        earlier = self._gone.get(location, "") if known is None else known
        if version == known or _is_at_most(version, earlier):
            return False
        return _are_numbers(version, earlier) or location not in self._touched

    def _is_made_after(self, location: str, version: str, moment: str) -> bool:
        """Tell whether an object that the list lacks came after the list, instead of being gone."""
        if _are_numbers(version, moment):
            return not _is_at_most(version, moment)
        return location in self._touched

    def _note(self, location: str, version: str) -> None:
        self._touched.add(location)
        self._newest = _later(self._newest, version)


def _are_numbers(version: str, other: str) -> bool:
    """Tell whether two versions can be compared; nothing known, the empty version, is before all others."""
    return (version.isdecimal() or not version) and (other.isdecimal() or not other)


def _later(version: str, other: str) -> str:
    """Return the later of two versions; without numbers, the second."""
    return version if _is_at_most(other, version) else other


def _is_at_most(version: str, other: str) -> bool:
    """Tell whether a version is surely not later than another; without numbers nothing is sure but equality."""
    if version == other:
        return True
    return _are_numbers(version, other) and int(version or "0") <= int(other or "0")
