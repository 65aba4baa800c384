"""How values are laid out in bundle Secrets, and what the layout is called."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import BASE, definition, sealed

from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.layout import (
    PART_BYTES,
    RESOLUTION_RESERVE,
    BundleLayout,
    lay_out_bundle,
    part_base,
)
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.resolution.definitions import Entry, SecretKeySource
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

OWNER = definition("acme/aws")
SECRET_LIMIT = 1_048_576
DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def variable(name, size=10):
    return Entry.variable(name, sealed("", size))


def file(path, size=10):
    return Entry.file(path, 0o600, sealed("", size))


def held(key, entry, owner=OWNER):
    return BundleEntry("aws", key, ResolvedEntry(owner, entry))


def lay_out(entries: Iterable[BundleEntry]) -> BundleLayout:
    return lay_out_bundle(BASE, entries, Memo(1))


def layout(*sizes):
    return lay_out(held(f"aws.K{n}", variable(f"K{n}", size)) for n, size in enumerate(sizes))


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
def test_every_entry_is_in_one_secret_within_the_size_limit(sizes):
    planned = layout(*sizes)
    assert [each.data_key for part in planned.parts for each in part.entries] == [
        f"aws.K{n}" for n in range(len(sizes))
    ]
    for index, part in enumerate(planned.parts):
        size = sum(len(each.data_key) + each.resolved.entry.source.size for each in part.entries)
        assert size + (RESOLUTION_RESERVE if index == 0 else 0) <= PART_BYTES < SECRET_LIMIT
        assert part.entries or index == 0
    assert planned.locations() == {each.data_key: part.name for part in planned.parts for each in part.entries}
    assert layout(*sizes) == planned


def taken(secret, key, size=512 * 1024, owner=OWNER):
    return held(key, Entry.file(key, 0o600, SecretKeySource(secret, key, size)), owner)


def plan_of(*entries):
    return lay_out(replace(each, data_key=str(number)) for number, each in enumerate(entries))


def test_files_of_one_native_secret_count_at_most_one_secret_size():
    many = [taken("tls", f"key-{number}") for number in range(50)]

    # Five MiB more may be in the job, and not a byte beyond that.
    assert len(plan_of(*many, *(held("", file(f"f{number}", 512 * 1024)) for number in range(10))).parts) == 60
    with pytest.raises(DeniedError) as caught:
        plan_of(*many, *(held("", file(f"f{number}", 512 * 1024)) for number in range(10)), held("", variable("K", 1)))

    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert "1048576 of them reserved for values of `valueFrom`" in caught.value.message


def test_files_of_several_native_secrets_count_each():
    elsewhere = definition("web/aws")
    six = [taken(f"tls-{number}", key) for number in range(6) for key in ("a", "b", "c")]

    assert plan_of(*six)
    with pytest.raises(DeniedError):
        plan_of(*six, taken("tls-0", "a", owner=elsewhere))


def test_an_entry_that_two_containers_use_is_held_once():
    shared = held("aws.KEY", variable("KEY"))
    assert lay_out([shared, shared]).parts[0].entries == (shared,)


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
