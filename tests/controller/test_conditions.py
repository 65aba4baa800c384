"""Which status is written, and when none is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.builders import NOW, definition, home_and_project, inventory, policy, sealed

from scoped_secrets.api.status import ScopedSecretStatus, SecretPolicyStatus
from scoped_secrets.controller.conditions import (
    changed_status,
    definition_status,
    invalid_status,
    newly_true,
    policy_status,
)
from scoped_secrets.controller.value_age import rfc3339
from scoped_secrets.core.resolution.definitions import Rotation
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.contexts import entry_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason

LATER = NOW + timedelta(minutes=5)
KEYS = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
CLUSTER = "cluster-uid"


def status_of(*definitions, location="acme/registry", keys=KEYS, observed=None, now=NOW):
    snapshot = inventory(home_and_project(), definitions)
    return definition_status(snapshot.get(location), snapshot, keys, CLUSTER, observed or {}, now)


def conditions(status):
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def ages(status):
    return [entry["changedTime"] for entry in status["entries"]]


def sealed_definition(cluster=CLUSTER, keys=KEYS, **given):
    """Return a definition with one value, sealed for the place that it stands in."""
    plain = definition("acme/registry", env={"TOKEN": sealed("")}, **given)
    snapshot = inventory(home_and_project(), [plain])
    context = entry_context(cluster, "acme", "registry", snapshot.get("acme/registry").slot, plain.env[0])
    text = seal(SecretValue(b"hunter2"), context, keys.active.public_key, None)
    return definition("acme/registry", env={"TOKEN": sealed(text)}, **given)


def test_a_first_status_has_everything():
    status = changed_status(status_of(definition("acme/registry", env={"A": "b"}, files={"/f": "g"})), {}, NOW)

    assert conditions(status) == {
        "Ready": ("True", "Available"),
        "Conflicted": ("False", "Unique"),
        "Blocked": ("False", "NotBlocked"),
    }
    assert (status["envCount"], status["fileCount"], status["observedGeneration"]) == (1, 1, 1)
    assert "shadows" not in status
    assert {item["lastTransitionTime"] for item in status["conditions"]} == {"2026-06-01T12:00:00Z"}
    ScopedSecretStatus.model_validate(status)


def test_a_status_that_is_stored_already_is_not_written():
    wide, narrow = definition("acme/registry"), definition("web/registry", scope=Scope.PROJECT)
    for location in ("acme/registry", "web/registry"):
        desired = status_of(wide, narrow, location=location)
        stored = changed_status(desired, {}, NOW)
        assert stored.get("shadows", stored.get("shadowedBy"))

        assert changed_status(desired, stored, LATER) is None
        assert changed_status(desired, stored | {"useCount": 7, "usage": []}, LATER) is None


def test_a_condition_keeps_its_time_until_it_flips():
    before = changed_status(status_of(definition("acme/registry")), {}, NOW)
    older = definition("acme/older", secret_name="registry", created="2025-01-01T00:00:00Z")  # noqa: S106 - a name

    after = changed_status(status_of(definition("acme/registry", generation=2), older), before, LATER)

    times = {item["type"]: item["lastTransitionTime"] for item in after["conditions"]}
    assert conditions(after)["Conflicted"] == ("True", "SlotTaken")
    assert times == {"Ready": rfc3339(LATER), "Conflicted": rfc3339(LATER), "Blocked": rfc3339(NOW)}
    assert {item["observedGeneration"] for item in after["conditions"]} == {2}


@pytest.mark.parametrize(
    "damage",
    [
        lambda status: status.pop("conditions"),
        lambda status: status.update(conditions="nonsense"),
        lambda status: status["conditions"].pop(),
        lambda status: status["conditions"][0].update(message="somebody else's words"),
        lambda status: status.update(envCount=9),
        lambda status: status.update(shadows=["acme/elsewhere"]),
        lambda status: status.update(observedGeneration=0),
    ],
)
def test_whatever_somebody_else_changed_in_a_status_is_set_right(damage):
    desired = status_of(definition("acme/registry"))
    right = changed_status(desired, {}, NOW)
    stored = changed_status(desired, {}, NOW)
    damage(stored)

    assert changed_status(desired, stored, NOW) == right


def test_conditions_that_no_longer_apply_are_written_away():
    stored = changed_status(status_of(definition("acme/registry")), {}, NOW)

    after = changed_status(invalid_status(2, "`spec.env` must have each `name` once", {}), stored, LATER)

    assert conditions(after) == {"Ready": ("False", "Invalid")}
    assert changed_status(invalid_status(2, "`spec.env` must have each `name` once", {}), after, LATER) is None


def test_a_definition_outside_its_path_is_not_ready():
    status = changed_status(status_of(definition("web/registry"), location="web/registry"), {}, NOW)

    assert conditions(status) == {"Ready": ("False", "ScopeNotAllowed")}


def test_a_message_is_never_longer_than_the_schema_allows():
    status = changed_status(invalid_status(1, "x" * 5000, {}), {}, NOW)

    ScopedSecretStatus.model_validate(status)


class TestWhatTimeChanges:
    def test_a_value_that_is_due_is_told_once_and_written_once(self):
        about = sealed_definition(rotation=Rotation(90, 7))
        before = changed_status(status_of(about), {}, NOW)
        due = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=83)

        assert conditions(before)["RotationDue"] == ("True", "RotationDue")
        early = changed_status(status_of(about, now=due - timedelta(seconds=1)), {}, due)
        assert conditions(early)["RotationDue"] == ("False", "UpToDate")
        assert newly_true(early, {}) == []
        late = changed_status(status_of(about, now=due, observed=early), early, due)
        assert [item["type"] for item in newly_true(late, early)] == ["RotationDue"]
        assert newly_true(late, late) == []
        assert changed_status(status_of(about, now=LATER, observed=late), late, LATER) is None

    def test_an_expired_definition_is_told_once_and_written_once(self):
        about = definition("acme/registry", expires=LATER)
        before = changed_status(status_of(about), {}, NOW)

        after = changed_status(status_of(about, now=LATER, observed=before), before, LATER)

        assert conditions(before)["Expired"] == ("False", "NotExpired")
        assert conditions(after)["Expired"] == ("True", "Expired")
        assert conditions(after)["Ready"] == ("False", "Expired")
        assert [item["type"] for item in newly_true(after, before)] == ["Expired"]
        assert changed_status(status_of(about, now=LATER, observed=after), after, LATER) is None

    def test_a_later_time_ends_the_expiry(self):
        """The reason was read from the stored status; the clock decides."""
        extended = definition("acme/registry", expires=LATER, not_ready=Reason.EXPIRED)

        assert status_of(extended).conditions[0].reason is Reason.AVAILABLE

    def test_an_object_that_cannot_be_read_keeps_the_age_of_its_values(self):
        about = sealed_definition()
        before = changed_status(status_of(about), {}, NOW)

        unreadable = changed_status(invalid_status(2, "it cannot be read", before), before, LATER)
        mended = changed_status(status_of(about, observed=unreadable, now=LATER), unreadable, LATER)

        assert before["entries"] == unreadable["entries"]
        assert conditions(unreadable) == {"Ready": ("False", "Invalid")}
        assert ages(mended) == ["2026-01-01T00:00:00Z"]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda entries: entries.clear(),
            lambda entries: entries.append({"kind": "Env", "name": "OTHER", "changedTime": "2026-01-01T00:00:00Z"}),
            lambda entries: entries[0].update(sealedDigest="0000000000"),
        ],
    )
    def test_entries_that_somebody_else_changed_are_set_right(self, damage):
        right = changed_status(status_of(about := sealed_definition()), {}, NOW)
        stored = changed_status(status_of(about), {}, NOW)
        damage(stored["entries"])

        after = changed_status(status_of(about, observed=stored), stored, NOW)

        assert [entry["sealedDigest"] for entry in after["entries"]] == [
            entry["sealedDigest"] for entry in right["entries"]
        ]


class TestKeys:
    def test_a_value_for_this_place_and_key_is_ready(self):
        assert status_of(sealed_definition()).conditions[0].reason is Reason.AVAILABLE

    def test_a_value_whose_key_is_gone_is_lost(self):
        other = KeyRing.generate(datetime(2026, 2, 1, tzinfo=UTC))

        assert status_of(sealed_definition(keys=other)).conditions[0].reason is Reason.KEY_LOST

    def test_a_value_for_another_cluster_was_sealed_for_another(self):
        assert status_of(sealed_definition(cluster="other")).conditions[0].reason is Reason.SEALED_FOR_ANOTHER

    @pytest.mark.parametrize("reason", [Reason.KEY_LOST, Reason.SEALED_FOR_ANOTHER])
    def test_a_status_is_never_its_own_reason(self, reason):
        """The reason was read from the stored status, and the key has come back since."""
        assert status_of(sealed_definition(not_ready=reason)).conditions[0].reason is Reason.AVAILABLE

    def test_what_the_spec_itself_says_stays(self):
        plain = sealed_definition(not_ready=Reason.PLAINTEXT_REFUSED)

        assert status_of(plain).conditions[0].reason is Reason.PLAINTEXT_REFUSED


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.value in ("Invalid", "PlaintextRefused")])
def test_an_unusable_value_has_a_sentence_of_its_own(reason):
    condition = status_of(definition("acme/registry", not_ready=reason)).conditions[0]

    assert (condition.reason, condition.is_true) == (reason, False)
    assert condition.message


class TestPolicies:
    @pytest.mark.parametrize(
        ("given", "invalid", "expected"),
        [
            ({}, None, ("True", "Available")),
            ({"broken": True}, None, ("False", "NotSupported")),
            ({"broken": True}, "`spec.rules` must be a list", ("False", "Invalid")),
        ],
    )
    def test_a_policy_is_ready_when_it_is_enforced(self, given, invalid, expected):
        snapshot = inventory(home_and_project(), policies=[policy("acme/main", **given)])
        (slotted,) = snapshot.namespace_policies("acme")

        status = changed_status((3, policy_status(slotted, invalid)), {}, NOW)

        assert conditions(status) == {"Ready": expected}
        assert status["observedGeneration"] == 3
        assert changed_status((3, policy_status(slotted, invalid)), status, LATER) is None
        SecretPolicyStatus.model_validate(status)

    def test_a_policy_outside_every_scope_path_governs_nothing(self):
        snapshot = inventory({}, policies=[policy("elsewhere/main")])
        (slotted,) = snapshot.namespace_policies("elsewhere")

        (condition,) = policy_status(slotted, None)

        assert (condition.reason, condition.is_true) == (Reason.NAMESPACE_OUTSIDE, False)
