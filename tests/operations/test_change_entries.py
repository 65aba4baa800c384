"""Changes of single entries as JSON patches: applied by a library that is not ours."""

import copy
from typing import Any

import jsonpatch
import pytest
from tests.admission.support import KEYS
from tests.support.texts import open_text

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError, InvalidObjectError
from scoped_secrets.operations.change_entries import (
    SealedEntries,
    named_entries,
    removal,
    replacement,
    sealed_entries,
)
from scoped_secrets.operations.sealing_plan import PlainEntry

A, B = EntryKey(EntryKind.ENV, "A"), EntryKey(EntryKind.ENV, "B")
KEY, CONFIG = EntryKey(EntryKind.FILE, ".ssh/id"), EntryKey(EntryKind.FILE, "$CONFIG")
BODY: dict[str, Any] = {
    "metadata": {"name": "aws", "namespace": "web"},
    "spec": {
        "scope": "Project",
        "env": [{"name": "A", "value": "plain", "sensitive": False}, {"name": "B", "sealed": "v1:b"}],
        "files": [{"path": ".ssh/id", "env": "IDENTITY", "mode": "0400", "sealed": "v1:key"}],
    },
}


def applied(change, body=BODY):
    return jsonpatch.apply_patch(copy.deepcopy(body), list(change.operations))["spec"]


def test_value_of_an_entry_is_replaced_and_what_describes_the_file_stays():
    entries = {A: {"name": "A", "sealed": "v1:new"}, KEY: {"path": ".ssh/id", "sealed": "v1:other"}}
    change = replacement(BODY, SealedEntries(entries))
    spec = applied(change)
    assert "dataKeys" not in spec
    assert spec["env"] == [{"name": "A", "sealed": "v1:new"}, {"name": "B", "sealed": "v1:b"}]
    assert spec["files"] == [{"path": ".ssh/id", "env": "IDENTITY", "mode": "0400", "sealed": "v1:other"}]
    assert (change.changed, change.added) == ((A, KEY), ())


def test_new_entries_are_added_to_lists_that_may_not_exist():
    body = {**BODY, "spec": {"scope": "Project"}}
    change = replacement(
        body,
        SealedEntries(
            {
                A: {"name": "A", "sealed": "v1:a"},
                B: {"name": "B", "sealed": "v1:b"},
                CONFIG: {"env": "CONFIG", "sealed": "v1:c"},
            }
        ),
    )
    spec = applied(change, body)
    assert spec["env"] == [{"name": "A", "sealed": "v1:a"}, {"name": "B", "sealed": "v1:b"}]
    assert spec["files"] == [{"env": "CONFIG", "sealed": "v1:c"}]
    assert change.added == (A, B, CONFIG)


@pytest.mark.parametrize("before", [[], [{"id": "0011223344556677", "sealed": "v1:old"}]])
def test_values_that_are_set_come_under_one_data_key_beside_the_stored_ones(before):
    body = copy.deepcopy(BODY)
    if before:
        body["spec"]["dataKeys"] = before
    certificate = SealingCertificate("cluster", KEYS.public())
    slot = Slot("acme", Scope.PROJECT, "web", None, "aws")
    values = {A: b"one", KEY: b"two\0"}
    entries = [PlainEntry(key, None, SecretValue(value)) for key, value in values.items()]

    spec = applied(replacement(body, sealed_entries(body, slot, entries, certificate)), body)

    assert spec["dataKeys"][:-1] == before
    texts = {A: spec["env"][0]["sealed"], KEY: spec["files"][0]["sealed"]}
    contexts = {key: sealing_context("cluster", "web", "aws", slot, key) for key in texts}
    assert {key: open_text(spec, text, contexts[key], KEYS) for key, text in texts.items()} == values


def test_several_entries_are_removed_and_no_other():
    spec = applied(removal(BODY, [A, KEY, A]))
    assert spec["env"] == [{"name": "B", "sealed": "v1:b"}]
    assert spec["files"] == []
    assert applied(removal(BODY, [B, A]))["env"] == []


def test_entry_that_is_gone_is_told():
    with pytest.raises(InvalidObjectError, match="no entry 'C' any more"):
        removal(BODY, [EntryKey(EntryKind.ENV, "C")])


def test_entries_are_found_by_variable_and_by_path():
    assert named_entries(BODY, ["B", ".ssh/id", "B"]) == [B, KEY]
    with pytest.raises(ConfigurationError, match=r"no entry 'C'; it has '\.ssh/id', 'A', 'B'"):
        named_entries(BODY, ["C"])
