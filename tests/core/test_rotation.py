"""How old values are, and what time alone changes in a status (DESIGN sections 5 and 7)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import NOW, definition, definition_at, home_and_project, inventory, sealed

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.resolution.definitions import Rotation
from scoped_secrets.core.rotation import EntryMark, EntryState, due, since_when
from scoped_secrets.core.status import status_of
from scoped_secrets.names import ConditionType, Reason

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ROTATION = Rotation(interval_days=90, remind_days=7)
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def mark(name="TOKEN", fingerprint="0123456789", kind=EntryKind.ENV):
    return EntryMark(EntryKey(kind, name), fingerprint, None)


def state(changed, **given):
    return EntryState(mark(**given), changed)


def status(now, *entries, **given):
    about = definition("acme/aws", env={"TOKEN": sealed("")}, **given)
    snapshot = inventory(home_and_project(), [about])
    return status_of(definition_at(snapshot, "acme/aws"), snapshot, now, entries)


def conditions(found):
    return {item.type: (item.is_true, item.reason) for item in found.conditions}


class TestTheAgeOfAValue:
    def test_starts_when_the_definition_is_first_seen(self):
        (entry,) = since_when([mark()], (), CREATED, NOW)

        assert entry == state(CREATED)

    def test_continues_while_the_mark_is_unchanged(self):
        (entry,) = since_when([mark()], [state(CREATED)], NOW, NOW)

        assert entry.changed == CREATED

    def test_restarts_with_another_mark(self):
        changed, kept = since_when(
            [mark(fingerprint="aaaaaaaaaa"), mark("OTHER")], [state(CREATED), state(CREATED, name="OTHER")], NOW, NOW
        )

        assert (changed.changed, kept.changed) == (NOW, CREATED)

    def test_restarts_when_the_kind_of_mark_changes(self):
        offline = EntryMark(EntryKey(EntryKind.ENV, "TOKEN"), None, "0123456789")

        (entry,) = since_when([mark()], [EntryState(offline, CREATED)], NOW, NOW)

        assert entry.changed == NOW

    def test_is_not_taken_from_the_file_of_the_same_name(self):
        (entry,) = since_when([mark()], [state(CREATED, kind=EntryKind.FILE)], NOW, NOW)

        assert entry.changed == NOW

    def test_is_forgotten_with_the_entry(self):
        assert since_when([], [state(CREATED)], NOW, NOW) == ()

    def test_is_never_negative(self):
        (entry,) = since_when([mark()], [state(NOW + DAY)], NOW, NOW)

        assert entry.changed == NOW

    @given(
        fingerprints=st.lists(st.sampled_from(["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"]), min_size=1, max_size=20),
        looks=st.lists(st.integers(1, 5), min_size=20, max_size=20),
    )
    def test_is_independent_of_how_often_it_is_computed(self, fingerprints, looks):
        """However often it is computed in between, also after restarts, which know only what was stored."""
        known: tuple[EntryState, ...] = ()
        expected, before = None, None
        for hour, fingerprint in enumerate(fingerprints):
            moment = NOW + timedelta(hours=hour)
            expected = expected if fingerprint == before else moment
            before = fingerprint
            for look in range(looks[hour]):
                now = moment + timedelta(minutes=look)
                known = since_when([mark(fingerprint=fingerprint)], known, now, now)

        assert [entry.changed for entry in known] == [expected]


class TestARotation:
    def test_counts_from_the_oldest_value(self):
        date = due(ROTATION, [state(NOW), state(CREATED, name="OLD"), state(NOW - DAY, name="X")])

        assert date is not None
        assert (date.oldest.mark.entry.name, date.remind, date.deadline) == (
            "OLD",
            CREATED + 83 * DAY,
            CREATED + 90 * DAY,
        )

    def test_is_never_due_without_sealed_values(self):
        assert due(ROTATION, []) is None
        assert conditions(status(NOW + 999 * DAY, rotation=ROTATION))[ConditionType.ROTATION_DUE] == (
            False,
            Reason.UP_TO_DATE,
        )

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            (timedelta(), (False, Reason.UP_TO_DATE)),
            (83 * DAY - SECOND, (False, Reason.UP_TO_DATE)),
            (83 * DAY, (True, Reason.ROTATION_DUE)),
            (91 * DAY, (True, Reason.ROTATION_DUE)),
        ],
    )
    def test_is_due_from_the_reminder_while_jobs_still_get_the_value(self, after, expected):
        found = conditions(status(CREATED + after, state(CREATED), rotation=ROTATION))

        assert found[ConditionType.ROTATION_DUE] == expected
        assert found[ConditionType.READY] == (True, Reason.AVAILABLE)

    def test_is_not_due_after_the_value_changed(self):
        now = CREATED + 100 * DAY

        assert conditions(status(now, state(now), rotation=ROTATION))[ConditionType.ROTATION_DUE][0] is False

    def test_message_names_value_age_and_deadline(self):
        (reminded,) = messages(status(CREATED + 83 * DAY, state(CREATED), rotation=ROTATION))
        (late,) = messages(status(CREATED + 900 * DAY, state(CREATED), rotation=ROTATION))

        assert reminded == late
        assert reminded == (
            "variable 'TOKEN' has had its value since 2026-01-01T00:00:00Z and should have another one by "
            "2026-04-01T00:00:00Z; store a new value"
        )

    def test_without_the_field_has_no_condition(self):
        assert ConditionType.ROTATION_DUE not in conditions(status(NOW, state(CREATED)))


class TestAnExpiry:
    @pytest.mark.parametrize(
        ("now", "expired", "ready"),
        [
            (NOW - SECOND, (False, Reason.NOT_EXPIRED), (True, Reason.AVAILABLE)),
            (NOW, (True, Reason.EXPIRED), (False, Reason.EXPIRED)),
            (NOW + DAY, (True, Reason.EXPIRED), (False, Reason.EXPIRED)),
        ],
    )
    def test_ends_readiness_at_its_moment(self, now, expired, ready):
        found = conditions(status(now, expires=NOW))

        assert (found[ConditionType.EXPIRED], found[ConditionType.READY]) == (expired, ready)

    def test_is_the_first_reason_as_it_is_for_a_job(self):
        found = conditions(status(NOW, expires=NOW, not_ready=Reason.KEY_LOST))

        assert found[ConditionType.READY] == (False, Reason.EXPIRED)

    def test_without_the_field_has_no_condition(self):
        assert ConditionType.EXPIRED not in conditions(status(NOW))


class TestTheNextMoment:
    @pytest.mark.parametrize(
        ("sentence", "now", "fields", "expected"),
        [
            ("nothing depends on time", NOW, {}, None),
            ("an expiry", NOW, {"expires": NOW + DAY}, NOW + DAY),
            ("an expiry that has come", NOW, {"expires": NOW}, None),
            ("a reminder", CREATED, {"rotation": ROTATION}, CREATED + 83 * DAY),
            ("a reminder that has come", CREATED + 83 * DAY, {"rotation": ROTATION}, None),
            ("the first of both", CREATED, {"rotation": ROTATION, "expires": CREATED + DAY}, CREATED + DAY),
            ("the other of both", CREATED + DAY, {"rotation": ROTATION, "expires": CREATED + DAY}, CREATED + 83 * DAY),
        ],
    )
    def test_is_when_the_status_changes_by_time_alone(self, sentence, now, fields, expected):
        assert status(now, state(CREATED), **fields).changes_at == expected

    @given(
        interval=st.integers(1, 3650),
        share=st.floats(0, 1, exclude_max=True),
        expires=st.none() | st.integers(0, 4000 * 86400),
        look=st.integers(0, 4000 * 86400),
        later=st.integers(0, 4000 * 86400),
    )
    def test_is_the_only_one_at_which_anything_changes(self, interval, share, expires, look, later):
        fields = {"rotation": Rotation(interval, int(interval * share))}
        if expires is not None:
            fields["expires"] = CREATED + expires * SECOND
        now = CREATED + look * SECOND
        found = status(now, state(CREATED), **fields)

        other = status(now + later * SECOND, state(CREATED), **fields)

        assert (other.conditions == found.conditions) == (
            found.changes_at is None or now + later * SECOND < found.changes_at
        )


def messages(found):
    return [item.message for item in found.conditions if item.type is ConditionType.ROTATION_DUE]
