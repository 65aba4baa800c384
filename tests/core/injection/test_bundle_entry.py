"""The data keys of entries in bundle Secrets."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import container, definition, granted, home_and_project, inventory, pod_body, sealed
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import data_key
from scoped_secrets.core.resolution.definitions import Entry

DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def variable(name):
    return Entry.variable(name, sealed(""))


def file(path):
    return Entry.file(path, 0o600, sealed(""))


@pytest.mark.parametrize(
    ("sentence", "bundle", "entry", "expected"),
    [
        ("a variable is called by its names", "aws", variable("KEY"), "aws.KEY"),
        ("the longest names that fit", "b" * 63, variable("V" * 189), f"{'b' * 63}.{'V' * 189}"),
    ],
)
def test_data_keys_name_their_entries(sentence, bundle, entry, expected):
    assert data_key(bundle, entry) == expected


@pytest.mark.parametrize(
    "entry", [variable("V" * 190), variable("V" * 255), file("/etc/ä \U0001f511"), file("x" * 512)]
)
def test_names_that_are_not_valid_data_keys_are_hashed(entry):
    assert DATA_KEY.fullmatch(data_key("b" * 63, entry))


def test_no_variable_replaces_resolution_json():
    """Bundle "resolution" with a variable "json" would be ``resolution.json``, which every user may read."""
    assert data_key("resolution", variable("json")) != names.RESOLUTION_FILE
    snapshot = inventory(home_and_project(), [definition("acme/resolution", env={"json": "value"})])
    body = pod_body("resolution", containers=[container(args=["${secrets.resolution.json}"])])
    seen = view(body, granted(body, snapshot))
    assert seen.env["json"] == "value"
    assert seen.args == ("value",)
    assert seen.files[f"{names.MOUNT_PATH}/{names.RESOLUTION_FILE}"].startswith("{")


BUNDLE_NAMES = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?\Z")
VARIABLE_NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z") | st.just("V" * 250)
ENTRIES = VARIABLE_NAMES.map(variable) | st.text(min_size=1, max_size=9).map(file)


@examples(5)
@given(one=st.tuples(BUNDLE_NAMES, ENTRIES), other=st.tuples(BUNDLE_NAMES, ENTRIES))
def test_two_entries_never_share_a_data_key(one, other):
    is_same = one[0] == other[0] and one[1].key == other[1].key
    assert (data_key(*one) == data_key(*other)) == is_same
    assert DATA_KEY.fullmatch(data_key(*one))
