"""What the controller writes when an annotation requests to reseal a definition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import definition, home_and_project, inventory, sealed, slot_at
from tests.support.texts import open_text

from scoped_secrets import names
from scoped_secrets.controller.key_use import oldest_key
from scoped_secrets.controller.resealing import reseal_operations
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.core.resolution.definitions import Entry, Previous, SealedDataKey, SlottedDefinition
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey, named_data_key
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue

CLUSTER = "cluster-uid"
START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, MIDDLE, NEW = (PrivateSealingKey.generate(START + timedelta(days=days)) for days in (0, 30, 60))
RING = KeyRing((OLD, MIDDLE, NEW))
FORMER, PRESENT = FingerprintKey.generate(), FingerprintKey.generate()
REQUEST = "requested"


def context_of(variable, cluster=CLUSTER):
    empty = definition("acme/registry", env={variable: sealed("")})
    slot = slot_at(inventory(home_and_project(), [empty]), "acme/registry")
    return sealing_context(cluster, "acme", "registry", slot, empty.env[0].key)


def mark_of(variable, value=b"hunter2", key=PRESENT, salt=bytes(12)):
    return fingerprint(key, "acme", "registry", "env", variable, SecretValue(value), salt)


def sealed_for(key, variable, value=b"hunter2", cluster=CLUSTER, marked_with=PRESENT, salt=bytes(12)):
    mark = None if marked_with is None else mark_of(variable, value, marked_with, salt)
    return seal(SecretValue(value), context_of(variable, cluster), key.public_key, mark)


def under(data_key, variable, value=b"hunter2", cluster=CLUSTER, marked_with=PRESENT):
    mark = None if marked_with is None else mark_of(variable, value, marked_with)
    return data_key.seal(SecretValue(value), context_of(variable, cluster), mark)


def wrapped(data_key, key, cluster=CLUSTER):
    """Return a data key as it stands in a spec."""
    return {"id": str(data_key.data_key_id), "sealed": data_key.sealed(context_of("A", cluster), key.public_key)}


def slotted(data_keys=(), **texts):
    env = {variable: sealed(text, 60) for variable, text in texts.items()}
    keys = tuple(SealedDataKey(each["id"], each["sealed"]) for each in data_keys)
    return inventory(home_and_project(), [definition("acme/registry", env=env, data_keys=keys)]).get("acme/registry")


def slotted_files(files):
    return inventory(home_and_project(), [definition("acme/registry", files=files)]).get("acme/registry")


def body(data_keys=(), **texts):
    spec = {"env": [{"name": variable, "sealed": text} for variable, text in texts.items()]}
    return {
        "metadata": {"annotations": {names.RESEAL_ANNOTATION: REQUEST, "other": "kept"}},
        "spec": {**spec, "dataKeys": list(data_keys)} if data_keys else spec,
    }


def resealed(ring=RING, data_keys=(), **texts):
    """Return the stored object after the controller's write, and what did not open."""
    result = reseal_operations(slotted(data_keys, **texts), REQUEST, Unsealer(ring, CLUSTER), PRESENT)
    after = jsonpatch.apply_patch(body(data_keys, **texts), list(result.operations))
    return after, tuple(map(str, result.not_unsealed))


def opened(after, variable):
    (entry,) = (each for each in after["spec"]["env"] if each["name"] == variable)
    return open_text(after["spec"], entry["sealed"], context_of(variable), KeyRing((NEW,)))


@given(
    value=st.binary(max_size=300),
    key=st.sampled_from((OLD, NEW)),
    marked_with=st.sampled_from((None, FORMER, PRESENT)),
    salt=st.sampled_from((b"", bytes(12))),
)
def test_newest_key_unseals_the_same_value_with_a_present_fingerprint_if_it_had_one(value, key, marked_with, salt):
    before = sealed_for(key, "TOKEN", value, marked_with=marked_with, salt=salt)

    after, not_unsealed = resealed(TOKEN=before)

    text = after["spec"]["env"][0]["sealed"]
    header = parse_header(text)
    kept = marked_with is None or (marked_with is PRESENT and salt != b"")
    assert (header.fingerprint is None) == (marked_with is None)
    if header.fingerprint is not None:
        assert len(header.fingerprint.salt) == 12
        assert header.fingerprint == mark_of("TOKEN", value, salt=header.fingerprint.salt)
        assert (header.fingerprint.salt == salt) == kept
    assert [each["id"] for each in after["spec"]["dataKeys"]] == [named_data_key(text)]
    assert opened(after, "TOKEN") == value
    assert not_unsealed == ()


def test_a_file_is_tested_by_the_field_that_names_it():
    sources = [
        Entry.file(None, 0o600, sealed("v1:x", 60), "KUBECONFIG"),
        Entry.file("~/a", 0o600, sealed("v1:x", 60), "A"),
    ]
    slot = slotted_files(sources).slot
    contexts = [sealing_context(CLUSTER, "acme", "registry", slot, entry.key) for entry in sources]
    texts = [seal(SecretValue(b"hunter2"), context, OLD.public_key, None) for context in contexts]
    files = [
        Entry.file(entry.path, 0o600, sealed(text, 60), entry.env) for entry, text in zip(sources, texts, strict=True)
    ]

    result = reseal_operations(slotted_files(files), REQUEST, Unsealer(RING, CLUSTER), PRESENT)

    tests = [(str(each["path"]), each["value"]) for each in result.operations if each["op"] == "test"]
    assert [each for each in tests if each[0].rpartition("/")[2] in ("path", "env")] == [
        ("/spec/files/0/env", "KUBECONFIG"),
        ("/spec/files/1/path", "~/a"),
    ]
    stored = {
        "metadata": {"annotations": {names.RESEAL_ANNOTATION: REQUEST}},
        "spec": {"files": [{"env": "KUBECONFIG", "sealed": texts[0]}, {"path": "~/a", "env": "A", "sealed": texts[1]}]},
    }
    after = jsonpatch.apply_patch(stored, list(result.operations))["spec"]
    values = [
        open_text(after, file["sealed"], context, KeyRing((NEW,)))
        for file, context in zip(after["files"], contexts, strict=True)
    ]
    assert values == [b"hunter2"] * 2


def test_values_that_are_sealed_alone_come_under_one_data_key_and_a_second_time_changes_nothing():
    texts = {"A": sealed_for(OLD, "A"), "B": sealed_for(NEW, "B"), "C": sealed_for(MIDDLE, "C")}

    after, _ = resealed(**texts)

    now = {entry["name"]: entry["sealed"] for entry in after["spec"]["env"]}
    assert {named_data_key(text) for text in now.values()} == {each["id"] for each in after["spec"]["dataKeys"]}
    assert len(after["spec"]["dataKeys"]) == 1
    assert [opened(after, name) for name in texts] == [b"hunter2"] * 3
    assert after["metadata"]["annotations"] == {"other": "kept"}
    assert resealed(data_keys=after["spec"]["dataKeys"], **now)[0]["spec"] == after["spec"]


def test_with_a_new_sealing_key_only_data_keys_change():
    old, new = NewDataKey(), NewDataKey()
    texts = {"A": under(old, "A"), "B": under(new, "B"), "C": under(old, "C", marked_with=None)}
    before = [wrapped(old, OLD), wrapped(new, NEW)]

    after, not_unsealed = resealed(data_keys=before, **texts)

    assert {entry["name"]: entry["sealed"] for entry in after["spec"]["env"]} == texts
    assert [each["id"] for each in after["spec"]["dataKeys"]] == [each["id"] for each in before]
    assert after["spec"]["dataKeys"][0] != before[0]
    assert after["spec"]["dataKeys"][1] == before[1]
    assert [opened(after, name) for name in texts] == [b"hunter2"] * 3
    assert not_unsealed == ()


def test_with_a_new_fingerprint_key_values_come_under_a_new_data_key_and_an_unused_one_goes():
    mixed, unused = NewDataKey(), NewDataKey()
    texts = {"A": under(mixed, "A", marked_with=FORMER), "B": under(mixed, "B", marked_with=None)}
    texts["C"] = under(unused, "C", marked_with=FORMER)

    after, _ = resealed(data_keys=[wrapped(mixed, NEW), wrapped(unused, NEW)], **texts)

    now = {entry["name"]: entry["sealed"] for entry in after["spec"]["env"]}
    assert [name for name in texts if now[name] != texts[name]] == ["A", "C"]
    assert named_data_key(now["A"]) == named_data_key(now["C"]) not in (mixed.data_key_id, unused.data_key_id)
    assert [each["id"] for each in after["spec"]["dataKeys"]] == [mixed.data_key_id, named_data_key(now["A"])]
    assert [opened(after, name) for name in texts] == [b"hunter2"] * 3


def test_damaged_value_does_not_keep_its_data_key_on_the_old_sealing_key():
    data_key, lost, foreign = NewDataKey(), NewDataKey(), NewDataKey()
    stranger = PrivateSealingKey.generate(START)
    texts = {"A": under(data_key, "A")[:-2] + "AA", "B": under(data_key, "B"), "C": under(lost, "C")}
    texts["D"], texts["E"] = under(foreign, "D"), under(NewDataKey(), "E")
    before = [wrapped(data_key, OLD), wrapped(lost, stranger), wrapped(foreign, OLD, cluster="another")]

    after, not_unsealed = resealed(data_keys=before, **texts)

    assert not_unsealed == ("variable 'A'", "variable 'C'", "variable 'D'", "variable 'E'")
    assert {entry["name"]: entry["sealed"] for entry in after["spec"]["env"]} == texts
    assert opened(after, "B") == b"hunter2"
    assert after["spec"]["dataKeys"][1:] == before[1:]


def test_data_keys_that_change_meanwhile_are_not_overwritten():
    data_key = NewDataKey()
    before, text = wrapped(data_key, OLD), under(data_key, "A")
    result = reseal_operations(slotted([before], A=text), REQUEST, Unsealer(RING, CLUSTER), PRESENT)

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(body([wrapped(NewDataKey(), NEW)], A=text), list(result.operations))


def test_damaged_text_of_the_newest_key_is_reported():
    broken = sealed_for(NEW, "A")[:-2] + "AA"

    after, not_unsealed = resealed(A=broken)

    assert not_unsealed == ("variable 'A'",)
    assert after["spec"]["env"][0]["sealed"] == broken


def test_value_that_cannot_be_unsealed_stays_and_is_reported_while_others_are_resealed():
    lost = PrivateSealingKey.generate(START)
    broken = sealed_for(OLD, "B")[:-2] + "AA"
    texts = {"A": sealed_for(lost, "A"), "B": broken, "C": sealed_for(OLD, "C"), "D": sealed_for(OLD, "D", cluster="x")}

    after, not_unsealed = resealed(**texts)

    assert not_unsealed == ("variable 'A'", "variable 'B'", "variable 'D'")
    assert [entry["sealed"] == texts[entry["name"]] for entry in after["spec"]["env"]] == [True, True, False, True]


@pytest.mark.parametrize("changed", [{"TOKEN": "newer"}, {"OTHER": "moved"}])
def test_value_that_changes_meanwhile_is_not_overwritten(changed):
    result = reseal_operations(slotted(TOKEN=sealed_for(OLD, "TOKEN")), REQUEST, Unsealer(RING, CLUSTER), PRESENT)

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(body(**changed), list(result.operations))


def test_no_value_is_in_any_operation():
    result = reseal_operations(
        slotted(TOKEN=sealed_for(OLD, "TOKEN", b"hunter2")), REQUEST, Unsealer(RING, CLUSTER), PRESENT
    )

    assert "hunter2" not in repr(result)


def test_definition_without_a_slot_only_loses_its_request():
    result = reseal_operations(None, REQUEST, Unsealer(RING, CLUSTER), PRESENT)

    assert [operation["op"] for operation in result.operations] == ["test", "remove"]


def test_oldest_key_is_a_lost_one_before_all_others():
    lost = PrivateSealingKey.generate(START + timedelta(days=90))
    mixed = slotted(A=sealed_for(NEW, "A"), B=sealed_for(MIDDLE, "B")).definition
    broken = slotted(A=sealed_for(OLD, "A"), B=sealed_for(lost, "B")).definition

    data_key = NewDataKey()
    under_data_key = slotted([wrapped(data_key, OLD)], A=under(data_key, "A"), B=sealed_for(NEW, "B")).definition

    assert oldest_key(under_data_key, RING) == OLD.key_id
    assert oldest_key(mixed, RING) == MIDDLE.key_id
    assert oldest_key(broken, RING) == lost.key_id
    assert oldest_key(definition("acme/registry"), RING) == ""


def test_a_former_value_is_resealed_for_the_variable_that_it_was_made_for():
    text = sealed_for(OLD, "A", b"former")
    previous = Previous("A", datetime(2026, 6, 1, tzinfo=UTC))
    former = Entry.variable("A_PREVIOUS", sealed(text, 60), previous)
    found = inventory(home_and_project(), [definition("acme/registry", env=[former])]).get("acme/registry")
    assert isinstance(found, SlottedDefinition)
    before = body(A_PREVIOUS=text)

    result = reseal_operations(found, REQUEST, Unsealer(RING, CLUSTER), PRESENT)

    assert result.not_unsealed == ()
    after = jsonpatch.apply_patch(before, list(result.operations))
    assert open_text(after["spec"], after["spec"]["env"][0]["sealed"], context_of("A"), KeyRing((NEW,))) == b"former"
