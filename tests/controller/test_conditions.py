"""Which status is written, and when none is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.builders import NOW, definition, definition_at, home_and_project, inventory, policy, sealed, slot_at

from scoped_secrets.api.status import ScopedSecretStatus, SecretPolicyStatus
from scoped_secrets.controller.conditions import (
    PolicyStatus,
    changed_status,
    definition_status,
    invalid_status,
    newly_true,
    policy_conditions,
    policy_status,
)
from scoped_secrets.core.resolution.definitions import Rotation
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason
from scoped_secrets.timestamps import rfc3339

LATER = NOW + timedelta(minutes=5)
KEYS = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
CLUSTER = "cluster-uid"


def status_of(*definitions, location="acme/registry", keys=KEYS, observed=None, now=NOW):
    snapshot = inventory(home_and_project(), definitions)
    return definition_status(definition_at(snapshot, location), snapshot, keys, CLUSTER, observed or {}, now)


def written(desired, stored, now) -> dict[str, Any]:
    """Return the status that is written, which must be one."""
    status = changed_status(desired, stored, now)
    assert status is not None
    return status


def conditions(status):
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def ages(status):
    return [entry["changedTime"] for entry in status["entries"]]


def sealed_definition(cluster=CLUSTER, keys=KEYS, **given):
    """Return a definition with one value, sealed for the place that it stands in."""
    plain = definition("acme/registry", env={"TOKEN": sealed("")}, **given)
    snapshot = inventory(home_and_project(), [plain])
    context = sealing_context(cluster, "acme", "registry", slot_at(snapshot, "acme/registry"), plain.env[0].key)
    text = seal(SecretValue(b"hunter2"), context, keys.active.public_key, None)
    return definition("acme/registry", env={"TOKEN": sealed(text)}, **given)


def test_first_status_has_all_fields():
    status = written(status_of(definition("acme/registry", env={"A": "b"}, files={"/f": "g"})), {}, NOW)

    assert conditions(status) == {
        "Ready": ("True", "Available"),
        "Conflicted": ("False", "Unique"),
        "Blocked": ("False", "NotBlocked"),
    }
    assert (status["envCount"], status["fileCount"], status["observedGeneration"]) == (1, 1, 1)
    assert "shadows" not in status
    assert {item["lastTransitionTime"] for item in status["conditions"]} == {"2026-06-01T12:00:00Z"}
    ScopedSecretStatus.model_validate(status)


def test_status_equal_to_the_stored_one_is_not_written():
    wide, narrow = definition("acme/registry"), definition("web/registry", scope=Scope.PROJECT)
    for location in ("acme/registry", "web/registry"):
        desired = status_of(wide, narrow, location=location)
        stored = written(desired, {}, NOW)
        assert stored.get("shadows", stored.get("shadowedBy"))

        assert changed_status(desired, stored, LATER) is None
        assert changed_status(desired, stored | {"useCount": 7, "usage": []}, LATER) is None


def test_condition_keeps_its_transition_time_until_its_status_changes():
    before = written(status_of(definition("acme/registry")), {}, NOW)
    older = definition("acme/older", secret_name="registry", created="2025-01-01T00:00:00Z")  # noqa: S106 - a name

    after = written(status_of(definition("acme/registry", generation=2), older), before, LATER)

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
        lambda status: status["conditions"][0].update(message="another client's message"),
        lambda status: status.update(envCount=9),
        lambda status: status.update(shadows=["acme/elsewhere"]),
        lambda status: status.update(observedGeneration=0),
    ],
)
def test_foreign_changes_of_a_status_are_reverted(damage):
    desired = status_of(definition("acme/registry"))
    right = written(desired, {}, NOW)
    stored = written(desired, {}, NOW)
    damage(stored)

    assert changed_status(desired, stored, NOW) == right


def test_conditions_that_no_longer_apply_are_removed():
    stored = written(status_of(definition("acme/registry")), {}, NOW)

    after = written(invalid_status(2, "`spec.env` must have each `name` once", {}), stored, LATER)

    assert conditions(after) == {"Ready": ("False", "Invalid")}
    assert changed_status(invalid_status(2, "`spec.env` must have each `name` once", {}), after, LATER) is None


def test_definition_outside_its_scope_path_is_not_ready():
    status = written(status_of(definition("web/registry"), location="web/registry"), {}, NOW)

    assert conditions(status) == {"Ready": ("False", "ScopeNotAllowed")}


def test_message_is_truncated_to_the_limit_of_the_schema():
    status = written(invalid_status(1, "x" * 5000, {}), {}, NOW)

    ScopedSecretStatus.model_validate(status)


class TestWhatTimeChanges:
    def test_due_rotation_is_reported_and_written_once(self):
        about = sealed_definition(rotation=Rotation(90, 7))
        before = written(status_of(about), {}, NOW)
        due = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=83)

        assert conditions(before)["RotationDue"] == ("True", "RotationDue")
        early = written(status_of(about, now=due - timedelta(seconds=1)), {}, due)
        assert conditions(early)["RotationDue"] == ("False", "UpToDate")
        assert newly_true(early, {}) == []
        late = written(status_of(about, now=due, observed=early), early, due)
        assert [item["type"] for item in newly_true(late, early)] == ["RotationDue"]
        assert newly_true(late, late) == []
        assert changed_status(status_of(about, now=LATER, observed=late), late, LATER) is None

    def test_expiry_is_reported_and_written_once(self):
        about = definition("acme/registry", expires=LATER)
        before = written(status_of(about), {}, NOW)

        after = written(status_of(about, now=LATER, observed=before), before, LATER)

        assert conditions(before)["Expired"] == ("False", "NotExpired")
        assert conditions(after)["Expired"] == ("True", "Expired")
        assert conditions(after)["Ready"] == ("False", "Expired")
        assert [item["type"] for item in newly_true(after, before)] == ["Expired"]
        assert changed_status(status_of(about, now=LATER, observed=after), after, LATER) is None

    def test_later_expire_time_ends_the_expiry(self):
        """The reason was read from the stored status; the clock decides."""
        extended = definition("acme/registry", expires=LATER, not_ready=Reason.EXPIRED)

        assert status_of(extended).conditions[0].reason is Reason.AVAILABLE

    def test_invalid_object_keeps_the_age_of_its_values(self):
        about = sealed_definition()
        before = written(status_of(about), {}, NOW)

        unreadable = written(invalid_status(2, "it cannot be read", before), before, LATER)
        mended = written(status_of(about, observed=unreadable, now=LATER), unreadable, LATER)

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
    def test_foreign_changes_of_entries_are_reverted(self, damage):
        right = written(status_of(about := sealed_definition()), {}, NOW)
        stored = written(status_of(about), {}, NOW)
        damage(stored["entries"])

        after = written(status_of(about, observed=stored), stored, NOW)

        assert [entry["sealedDigest"] for entry in after["entries"]] == [
            entry["sealedDigest"] for entry in right["entries"]
        ]


class TestKeys:
    def test_value_sealed_for_its_slot_and_a_known_key_is_ready(self):
        assert status_of(sealed_definition()).conditions[0].reason is Reason.AVAILABLE

    def test_value_without_its_key_is_reported_as_key_lost(self):
        other = KeyRing.generate(datetime(2026, 2, 1, tzinfo=UTC))

        assert status_of(sealed_definition(keys=other)).conditions[0].reason is Reason.KEY_LOST

    def test_value_of_another_cluster_is_reported_as_sealed_for_another(self):
        assert status_of(sealed_definition(cluster="other")).conditions[0].reason is Reason.SEALED_FOR_ANOTHER

    @pytest.mark.parametrize("reason", [Reason.KEY_LOST, Reason.SEALED_FOR_ANOTHER])
    def test_stored_status_is_never_its_own_reason(self, reason):
        """The reason was read from the stored status, and the key has come back since."""
        assert status_of(sealed_definition(not_ready=reason)).conditions[0].reason is Reason.AVAILABLE

    def test_reason_from_the_spec_is_kept(self):
        plain = sealed_definition(not_ready=Reason.PLAINTEXT_REFUSED)

        assert status_of(plain).conditions[0].reason is Reason.PLAINTEXT_REFUSED


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.value in ("Invalid", "PlaintextRefused")])
def test_each_reason_for_an_unusable_value_has_its_own_message(reason):
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
    def test_policy_is_ready_when_it_is_enforced(self, given, invalid, expected):
        snapshot = inventory(home_and_project(), policies=[policy("acme/main", **given)])
        (slotted,) = snapshot.namespace_policies("acme")

        status = written(PolicyStatus(3, policy_conditions(slotted, invalid)), {}, NOW)

        accepted = ("True", "Accepted") if expected[0] == "True" else expected
        assert conditions(status) == {"Accepted": accepted, "Ready": expected}
        assert status["observedGeneration"] == 3
        assert changed_status(PolicyStatus(3, policy_conditions(slotted, invalid)), status, LATER) is None
        SecretPolicyStatus.model_validate(status)

    def test_policy_outside_every_scope_path_is_not_ready(self):
        snapshot = inventory({}, policies=[policy("elsewhere/main")])
        (slotted,) = snapshot.namespace_policies("elsewhere")

        accepted, ready = policy_conditions(slotted, None)

        assert accepted.is_true
        assert (ready.reason, ready.is_true) == (Reason.NAMESPACE_OUTSIDE, False)

    def test_policy_lists_what_it_governs_and_says_why_it_has_no_effect(self):
        known = [definition("acme/aws"), definition("acme/db")]
        policies = [policy("acme/all", secret_names=("*",)), policy("acme/none", secret_names=("gone",))]
        snapshot = inventory(home_and_project(), known, policies)
        every, none = snapshot.namespace_policies("acme")

        status = written(policy_status(every, snapshot, 1, None, NOW), {}, NOW)
        ineffective = written(policy_status(none, snapshot, 1, None, NOW), {}, NOW)

        assert (status["matchedCount"], status["matched"]) == (2, ["acme/aws", "acme/db"])
        assert conditions(ineffective)["Ineffective"] == ("True", "SelectsNothing")
        assert "matched" not in ineffective
        assert changed_status(policy_status(every, snapshot, 1, None, NOW), status, LATER) is None
        SecretPolicyStatus.model_validate(status)

    def test_policy_that_is_not_enforced_says_only_that(self):
        snapshot = inventory(home_and_project(), policies=[policy("acme/main", broken=True)])
        (broken,) = snapshot.namespace_policies("acme")

        status = policy_status(broken, snapshot, 1, None, NOW)

        assert {condition.type.value for condition in status.conditions} == {"Accepted", "Ready"}
