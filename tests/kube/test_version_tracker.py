"""Lists and watch events arrive in any order, late, twice or never: no object returns to an earlier version."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.kube.version_tracker import VersionTracker

OBJECTS = ("a", "b", "c")


@dataclass(frozen=True)
class Event:
    """One change in the cluster; its position in the history is its version."""

    location: str
    version: int
    is_deletion: bool


class Mirror:
    """The state of a client that follows a tracker; it fails when an object returns to an earlier version."""

    def __init__(self) -> None:
        self.tracker = VersionTracker()
        self.state: dict[str, int] = {}
        self._latest: dict[str, int] = {}

    def event(self, event: Event) -> None:
        if not self.tracker.is_newer(event.location, str(event.version), is_deletion=event.is_deletion):
            return
        self._advance(event.location, event.version)
        if event.is_deletion:
            self.tracker.remove(event.location, str(event.version))
            self.state.pop(event.location, None)
        else:
            self.tracker.put(event.location, str(event.version))
            self.state[event.location] = event.version

    def finish_list(self, listed: dict[str, int], resource_version: int) -> None:
        merge = self.tracker.merge(
            {location: str(version) for location, version in listed.items()}, str(resource_version)
        )
        for location in merge.removed:
            self._advance(location, resource_version)
            del self.state[location]
        for location in merge.put:
            self._advance(location, listed[location])
            self.state[location] = listed[location]

    def _advance(self, location: str, version: int) -> None:
        assert version > self._latest.get(location, 0), f"{location} goes back"
        self._latest[location] = version


def snapshot(history: list[Event], resource_version: int) -> dict[str, int]:
    """Return the versions of the objects that exist at a resourceVersion."""
    state: dict[str, int] = {}
    for event in history:
        if event.version <= resource_version:
            if event.is_deletion:
                state.pop(event.location, None)
            else:
                state[event.location] = event.version
    return state


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    existing: set[str] = set()
    history: list[Event] = []
    for number in range(draw(st.integers(1, 12))):
        location = draw(st.sampled_from(OBJECTS))
        is_deletion = location in existing and draw(st.booleans())
        existing.discard(location) if is_deletion else existing.add(location)
        # Objects of other kinds use the versions between.
        history.append(Event(location, 9 + 3 * number, is_deletion))
    return history


@given(histories(), st.data())
def test_events_and_lists_in_any_order_never_restore_an_earlier_version(history: list[Event], data: st.DataObject):
    mirror = Mirror()
    end = history[-1].version + 1
    lost_or_late = st.lists(st.sampled_from(history), max_size=15)
    for _ in range(data.draw(st.integers(1, 4))):
        before, during = data.draw(lost_or_late), data.draw(lost_or_late)
        for event in before:
            mirror.event(event)
        mirror.tracker.begin_list()
        # A list is not older than what its reader has seen before the request.
        least = max([8, *(event.version for event in before)])
        least = max([least, *(int(version) for version in mirror.tracker._versions.values())])
        least = max([least, *(int(version) for version in mirror.tracker._deleted.values())])
        least = max(least, int(mirror.tracker.list_version or "0"))
        resource_version = data.draw(st.integers(least, end))
        for event in during:
            mirror.event(event)
        mirror.tracker.detect_rollback(str(resource_version))
        mirror.finish_list(snapshot(history, resource_version), resource_version)
        for location, version in snapshot(history, resource_version).items():
            assert location not in mirror.state or mirror.state[location] >= version

    mirror.tracker.begin_list()
    mirror.tracker.detect_rollback(str(end))
    mirror.finish_list(snapshot(history, end), end)

    assert mirror.state == snapshot(history, end)


@given(histories())
def test_events_in_order_reproduce_the_history(history: list[Event]):
    mirror = Mirror()

    for event in history:
        mirror.event(event)
        mirror.event(event)

    assert mirror.state == snapshot(history, history[-1].version)


def test_a_list_keeps_an_object_that_was_created_after_it():
    mirror = Mirror()
    mirror.tracker.begin_list()
    mirror.event(Event("new", 12, is_deletion=False))

    mirror.finish_list({"old": 5}, 10)

    assert mirror.state == {"old": 5, "new": 12}


def test_a_list_does_not_restore_an_object_that_was_deleted_after_it():
    mirror = Mirror()
    mirror.finish_list({"old": 5}, 5)
    mirror.tracker.begin_list()
    mirror.event(Event("old", 12, is_deletion=True))

    mirror.finish_list({"old": 5}, 10)
    mirror.event(Event("old", 5, is_deletion=False))

    assert mirror.state == {}


def test_versions_are_compared_as_numbers():
    tracker = VersionTracker()
    tracker.put("a", "9")

    assert tracker.is_newer("a", "10")
    assert not tracker.is_newer("a", "8")


def test_a_list_replaces_all_versions_when_etcd_was_restored_from_a_backup():
    tracker = VersionTracker()
    tracker.put("kept", "900")
    tracker.put("lost", "950")
    tracker.begin_list()
    tracker.detect_rollback("100")

    merge = tracker.merge({"kept": "90"}, "100")

    assert (set(merge.put), set(merge.removed)) == ({"kept"}, {"lost"})
    assert tracker.is_newer("kept", "101")


def test_an_event_during_a_list_is_newer_when_versions_are_not_numbers():
    tracker = VersionTracker()
    for location in ("changed", "deleted", "vanished", "same"):
        tracker.put(location, "v1")
    tracker.begin_list()
    tracker.detect_rollback("list-2")
    assert tracker.is_newer("changed", "v2")
    tracker.put("changed", "v2")
    assert tracker.is_newer("deleted", "v2", is_deletion=True)
    tracker.remove("deleted", "v2")
    tracker.put("created", "v1")

    merge = tracker.merge({"changed": "v1", "deleted": "v1", "same": "v1", "missed": "v1"}, "list-2")

    assert merge.put == {"missed"}
    assert merge.removed == {"vanished"}
    assert not tracker.is_newer("same", "v1")
