"""What `rotate --keep-previous` keeps, and what it refuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.errors import InvalidObjectError
from scoped_secrets.operations.change_entries import SealedEntries
from scoped_secrets.operations.former_values import with_former_values

A, FILE = EntryKey(EntryKind.ENV, "A"), EntryKey(EntryKind.FILE, ".ssh/id")
UNTIL = datetime(2026, 6, 2, tzinfo=UTC)
NEW = SealedEntries({A: {"name": "A", "sealed": "v1:new"}})
KEPT = {"name": "A_PREVIOUS", "previousOf": "A", "sealed": "v1:old", "expireTime": "2026-06-02T00:00:00Z"}


def body(*env: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"env": list(env), "files": [{"path": ".ssh/id", "sealed": "v1:key"}]}}


@pytest.mark.parametrize("more", [(), ({**KEPT, "sealed": "v1:older"},)], ids=["first", "again"])
def test_the_present_text_becomes_the_former_value(more: tuple[dict[str, Any], ...]):
    result = with_former_values(body({"name": "A", "sealed": "v1:old"}, *more), NEW, [A], UNTIL)

    assert list(result.entries.values()) == [{"name": "A", "sealed": "v1:new"}, KEPT]


@pytest.mark.parametrize(
    ("env", "key", "words"),
    [
        (({"name": "A", "value": "x", "sensitive": False},), A, "has no sealed value to keep"),
        (({"name": "A", "sealed": "v1:a"},), FILE, "--keep-previous is for variables"),
        (({"name": "A", "sealed": "v1:a"}, {"name": "A_PREVIOUS", "sealed": "v1:b"}), A, "is no former value"),
        ((KEPT,), EntryKey(EntryKind.ENV, "A_PREVIOUS"), "rotate 'A' instead"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_remedy(env: tuple[dict[str, Any], ...], key: EntryKey, words: str):
    with pytest.raises(InvalidObjectError, match=words):
        with_former_values(body(*env), NEW, [key], UNTIL)
