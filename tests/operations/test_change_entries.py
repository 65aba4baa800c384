"""Changes of single entries as JSON patches: applied by a library that is not ours."""

import copy

import jsonpatch
import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import ConfigurationError, InvalidObjectError
from scoped_secrets.operations.change_entries import named_entries, removal, replacement

A, B = EntryKey(EntryKind.ENV, "A"), EntryKey(EntryKind.ENV, "B")
KEY, CONFIG = EntryKey(EntryKind.FILE, ".ssh/id"), EntryKey(EntryKind.FILE, "$CONFIG")
BODY = {
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
    change = replacement(BODY, {A: {"name": "A", "sealed": "v1:new"}, KEY: {"path": ".ssh/id", "sealed": "v1:other"}})
    spec = applied(change)
    assert spec["env"] == [{"name": "A", "sealed": "v1:new"}, {"name": "B", "sealed": "v1:b"}]
    assert spec["files"] == [{"path": ".ssh/id", "env": "IDENTITY", "mode": "0400", "sealed": "v1:other"}]
    assert (change.changed, change.added) == ((A, KEY), ())


def test_new_entries_are_added_to_lists_that_may_not_exist():
    body = {**BODY, "spec": {"scope": "Project"}}
    change = replacement(
        body,
        {
            A: {"name": "A", "sealed": "v1:a"},
            B: {"name": "B", "sealed": "v1:b"},
            CONFIG: {"env": "CONFIG", "sealed": "v1:c"},
        },
    )
    spec = applied(change, body)
    assert spec["env"] == [{"name": "A", "sealed": "v1:a"}, {"name": "B", "sealed": "v1:b"}]
    assert spec["files"] == [{"env": "CONFIG", "sealed": "v1:c"}]
    assert change.added == (A, B, CONFIG)


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
