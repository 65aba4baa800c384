"""Editing a definition as text: what stays, what is sealed, what is refused, and what nobody else may lose."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests.support.texts import open_text

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.operations.editing import (
    PLACEHOLDER,
    EditError,
    conflicts,
    edited_object,
    edits_of,
    text_of,
    with_reason,
)

CANARY = "canary-b1570e"
RING = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
CERTIFICATE = SealingCertificate("cluster", RING.public())
SLOT = Slot("acme", Scope.PROJECT, "web", None, "aws")
A, B = EntryKey(EntryKind.ENV, "A"), EntryKey(EntryKind.ENV, "B")
KEY = EntryKey(EntryKind.FILE, ".ssh/id")


def sealed(key: EntryKey, value: str) -> str:
    context = sealing_context("cluster", "web", "aws", SLOT, key)
    return seal(SecretValue(value.encode()), context, RING.public().active, None)


BODY: dict[str, Any] = {
    "metadata": {"name": "aws", "namespace": "web", "resourceVersion": "1", "labels": {"tier": "test"}},
    "spec": {
        "scope": "Project",
        "description": "for the test",
        "env": [
            {"name": "A", "sealed": sealed(A, "a")},
            {"name": "B", "sealed": sealed(B, "b")},
            {"name": "PLAIN", "value": "yes", "sensitive": False},
            {"name": "SOURCE", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k", "optional": True}}},
        ],
        "files": [{"path": ".ssh/id", "mode": "0400", "sealed": sealed(KEY, "key")}],
    },
}


def edited(change, base=BODY):
    """Return what is stored after a change of the text's document."""
    document = yaml.safe_load(text_of(base))
    change(document)
    edits = edits_of(yaml.safe_dump(document), base, SLOT, CERTIFICATE)
    return edited_object(edits, base)


def opened(body, key):
    entry = next(each for each in body["spec"][key.kind.spec_list] if key.kind.name_in(each) == key.name)
    context = sealing_context("cluster", "web", "aws", SLOT, key)
    return open_text(body["spec"], entry["sealed"], context, RING).decode()


def test_text_shows_every_entry_and_no_sealed_text():
    text = text_of(BODY)
    assert "v1:" not in text
    assert text.count(f"'{PLACEHOLDER}'") == 4
    assert all(name in text for name in ("A", "B", "PLAIN", "SOURCE", ".ssh/id", "0400", "for the test", "tier"))


def test_text_that_is_saved_as_it_is_changes_nothing():
    assert not edits_of(text_of(BODY), BODY, SLOT, CERTIFICATE)
    assert not edits_of(text_of(BODY).replace(f"'{PLACEHOLDER}'", PLACEHOLDER), BODY, SLOT, CERTIFICATE)


def test_typed_value_is_sealed_and_every_other_entry_keeps_its_text():
    body = edited(lambda document: document["env"][0].update(value=CANARY))
    assert opened(body, A) == CANARY
    assert body["spec"]["env"][1:] == BODY["spec"]["env"][1:]
    assert body["spec"]["files"] == BODY["spec"]["files"]


@pytest.mark.parametrize("value", ["yes", "012", "null", "~", "2026-01-01", "1e3", "", "# x"])
def test_value_is_the_text_that_was_typed(value):
    assert opened(edited(lambda document: document["env"][0].update(value=value)), A) == value


@pytest.mark.parametrize("value", ["yes", "012", "null", "1e3"])
def test_value_without_quotes_is_the_text_that_was_typed(value):
    text = text_of(BODY).replace(f"value: '{PLACEHOLDER}'", f"value: {value}", 1)
    assert f"value: {value}\n" in text
    assert opened(edited_object(edits_of(text, BODY, SLOT, CERTIFICATE), BODY), A) == value


def test_object_without_files_or_labels_is_edited_too():
    bare = {**BODY, "metadata": {"name": "aws", "namespace": "web"}, "spec": {"scope": "Project"}}
    assert not edits_of(text_of(bare), bare, SLOT, CERTIFICATE)
    body = edited(lambda document: document["files"].append({"env": "CONFIG", "content": CANARY}), bare)
    assert opened(body, EntryKey(EntryKind.FILE, "$CONFIG")) == CANARY
    assert body["spec"].keys() == {"scope", "files", "dataKeys"}


def test_entries_and_fields_come_and_go():
    def change(document):
        del document["env"][1], document["description"]
        document["env"].append({"name": "NEW", "value": CANARY})
        document["files"][0]["mode"] = "0440"
        document["rotation"] = {"intervalDays": "90"}
        document["final"] = "true"
        document["labels"] = {"tier": "other"}

    body = edited(change)
    assert [entry["name"] for entry in body["spec"]["env"]] == ["A", "PLAIN", "SOURCE", "NEW"]
    assert opened(body, KEY) == "key"
    assert body["spec"]["files"][0]["mode"] == "0440"
    assert "description" not in body["spec"]
    assert (body["spec"]["rotation"], body["spec"]["final"]) == ({"intervalDays": 90}, True)
    assert body["metadata"]["labels"] == {"tier": "other"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document["env"].append({"name": "NEW", "value": PLACEHOLDER}), "variable 'NEW' is new"),
        (lambda document: document["files"][0].update(path="other"), "file 'other' is new"),
        (lambda document: document["env"].append({"name": "A", "value": CANARY}), "repeats variable 'A'"),
        (lambda document: document["env"].append({"name": "C"}), "variable 'C' must have one value"),
        (lambda document: document["env"].append({"value": CANARY}), "`env[4]` must have a name"),
        (lambda document: document["env"][0].update(value=[CANARY]), "`env[0]` must have text in `value`"),
        (lambda document: document["env"][0].update(vaule=CANARY), "`env[0]` must have a name and the fields"),
        (lambda document: document["env"][0].update(sensitive=False), "to become plain configuration"),
        (lambda document: document["files"][0].update(content=None, contentBase64=CANARY), "must have one value"),
        (lambda document: document.update(scope="Organization"), "has a field that is none of"),
        (lambda document: document.update(env=CANARY), "`env` must be a list"),
    ],
)
def test_mistake_names_its_place_and_not_the_value(change, words):
    with pytest.raises(EditError) as raised:
        edited(change)
    assert words in str(raised.value)
    assert CANARY not in str(raised.value)


def test_text_that_is_no_yaml_names_the_line_and_has_no_context():
    with pytest.raises(EditError, match="line 3 is no YAML") as raised:
        edits_of(f"env:\n- {{name: A, value: '{CANARY}\n", BODY, SLOT, CERTIFICATE)
    assert raised.value.__context__ is None


def test_object_that_breaks_a_rule_is_refused_without_the_value():
    with pytest.raises(InvalidObjectError) as raised:
        edited(lambda document: document["env"].append({"name": "1BAD", "value": CANARY}))
    assert CANARY not in raised.value.message


def test_change_of_another_person_stays_and_the_same_entry_is_a_conflict():
    document = yaml.safe_load(text_of(BODY))
    document["env"][0]["value"] = CANARY
    edits = edits_of(yaml.safe_dump(document), BODY, SLOT, CERTIFICATE)
    other = copy.deepcopy(BODY)
    other["spec"]["env"][1]["sealed"] = sealed(B, "other")
    other["spec"]["env"].append({"name": "THEIRS", "sealed": sealed(EntryKey(EntryKind.ENV, "THEIRS"), "x")})

    assert conflicts(edits, BODY, other) == []
    body = edited_object(edits, other)
    assert (opened(body, A), opened(body, B)) == (CANARY, "other")
    assert body["spec"]["env"][-1] == other["spec"]["env"][-1]

    other["spec"]["env"][0]["sealed"] = sealed(A, "theirs")
    assert conflicts(edits, BODY, other) == ["variable 'A'"]


def test_reason_stands_once_at_the_top():
    once = with_reason("text\n", "first\nreason")
    assert once == "#! first reason\ntext\n"
    assert with_reason(once, "second") == "#! second\ntext\n"
    assert with_reason(once, "") == "text\n"
