"""Which data keys are stored: one new one for each write that seals, and those that entries still need."""

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.admission.support import (
    CLUSTER_ID,
    KEYS,
    applied_by_kubectl,
    ask,
    patched,
    permission,
    refusal,
    review_context,
    scoped_secret,
    stored,
)
from tests.support.builders import entry_key
from tests.support.texts import open_text

from scoped_secrets.cli.key_inventory import use_of
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey, named_data_key, open_data_key
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.names import Reason

MUTATE, VALIDATE = "/mutate/scopedsecrets", "/validate/scopedsecrets"
KNOWN = review_context()
STRANGER = PrivateSealingKey.generate(datetime(2026, 1, 1, tzinfo=UTC))


def context_of(entry, name="aws"):
    slot = Slot("acme", Scope.PROJECT, "web", None, name)
    return sealing_context(CLUSTER_ID, "web", name, slot, entry_key("env", entry))


def plain(**values):
    return [{"name": name, "value": value} for name, value in values.items()]


def opened(body):
    """Return the values of all variables, as the controller opens them."""
    spec = body["spec"]
    return {each["name"]: open_text(spec, each["sealed"], context_of(each["name"]), KEYS) for each in spec["env"]}


def ids(body):
    return [each["id"] for each in body["spec"].get("dataKeys", ())]


def needed(body):
    return {named_data_key(each["sealed"]) for each in body["spec"]["env"] if "sealed" in each} - {None}


def sealed_manifest(*entries, name="aws", key=KEYS.active, ids_from=None):
    """Return an object whose variables are sealed offline under one data key, with the value `x` each."""
    data_key = NewDataKey()
    env = [{"name": each, "sealed": data_key.seal(SecretValue(b"x"), context_of(each, name), None)} for each in entries]
    sealed = data_key.sealed(context_of("A", name), key.public_key)
    return scoped_secret(env=env, dataKeys=[{"id": ids_from or str(data_key.data_key_id), "sealed": sealed}])


def test_each_write_makes_one_data_key_and_unchanged_entries_keep_theirs():
    first = stored(scoped_secret(env=plain(A="1", B="2", C="3")), KNOWN)
    second = stored(scoped_secret(env=plain(A="1", B="new", C="3")), KNOWN, old=first)
    third = stored(scoped_secret(env=plain(A="other", B="new", C="another")), KNOWN, old=second)

    assert (len(ids(first)), len(ids(second)), len(ids(third))) == (1, 2, 2)
    assert second["spec"]["env"][0] == first["spec"]["env"][0]
    assert second["spec"]["dataKeys"][0] == first["spec"]["dataKeys"][0]
    # The first one goes with the last entry that needs it.
    assert ids(third)[0] == ids(second)[1]
    assert opened(third) == {"A": b"other", "B": b"new", "C": b"another"}


@pytest.mark.parametrize("wrap", [lambda body: body, applied_by_kubectl], ids=["server-side", "client-side"])
def test_data_keys_that_an_update_leaves_out_are_restored(wrap):
    manifest = wrap(scoped_secret(env=plain(A="1", B="2")))
    old = stored(manifest, KNOWN)

    assert stored(manifest, KNOWN, old=old) == old
    # As JSON patches remove it, with the sealed texts as they are.
    removed = copy.deepcopy(old)
    del removed["spec"]["dataKeys"]
    assert stored(removed, KNOWN, old=old) == old


def test_only_data_keys_that_entries_need_are_restored():
    first = stored(scoped_secret(env=plain(A="1", B="2")), KNOWN)
    second = stored(scoped_secret(env=plain(A="1", B="new")), KNOWN, old=first)

    result = stored(scoped_secret(env=plain(B="new")), KNOWN, old=second)

    assert ids(result) == [ids(second)[1]]
    assert opened(result) == {"B": b"new"}


def test_data_keys_that_no_entry_names_are_dropped():
    body = sealed_manifest("A")
    body["spec"]["dataKeys"] += sealed_manifest("A")["spec"]["dataKeys"]

    result = stored(body, KNOWN)

    assert ids(result) == ids(body)[:1]
    body["spec"]["env"] = [{"name": "A", "value": "plain", "sensitive": False}]
    assert "dataKeys" not in stored(body, KNOWN, old=result)["spec"]


def test_update_of_metadata_alone_leaves_data_keys_alone():
    old = sealed_manifest("A")
    old["spec"]["dataKeys"] += sealed_manifest("A")["spec"]["dataKeys"]
    body = copy.deepcopy(old)
    body["metadata"]["labels"] = {"tier": "gold"}

    assert not permission(ask(MUTATE, body, KNOWN, old=old)).operations


def test_value_is_sealed_again_when_the_update_replaces_its_data_key():
    old = stored(scoped_secret(env=plain(A="1")), KNOWN)
    body = scoped_secret(env=plain(A="1"), dataKeys=[{**old["spec"]["dataKeys"][0]}])
    body["spec"]["dataKeys"][0]["sealed"] = NewDataKey().sealed(context_of("A"), KEYS.active.public_key)

    result = stored(body, KNOWN, old=old)

    assert opened(result) == {"A": b"1"}
    before, after = (parse_header(each["spec"]["env"][0]["sealed"]) for each in (old, result))
    assert before.fingerprint == after.fingerprint


def test_data_key_that_is_sealed_again_takes_the_place_of_the_stored_one():
    """As `reseal` writes it, and a manifest from Git after that."""
    old = sealed_manifest("A")
    body = copy.deepcopy(old)
    (given,) = old["spec"]["dataKeys"]
    data_key = open_data_key(given["id"], given["sealed"], context_of("A"), KEYS)
    body["spec"]["dataKeys"][0]["sealed"] = data_key.sealed(context_of("A"), KEYS.active.public_key)

    result = stored(body, KNOWN, old=old)

    assert result == body != old
    assert opened(result) == {"A": b"x"}


@pytest.mark.parametrize("is_update", [False, True])
def test_entry_without_its_data_key_is_denied_with_field_and_remedy(is_update):
    body = sealed_manifest("A")
    missing = ids(body)[0]
    del body["spec"]["dataKeys"]
    old = stored(scoped_secret(env=plain(A="1")), KNOWN) if is_update else None

    denial = refusal(ask(VALIDATE, patched(body, ask(MUTATE, body, KNOWN, old=old)), KNOWN, old=old))

    assert denial.reason is Reason.INVALID
    assert denial.message == (
        f"`spec.env[0].sealed` needs the data key '{missing}', which `spec.dataKeys` does not have; copy it from the "
        "object or file that the text comes from, or seal the value again"
    )


def test_without_the_mutating_webhook_no_needed_data_key_is_removed():
    old = stored(scoped_secret(env=plain(A="1")), KNOWN)
    body = copy.deepcopy(old)
    del body["spec"]["dataKeys"]

    assert "`spec.env[0].sealed` needs the data key" in refusal(ask(VALIDATE, body, KNOWN, old=old)).message
    # An object that was stored without it can still be changed elsewhere.
    changed = copy.deepcopy(body)
    changed["spec"]["description"] = "another"
    permission(ask(VALIDATE, changed, KNOWN, old=body))


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        pytest.param(
            sealed_manifest("A", name="other"), Reason.SEALED_FOR_ANOTHER, "spec.env[0].sealed", id="of another object"
        ),
        pytest.param(
            sealed_manifest("A", key=STRANGER), Reason.KEY_LOST, "spec.dataKeys[0].sealed", id="for a lost key"
        ),
        pytest.param(
            scoped_secret(
                env=sealed_manifest("A")["spec"]["env"][:0],
                dataKeys=sealed_manifest("A", name="other")["spec"]["dataKeys"],
            ),
            Reason.SEALED_FOR_ANOTHER,
            "spec.dataKeys[0].sealed",
            id="data key of another object",
        ),
        pytest.param(
            scoped_secret(dataKeys=[{"id": "0011223344556677", "sealed": "v1:AAAA"}]),
            Reason.INVALID,
            "spec.dataKeys[0].sealed",
            id="no sealed text",
        ),
        pytest.param(
            scoped_secret(
                dataKeys=[
                    {
                        "id": "0011223344556677",
                        "sealed": seal(SecretValue(bytes(32)), context_of("A"), KEYS.active.public_key, None),
                    }
                ]
            ),
            Reason.SEALED_FOR_ANOTHER,
            "spec.dataKeys[0].sealed",
            id="value in the place of a data key",
        ),
    ],
)
def test_data_key_that_cannot_open_here_is_denied_by_its_field(body, reason, field):
    denial = refusal(ask(VALIDATE, body, KNOWN))

    assert denial.reason is reason
    assert f"`{field}`" in denial.message


def test_data_key_under_the_id_of_another_is_denied():
    body = sealed_manifest("A", ids_from="0011223344556677")
    body["spec"]["env"] = []

    assert refusal(ask(VALIDATE, body, KNOWN)).reason is Reason.SEALED_FOR_ANOTHER


def test_entry_that_is_moved_to_another_name_in_its_object_is_denied():
    body = sealed_manifest("A")
    body["spec"]["env"][0]["name"] = "B"

    assert refusal(ask(VALIDATE, body, KNOWN)).reason is Reason.SEALED_FOR_ANOTHER


def test_sealing_key_of_a_stored_data_key_that_is_lost_seals_the_value_again():
    old = stored(scoped_secret(env=plain(A="1", B="2")), KNOWN)
    newer = KeyRing((PrivateSealingKey(bytes(32), datetime(2026, 9, 1, tzinfo=UTC)),))
    body = scoped_secret(env=plain(A="1", B="2"))

    result = patched(body, ask(MUTATE, body, replace(KNOWN, recipients=newer.public()), old=old))

    assert len(ids(result)) == 1
    assert ids(result) != ids(old)
    assert use_of({**result, "metadata": {**result["metadata"], "uid": "1"}}).key_ids == {newer.active.key_id}


def test_value_that_was_sealed_alone_keeps_its_text_until_it_changes():
    mark = parse_header(stored(scoped_secret(env=plain(A="1")), KNOWN)["spec"]["env"][0]["sealed"]).fingerprint
    alone = seal(SecretValue(b"1"), context_of("A"), KEYS.active.public_key, mark)
    old = scoped_secret(env=[{"name": "A", "sealed": alone}])

    same = stored(scoped_secret(env=plain(A="1")), KNOWN, old=old)
    changed = stored(scoped_secret(env=plain(A="2")), KNOWN, old=old)

    assert same == old
    assert needed(changed) == set(ids(changed))
    assert opened(changed) == {"A": b"2"}


def owner(operation, **spec):
    return {"manager": "someone", "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec}}


@pytest.mark.parametrize("operation", ["Apply", "Update"])
def test_no_manager_owns_a_data_key_that_is_dropped(operation):
    body, unused = sealed_manifest("A"), sealed_manifest("A")
    body["spec"]["dataKeys"] += unused["spec"]["dataKeys"]
    fields: dict[str, Any] = {
        ".": {},
        **{f'k:{{"id":"{each}"}}': {".": {}, "f:id": {}, "f:sealed": {}} for each in ids(body)},
    }
    body["metadata"]["managedFields"] = [owner(operation, **{"f:scope": {}, "f:dataKeys": fields})]

    (manager,) = stored(body, KNOWN)["metadata"]["managedFields"]

    del fields[f'k:{{"id":"{ids(unused)[0]}"}}']
    assert manager == owner(operation, **{"f:scope": {}, "f:dataKeys": fields})
    body["spec"]["env"] = []
    (manager,) = stored(body, KNOWN)["metadata"]["managedFields"]
    assert manager == owner(operation, **{"f:scope": {}})


WRITES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from(["1", "2", "3"]), min_size=1),
        st.sampled_from(["leaves out", "keeps", "reverses", "empties"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(WRITES)
def test_after_any_writes_every_value_opens_and_no_data_key_is_unused(writes):
    known, old = review_context(), None
    for values, data_keys in writes:
        body = scoped_secret(env=plain(**values))
        if old is not None and data_keys != "leaves out":
            kept = copy.deepcopy(old["spec"]["dataKeys"])
            body["spec"]["dataKeys"] = {"keeps": kept, "reverses": kept[::-1], "empties": []}[data_keys]
        old = stored(body, known, old=old)
        assert opened(old) == {name: value.encode() for name, value in values.items()}
        assert sorted(ids(old)) == sorted(needed(old))
        assert len(ids(old)) <= len(values)
