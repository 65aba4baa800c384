"""The words of each surface for an entry."""

import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind, EntryPosition
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (EntryKind.ENV, ("Env", "env", "variable")),
        (EntryKind.FILE, ("File", "files", "file")),
    ],
)
def test_a_kind_has_the_words_of_status_spec_and_messages(kind, words):
    assert (kind.value, kind.spec_list, kind.noun) == words


@pytest.mark.parametrize(
    ("kind", "body", "name", "member"),
    [
        (EntryKind.ENV, {"name": "TOKEN"}, "TOKEN", ("name", "TOKEN")),
        (EntryKind.FILE, {"path": "~/.ssh/id"}, "~/.ssh/id", ("path", "~/.ssh/id")),
        (EntryKind.FILE, {"path": "config", "env": "CONFIG"}, "config", ("path", "config")),
        (EntryKind.FILE, {"env": "CONFIG"}, "$CONFIG", ("env", "CONFIG")),
    ],
)
def test_a_name_is_read_from_the_member_of_the_body_that_holds_it(kind, body, name, member):
    assert kind.name_in(body) == name
    assert EntryKey(kind, name).naming_member == member
    assert body[member[0]] == member[1]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EntryKind.ENV, {}),
        (EntryKind.ENV, {"name": 7}),
        (EntryKind.FILE, {}),
        (EntryKind.FILE, {"path": 7, "env": "CONFIG"}),
        (EntryKind.FILE, {"env": 7}),
    ],
)
def test_a_body_without_a_valid_name_has_none(kind, body):
    assert kind.name_in(body) is None


@pytest.mark.parametrize(("kind", "word"), [(EntryKind.ENV, "env"), (EntryKind.FILE, "file")])
def test_a_sealing_context_has_the_words_that_stored_values_are_bound_to(kind, word):
    slot = Slot("acme", Scope.PROJECT, "web", None, "aws")

    context = sealing_context("cluster", "web", "aws", slot, EntryKey(kind, "TOKEN"))

    assert (context.entry_kind, context.entry_name) == (word, "TOKEN")


def test_a_key_is_printed_as_messages_name_the_entry():
    assert str(EntryKey(EntryKind.ENV, "TOKEN")) == "variable 'TOKEN'"
    assert str(EntryKey(EntryKind.FILE, "~/.ssh/id")) == "file '~/.ssh/id'"


def test_a_position_is_a_field_of_the_spec_and_a_json_pointer():
    position = EntryPosition(EntryKind.FILE, 3)

    assert position.field == "spec.files[3]"
    assert position.pointer() == "/spec/files/3"
    assert position.pointer("sealed") == "/spec/files/3/sealed"
