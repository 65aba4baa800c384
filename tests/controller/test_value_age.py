"""Since when a definition has its values: what the status remembers (DESIGN section 7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.builders import NOW, definition, entry_key, sealed

from scoped_secrets.api.status import ScopedSecretStatus
from scoped_secrets.controller.value_age import ResealHistory, as_stored, entry_states, known_states, rfc3339
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
"""When the builders' definitions were created."""
LATER = NOW + timedelta(days=1)
KEY = FingerprintKey(bytes(range(32)))
KEYS = KeyRing.generate(CREATED)
SLOT = Slot("acme", Scope.ORGANIZATION, None, None, "registry")


def text(value, name="TOKEN", *, kind="env", offline=False, keys=KEYS):
    """Return a value sealed for the definition, by admission or offline."""
    secret = SecretValue(value.encode())
    mark = None if offline else fingerprint(KEY, "acme", "registry", kind, name, secret)
    context = sealing_context("cluster", "acme", "registry", SLOT, entry_key(kind, name))
    return sealed(seal(secret, context, keys.active.public_key, mark))


def registry(env=None, files=None):
    return definition("acme/registry", env=env or {}, files=files or {})


def status(about, observed=None, now=NOW):
    """Return the part of the status that is about entries, as it is stored after a look."""
    return {"observedGeneration": 1, "entries": as_stored(entry_states(about, observed or {}, now))}


def ages(stored):
    return {(entry["kind"], entry["name"]): entry["changedTime"] for entry in stored["entries"]}


def test_an_entry_tells_ten_digits_of_its_keyed_fingerprint():
    expected = fingerprint(KEY, "acme", "registry", "file", "/f", SecretValue(b"hunter2")).digest.hex()

    (entry,) = status(registry(files={"/f": text("hunter2", "/f", kind="file")}))["entries"]

    assert entry == {"kind": "File", "name": "/f", "fingerprint": expected[:10], "changedTime": rfc3339(CREATED)}
    ScopedSecretStatus.model_validate({"entries": [entry]})


def test_a_value_that_was_sealed_offline_has_a_digest_of_its_ciphertext():
    (entry,) = status(registry({"TOKEN": text("hunter2", offline=True)}))["entries"]

    assert set(entry) == {"kind", "name", "sealedDigest", "changedTime"}
    ScopedSecretStatus.model_validate({"entries": [entry]})


def test_only_sealed_values_are_listed():
    sources = {"PLAIN": "eu", "OTHER": SecretKeySource("db", "password"), "DAMAGED": sealed("v1:nonsense")}

    assert status(registry({**sources, "TOKEN": text("x")})).keys() == {"observedGeneration", "entries"}
    assert ages(status(registry({**sources, "TOKEN": text("x")}))).keys() == {("Env", "TOKEN")}


def test_a_definition_that_was_never_reported_has_values_as_old_as_itself():
    assert ages(status(registry({"TOKEN": text("x")}))) == {("Env", "TOKEN"): rfc3339(CREATED)}


def test_a_value_that_comes_later_is_as_old_as_the_look_that_finds_it():
    first = status(registry())

    later = status(registry({"TOKEN": text("x")}), first, LATER)

    assert ages(later) == {("Env", "TOKEN"): rfc3339(LATER)}


@pytest.mark.parametrize("offline", [False, True])
def test_a_restart_makes_no_value_younger(offline):
    about = registry({"TOKEN": text("x", offline=offline)}, {"/f": text("y", "/f", kind="file", offline=offline)})
    stored = status(about)

    assert status(about, stored, LATER) == stored


@pytest.mark.parametrize("offline", [False, True])
def test_a_changed_value_reseals_the_time_of_its_entry_only(offline):
    kept = text("y", "KEPT", offline=offline)
    stored = status(registry({"TOKEN": text("x", offline=offline), "KEPT": kept}))

    after = status(registry({"TOKEN": text("z", offline=offline), "KEPT": kept}), stored, LATER)

    assert ages(after) == {("Env", "TOKEN"): rfc3339(LATER), ("Env", "KEPT"): rfc3339(CREATED)}


def test_the_same_value_sealed_for_a_newer_key_is_no_younger():
    stored = status(registry({"TOKEN": text("x")}))

    assert status(registry({"TOKEN": text("x", keys=KeyRing.generate(NOW))}), stored, LATER) == stored


@pytest.mark.parametrize(
    "entries",
    [
        None,
        "nonsense",
        ["nonsense"],
        [{"kind": "Env", "name": "TOKEN"}],
        [{"kind": "Other", "name": "TOKEN", "changedTime": rfc3339(CREATED)}],
        [{"kind": "Env", "name": "TOKEN", "changedTime": "yesterday"}],
        [{"kind": "Env", "name": "TOKEN", "changedTime": "2026-01-01T00:00:00"}],
        [{"kind": "Env", "name": ["TOKEN"], "fingerprint": 5, "changedTime": rfc3339(CREATED)}],
        [{"kind": ["Env"], "name": "TOKEN", "changedTime": rfc3339(CREATED)}],
    ],
)
def test_what_somebody_else_wrote_into_a_status_breaks_nothing(entries):
    damaged = {"observedGeneration": 1, "entries": entries}

    assert ages(status(registry({"TOKEN": text("x")}), damaged)) == {("Env", "TOKEN"): rfc3339(NOW)}


def test_a_time_in_the_future_is_set_right():
    about = registry({"TOKEN": text("x")})
    stored = status(about)
    stored["entries"][0]["changedTime"] = "9999-12-31T23:59:59Z"

    assert ages(status(about, stored)) == {("Env", "TOKEN"): rfc3339(NOW)}


class TestAValueThatWasSealedOfflineAndThatWeSealAnew:
    """Its text has no fingerprint that would tell that the value is the same."""

    BEFORE, AFTER = text("x", offline=True), text("x", offline=True)

    def look(self, source, stored, reseals):
        states = entry_states(registry({"TOKEN": source}), stored, LATER, reseals)
        return ages({"entries": as_stored(states)})[("Env", "TOKEN")]

    def test_is_no_younger(self):
        reseals = ResealHistory()
        reseals.add(self.BEFORE.text, self.AFTER.text)

        assert self.look(self.AFTER, status(registry({"TOKEN": self.BEFORE})), reseals) == rfc3339(CREATED)

    def test_is_younger_when_somebody_else_sealed_it(self):
        assert self.look(self.AFTER, status(registry({"TOKEN": self.BEFORE})), ResealHistory()) == rfc3339(LATER)

    def test_is_as_old_as_before_when_the_new_text_was_not_stored(self):
        reseals = ResealHistory()
        reseals.add(self.BEFORE.text, self.AFTER.text)

        assert self.look(self.BEFORE, status(registry({"TOKEN": self.BEFORE})), reseals) == rfc3339(CREATED)

    def test_is_younger_when_it_takes_the_place_of_another_value(self):
        reseals = ResealHistory()
        reseals.add(self.BEFORE.text, self.AFTER.text)

        for other in (text("y"), text("y", offline=True)):
            assert self.look(self.AFTER, status(registry({"TOKEN": other})), reseals) == rfc3339(LATER)

    def test_is_remembered_only_as_long_as_there_is_room(self):
        reseals = ResealHistory()
        reseals.add(self.BEFORE.text, self.AFTER.text)
        for number in range(10_000):
            reseals.add("a", f"b{number}")

        assert self.look(self.AFTER, status(registry({"TOKEN": self.BEFORE})), reseals) == rfc3339(LATER)


def test_a_value_that_gets_a_fingerprint_of_another_key_from_us_is_no_younger():
    secret = SecretValue(b"x")
    context = sealing_context("cluster", "acme", "registry", SLOT, entry_key("env", "TOKEN"))
    other = fingerprint(FingerprintKey.generate(), "acme", "registry", "env", "TOKEN", secret)
    before, after = text("x"), sealed(seal(secret, context, KEYS.active.public_key, other))
    stored, reseals = status(registry({"TOKEN": before})), ResealHistory()
    reseals.add(before.text, after.text)

    found = {
        told: entry_states(registry({"TOKEN": after}), stored, LATER, reseals)
        for told, reseals in {"by us": reseals, "by somebody else": ResealHistory()}.items()
    }

    assert {told: states[0].changed for told, states in found.items()} == {"by us": CREATED, "by somebody else": LATER}


def test_what_is_stored_is_known_again():
    states = entry_states(registry({"TOKEN": text("x")}), {}, NOW)

    assert known_states({"entries": as_stored(states)}) == states
