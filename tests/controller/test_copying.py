"""What the controller writes to complete a copy, and when it writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import definition, home_and_project, inventory, sealed, slot_at
from tests.support.texts import open_text

from scoped_secrets.controller.copying import copy_operations, copy_problem
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.resolution.definitions import (
    CopyRequest,
    Entry,
    PlainSource,
    SealedDataKey,
    SecretKeySource,
)
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.copy_grants import CopyGrant, CopyPlace, make_copy_grant
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.keys import Keys
from scoped_secrets.names import Reason

CLUSTER = "cluster-uid"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
KEY = PrivateSealingKey.generate(CREATED)
LOST = PrivateSealingKey.generate(CREATED)
FINGERPRINTS = FingerprintKey.generate()
KEYS = Keys(KeyRing((KEY,)), CLUSTER, FINGERPRINTS)
TARGET = CopyPlace("acme/source", "acme/target", "Organization", "", "", "target")


def source_of(values, *others, key=KEY, **given):
    """Return a definition with sealed variables, beside other entries."""
    bare = definition("acme/source", env=dict.fromkeys(values, ""), **given)
    slot = slot_at(inventory(home_and_project(), [bare]), "acme/source")
    data_key, text, env = NewDataKey(), "", []
    for name, value in values.items():
        context = sealing_context(CLUSTER, "acme", "source", slot, EntryKey(EntryKind.ENV, name))
        text = text or data_key.sealed(context, key.public_key)
        env.append(Entry.variable(name, sealed(data_key.seal(SecretValue(value), context, None), 60)))
    keys = (SealedDataKey(str(data_key.data_key_id), text),) if text else ()
    variables = tuple(each for each in others if each.kind is EntryKind.ENV)
    files = tuple(each for each in others if each.kind is EntryKind.FILE)
    return replace(bare, env=(*env, *variables), files=files, data_keys=keys)


def target_of(source, *, place=TARGET, key=FINGERPRINTS, granted=CREATED, **grant):
    """Return a copy as admission stores it."""
    given = {"uid": source.uid, "generation": source.generation, "granted": int(granted.timestamp()), **grant}
    text = make_copy_grant(key, place, CopyGrant(**given))
    return definition("acme/target", copy_request=CopyRequest("acme", "source", text), not_ready=Reason.COPY_PENDING)


def world(*definitions):
    return inventory(home_and_project(), list(definitions))


def problem(target, *others, keys=KEYS):
    known = world(target, *others)
    return copy_problem(known.get("acme/target"), known, keys)


def completed(source):
    """Return the stored copy after the controller's write."""
    target = target_of(source)
    known = world(target, source)
    operations = copy_operations(
        known.get("acme/target"), known.get("acme/source"), Unsealer(KEYS.ring, CLUSTER), FINGERPRINTS
    )
    assert isinstance(operations, list)
    request = target.copy_request
    copied = {"namespace": "acme", "name": "source", "grant": request.grant}
    body = {"metadata": {"uid": target.uid}, "spec": {"scope": "Organization", "copyFrom": copied}}
    return jsonpatch.apply_patch(body, operations)["spec"], known.get("acme/target").slot


@given(values=st.dictionaries(st.sampled_from(["A", "B", "C"]), st.binary(max_size=200), min_size=1))
def test_copy_holds_the_values_with_fingerprints_of_its_own_place(values):
    spec, slot = completed(source_of(values))

    assert "copyFrom" not in spec
    assert len(spec["dataKeys"]) == 1
    assert [each["name"] for each in spec["env"]] == list(values)
    for entry in spec["env"]:
        key, value = EntryKey(EntryKind.ENV, entry["name"]), values[entry["name"]]
        context = sealing_context(CLUSTER, "acme", "target", slot, key)
        assert open_text(spec, entry["sealed"], context, KEYS.ring) == value
        mark = parse_header(entry["sealed"]).fingerprint
        assert mark is not None
        assert mark == entry_fingerprint(FINGERPRINTS, "acme", "target", key, SecretValue(value), mark.salt)


def test_other_entries_are_copied_as_they_are():
    spec, _ = completed(
        source_of(
            {},
            Entry.variable("REGION", PlainSource(b"eu")),
            Entry.variable("DB", SecretKeySource("db", "password", is_optional=True)),
            Entry.file("/etc/x", 0o400, PlainSource(b"\xff"), "X_FILE"),
            Entry.file(None, 0o600, SecretKeySource("db", "file"), "KUBECONFIG"),
        )
    )

    assert spec["env"] == [
        {"name": "REGION", "sensitive": False, "value": "eu"},
        {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password", "optional": True}}},
    ]
    assert spec["files"] == [
        {"path": "/etc/x", "env": "X_FILE", "mode": "0400", "sensitive": False, "contentBase64": "/w=="},
        {"env": "KUBECONFIG", "mode": "0600", "valueFrom": {"secretKeyRef": {"name": "db", "key": "file"}}},
    ]
    assert "dataKeys" not in spec


def test_a_second_patch_changes_nothing():
    source = source_of({"A": b"x"})
    target = target_of(source)
    known = world(target, source)
    operations = copy_operations(
        known.get("acme/target"), known.get("acme/source"), Unsealer(KEYS.ring, CLUSTER), FINGERPRINTS
    )
    assert isinstance(operations, list)
    done = {"metadata": {"uid": target.uid}, "spec": {"scope": "Organization", "env": []}}

    with pytest.raises(jsonpatch.JsonPatchException):
        jsonpatch.apply_patch(done, operations)


def test_a_granted_copy_of_a_source_as_it_was_has_no_problem():
    source = source_of({"A": b"x"})

    assert problem(target_of(source), source) is None
    former = FingerprintKey.generate()
    rotated = Keys(KEYS.ring, CLUSTER, FINGERPRINTS, (former,))
    assert problem(target_of(source, key=former), source, keys=rotated) is None


SOURCE = source_of({"A": b"x"})


@pytest.mark.parametrize(
    ("target", "others", "words"),
    [
        (target_of(SOURCE, key=FingerprintKey.generate()), [SOURCE], "no valid grant"),
        (target_of(SOURCE, place=replace(TARGET, target="acme/other")), [SOURCE], "no valid grant"),
        (target_of(SOURCE, granted=CREATED - timedelta(minutes=5)), [SOURCE], "no valid grant"),
        (target_of(SOURCE), [], "does not exist any more"),
        (target_of(SOURCE), [replace(SOURCE, uid="another")], "does not exist any more"),
        (target_of(SOURCE), [replace(SOURCE, generation=2)], "changed after this object"),
        (target_of(SOURCE), [source_of({"A": b"x"}, key=LOST)], "cannot be opened, because its key is lost"),
    ],
    ids=["another key", "another target", "an older time", "deleted", "recreated", "changed", "key lost"],
)
def test_why_a_copy_is_not_made(target, others, words):
    message = problem(target, *others)

    assert words in message


def test_a_source_that_is_not_copied_yet_is_not_copied_as_an_empty_one():
    source = replace(source_of({}), copy_request=CopyRequest("acme", "first", ""))

    assert "is itself not copied yet" in problem(target_of(source), source)


def test_an_entry_that_does_not_open_is_named_and_nothing_is_written():
    source = source_of({"A": b"x"}, key=LOST)
    known = world(target_of(source), source)

    result = copy_operations(
        known.get("acme/target"), known.get("acme/source"), Unsealer(KEYS.ring, CLUSTER), FINGERPRINTS
    )

    assert result == EntryKey(EntryKind.ENV, "A")
