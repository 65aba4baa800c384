"""The words of each surface for an entry."""

import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind, EntryPosition
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (EntryKind.ENV, ("Env", "env", "name", "variable")),
        (EntryKind.FILE, ("File", "files", "path", "file")),
    ],
)
def test_a_kind_has_the_words_of_status_spec_and_messages(kind, words):
    assert (kind.value, kind.spec_list, kind.name_field, kind.noun) == words


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
