"""Since when a definition has its values, as the status stores it (DESIGN section 7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.builders import NOW, definition, entry_key, sealed

from scoped_secrets.api.status import ScopedSecretStatus
from scoped_secrets.controller.value_age import ResealedTexts, as_stored, entry_states, known_states
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.timestamps import rfc3339

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
"""When the builders' definitions were created."""
LATER = NOW + timedelta(days=1)
KEY = FingerprintKey(bytes(range(32)))
SALT = bytes(range(12))
KEYS = KeyRing.generate(CREATED)
SLOT = Slot("acme", Scope.ORGANIZATION, None, None, "registry")


def text(value, name="TOKEN", *, kind="env", offline=False, keys=KEYS):
    """Return a value sealed for the definition, by admission or offline."""
    secret = SecretValue(value.encode())
    mark = None if offline else fingerprint(KEY, "acme", "registry", kind, name, secret, SALT)
    context = sealing_context("cluster", "acme", "registry", SLOT, entry_key(kind, name))
    return sealed(seal(secret, context, keys.active.public_key, mark))


def registry(env=None, files=None):
    return definition("acme/registry", env=env or {}, files=files or {})


def status(about, observed=None, now=NOW):
    """Return the part of the status that is about entries, as it is stored after a reconcile."""
    return {"observedGeneration": 1, "entries": as_stored(entry_states(about, observed or {}, now))}


def ages(stored):
    return {(entry["kind"], entry["name"]): entry["changedTime"] for entry in stored["entries"]}


def test_entry_state_has_ten_digits_of_the_keyed_fingerprint():
    expected = fingerprint(KEY, "acme", "registry", "file", "/f", SecretValue(b"hunter2"), SALT).digest.hex()

    (entry,) = status(registry(files={"/f": text("hunter2", "/f", kind="file")}))["entries"]

    assert entry == {"kind": "File", "name": "/f", "fingerprint": expected[:10], "changedTime": rfc3339(CREATED)}
    ScopedSecretStatus.model_validate({"entries": [entry]})


def test_value_sealed_offline_has_a_digest_of_its_ciphertext():
    (entry,) = status(registry({"TOKEN": text("hunter2", offline=True)}))["entries"]

    assert set(entry) == {"kind", "name", "sealedDigest", "changedTime"}
    ScopedSecretStatus.model_validate({"entries": [entry]})


def test_only_sealed_values_are_listed():
    sources = {"PLAIN": "eu", "OTHER": SecretKeySource("db", "password"), "DAMAGED": sealed("v1:nonsense")}

    assert status(registry({**sources, "TOKEN": text("x")})).keys() == {"observedGeneration", "entries"}
    assert ages(status(registry({**sources, "TOKEN": text("x")}))).keys() == {("Env", "TOKEN")}


def test_values_of_a_definition_without_a_status_are_as_old_as_the_definition():
    assert ages(status(registry({"TOKEN": text("x")}))) == {("Env", "TOKEN"): rfc3339(CREATED)}


def test_added_value_is_as_old_as_the_reconcile_that_finds_it():
    first = status(registry())

    later = status(registry({"TOKEN": text("x")}), first, LATER)

    assert ages(later) == {("Env", "TOKEN"): rfc3339(LATER)}


@pytest.mark.parametrize("offline", [False, True])
def test_restart_keeps_the_age_of_values(offline):
    about = registry({"TOKEN": text("x", offline=offline)}, {"/f": text("y", "/f", kind="file", offline=offline)})
    stored = status(about)

    assert status(about, stored, LATER) == stored


@pytest.mark.parametrize("offline", [False, True])
def test_changed_value_resets_the_age_of_its_entry_only(offline):
    kept = text("y", "KEPT", offline=offline)
    stored = status(registry({"TOKEN": text("x", offline=offline), "KEPT": kept}))

    after = status(registry({"TOKEN": text("z", offline=offline), "KEPT": kept}), stored, LATER)

    assert ages(after) == {("Env", "TOKEN"): rfc3339(LATER), ("Env", "KEPT"): rfc3339(CREATED)}


def test_same_value_sealed_for_a_newer_key_keeps_its_age():
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
def test_invalid_entries_of_a_stored_status_are_ignored(entries):
    damaged = {"observedGeneration": 1, "entries": entries}

    assert ages(status(registry({"TOKEN": text("x")}), damaged)) == {("Env", "TOKEN"): rfc3339(NOW)}


def test_changed_time_in_the_future_is_corrected():
    about = registry({"TOKEN": text("x")})
    stored = status(about)
    stored["entries"][0]["changedTime"] = "9999-12-31T23:59:59Z"

    assert ages(status(about, stored)) == {("Env", "TOKEN"): rfc3339(NOW)}


class TestResealedValueThatWasSealedOffline:
    """Its text has no fingerprint that shows that the value is the same."""

    BEFORE, AFTER = text("x", offline=True), text("x", offline=True)

    def age(self, source, stored, resealed):
        states = entry_states(registry({"TOKEN": source}), stored, LATER, resealed)
        return ages({"entries": as_stored(states)})[("Env", "TOKEN")]

    def test_keeps_its_age(self):
        resealed = ResealedTexts()
        resealed.add(self.BEFORE.text, self.AFTER.text)

        assert self.age(self.AFTER, status(registry({"TOKEN": self.BEFORE})), resealed) == rfc3339(CREATED)

    def test_is_new_when_another_client_sealed_it(self):
        assert self.age(self.AFTER, status(registry({"TOKEN": self.BEFORE})), ResealedTexts()) == rfc3339(LATER)

    def test_keeps_its_age_when_the_new_text_was_not_stored(self):
        resealed = ResealedTexts()
        resealed.add(self.BEFORE.text, self.AFTER.text)

        assert self.age(self.BEFORE, status(registry({"TOKEN": self.BEFORE})), resealed) == rfc3339(CREATED)

    def test_is_new_when_it_replaces_another_value(self):
        resealed = ResealedTexts()
        resealed.add(self.BEFORE.text, self.AFTER.text)

        for other in (text("y"), text("y", offline=True)):
            assert self.age(self.AFTER, status(registry({"TOKEN": other})), resealed) == rfc3339(LATER)

    def test_is_new_when_too_many_texts_were_resealed_since(self):
        resealed = ResealedTexts()
        resealed.add(self.BEFORE.text, self.AFTER.text)
        for number in range(10_000):
            resealed.add("a", f"b{number}")

        assert self.age(self.AFTER, status(registry({"TOKEN": self.BEFORE})), resealed) == rfc3339(LATER)


def test_resealing_with_another_fingerprint_key_keeps_the_age_of_a_value():
    secret = SecretValue(b"x")
    context = sealing_context("cluster", "acme", "registry", SLOT, entry_key("env", "TOKEN"))
    other = fingerprint(FingerprintKey.generate(), "acme", "registry", "env", "TOKEN", secret, SALT)
    before, after = text("x"), sealed(seal(secret, context, KEYS.active.public_key, other))
    stored, resealed = status(registry({"TOKEN": before})), ResealedTexts()
    resealed.add(before.text, after.text)

    found = {
        by: entry_states(registry({"TOKEN": after}), stored, LATER, resealed)
        for by, resealed in {"controller": resealed, "client": ResealedTexts()}.items()
    }

    assert {by: states[0].changed for by, states in found.items()} == {"controller": CREATED, "client": LATER}


def test_stored_entry_states_are_read_back_unchanged():
    states = entry_states(registry({"TOKEN": text("x")}), {}, NOW)

    assert known_states({"entries": as_stored(states)}) == states
