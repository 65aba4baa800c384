"""Packed statuses: what comes back, and how small they are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.kube.packed_status import pack_status, unpack_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "lastTransitionTime": "2026-11-28T17:50:06Z",
        "message": message,
        "observedGeneration": 3,
        "reason": reason,
        "status": status,
        "type": kind,
    }


def typical_status(entries: int) -> dict[str, Any]:
    names = [{"kind": "Env", "name": f"TOKEN_{number}", "fingerprint": f"{number:010x}"} for number in range(entries)]
    return {
        "conditions": [
            condition("Ready", "True", "Available", "jobs of this scope may use it where policy allows"),
            condition("Conflicted", "False", "Unique", "no other definition holds the same slot"),
            condition("Blocked", "False", "NotBlocked", "no wider definition is final"),
        ],
        "entries": [{"changedTime": "2026-11-28T17:50:06Z", **name} for name in names],
        "envCount": entries,
        "fileCount": 0,
        "keyId": "5abc5c457d72ef8d",
        "observedGeneration": 3,
    }


@given(st.dictionaries(st.text(), JSON, max_size=8))
def test_a_packed_status_comes_back_and_packs_the_same_each_time(status: dict[str, Any]):
    packed = pack_status(status)

    assert unpack_status(packed) == status
    assert pack_status(status) == packed


def test_a_status_of_a_hundred_entries_comes_back():
    status = typical_status(100)

    assert unpack_status(pack_status(status)) == status


def test_a_typical_status_is_packed_into_a_fifth_of_its_json():
    status = typical_status(1)

    assert len(pack_status(status)) < len(json.dumps(status)) / 5
