"""JSON pointers (RFC 6901)."""

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.core.json_pointer import json_pointer, parse_json_pointer


@pytest.mark.parametrize(
    ("segments", "pointer"),
    [
        ((), ""),
        (("",), "/"),
        (("spec", "env", 0), "/spec/env/0"),
        (("a/b", "m~n", "~1"), "/a~1b/m~0n/~01"),
    ],
)
def test_segments_are_escaped_and_joined(segments, pointer):
    assert json_pointer(*segments) == pointer


@given(segments=st.lists(st.text(st.sampled_from("~/01a"), max_size=4), min_size=1, max_size=4))
def test_a_pointer_is_parsed_back_into_its_segments(segments):
    assert parse_json_pointer(json_pointer(*segments)) == tuple(segments)


@given(key=st.text(st.sampled_from("~/01a"), min_size=1, max_size=4))
def test_a_json_patch_finds_the_member(key):
    patch = [{"op": "replace", "path": json_pointer("annotations", key), "value": "new"}]

    assert jsonpatch.apply_patch({"annotations": {key: "old"}}, patch) == {"annotations": {key: "new"}}
