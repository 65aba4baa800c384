"""How values are laid out in bundle Secrets, and what the layout is called."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import BASE, container, definition, granted, home_and_project, inventory, pod_body, sealed
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.injection.layout import PART_BYTES, RESOLUTION_RESERVE, data_key, lay_out_bundle, part_base
from scoped_secrets.core.resolution.definitions import EnvEntry, FileEntry, SecretKeySource
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

OWNER = definition("acme/aws")
SECRET_LIMIT = 1_048_576
DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def variable(name, size=10):
    return Contribution(OWNER, EnvEntry(name, sealed("", size)))


def file(path, size=10):
    return Contribution(OWNER, FileEntry(path, 0o600, sealed("", size)))


@pytest.mark.parametrize(
    ("sentence", "bundle", "contribution", "expected"),
    [
        ("a variable is called by its names", "aws", variable("KEY"), "aws.KEY"),
        ("the longest names that fit", "b" * 63, variable("V" * 189), f"{'b' * 63}.{'V' * 189}"),
    ],
)
def test_data_keys_tell_what_they_hold(sentence, bundle, contribution, expected):
    assert data_key(bundle, contribution) == expected


@pytest.mark.parametrize(
    "contribution", [variable("V" * 190), variable("V" * 255), file("/etc/ä \U0001f511"), file("x" * 512)]
)
def test_names_that_are_no_data_key_are_hashed(contribution):
    assert DATA_KEY.fullmatch(data_key("b" * 63, contribution))


def test_no_variable_takes_the_place_of_the_provenance():
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
    def name(entry):
        return (type(entry), entry.name if isinstance(entry, EnvEntry) else entry.path)

    is_same = one[0] == other[0] and name(one[1].entry) == name(other[1].entry)
    assert (data_key(*one) == data_key(*other)) == is_same
    assert DATA_KEY.fullmatch(data_key(*one))


def layout(*sizes):
    return lay_out_bundle(BASE, [(f"aws.K{n}", variable(f"K{n}", size)) for n, size in enumerate(sizes)])


def test_a_job_without_entries_has_one_secret_for_its_provenance():
    assert [part.name for part in layout().parts] == [f"{BASE}-0"]
    assert layout().parts[0].entries == ()


def test_small_jobs_have_one_secret_and_large_ones_several():
    half = 512 * 1024
    assert len(layout(*[1000] * 100).parts) == 1
    assert [len(part.entries) for part in layout(half, half, half).parts] == [1, 1, 1]
    assert [part.name for part in layout(half, half).parts] == [f"{BASE}-0", f"{BASE}-1"]


@examples(4)
@given(sizes=st.lists(st.integers(0, 512 * 1024), max_size=11))
def test_every_entry_is_in_one_secret_that_the_api_server_takes(sizes):
    planned = layout(*sizes)
    assert [key for part in planned.parts for key, _ in part.entries] == [f"aws.K{n}" for n in range(len(sizes))]
    for index, part in enumerate(planned.parts):
        held = sum(len(key) + contribution.entry.source.size for key, contribution in part.entries)
        assert held + (RESOLUTION_RESERVE if index == 0 else 0) <= PART_BYTES < SECRET_LIMIT
        assert part.entries or index == 0
    assert planned.locations() == {key: part.name for part in planned.parts for key, _ in part.entries}
    assert layout(*sizes) == planned


def taken(secret, key, size=512 * 1024, owner=OWNER):
    return Contribution(owner, FileEntry(key, 0o600, SecretKeySource(secret, key, size)))


def plan_of(*contributions):
    return lay_out_bundle(BASE, [(str(number), contribution) for number, contribution in enumerate(contributions)])


def test_files_of_one_native_secret_count_as_what_a_secret_can_hold():
    many = [taken("tls", f"key-{number}") for number in range(50)]

    # Five MiB more may be in the job, and not a byte beyond that.
    assert len(plan_of(*many, *(file(f"f{number}", 512 * 1024) for number in range(10))).parts) == 60
    with pytest.raises(DeniedError) as caught:
        plan_of(*many, *(file(f"f{number}", 512 * 1024) for number in range(10)), variable("K", 1))

    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert "1048576 of them reserved for values of `valueFrom`" in caught.value.message


def test_files_of_several_native_secrets_count_each():
    elsewhere = definition("web/aws")
    six = [taken(f"tls-{number}", key) for number in range(6) for key in ("a", "b", "c")]

    assert plan_of(*six)
    with pytest.raises(DeniedError):
        plan_of(*six, taken("tls-0", "a", owner=elsewhere))


def test_an_entry_that_two_containers_use_is_held_once():
    shared = ("aws.KEY", variable("KEY"))
    assert lay_out_bundle(BASE, [shared, shared]).parts[0].entries == (shared,)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (f"{BASE}-0", BASE),
        (f"{BASE}-17", BASE),
        (BASE, None),
        (f"{BASE}-x", None),
        (f"{BASE}-", None),
        (f"{BASE}-٣", None),
        ("other-0", None),
        ("", None),
    ],
)
def test_parts_are_known_by_their_names(name, base):
    assert part_base(name) == base
