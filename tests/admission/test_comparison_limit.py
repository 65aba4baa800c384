"""How many different values are compared with a stored one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import entry_key

from scoped_secrets.admission.comparison_limit import COMPARED_VALUES, COMPARISON_SECONDS, ComparisonLimit
from scoped_secrets.crypto.fingerprints import Fingerprint

ENTRY = ("web", "aws", entry_key("env", "TOKEN"))


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def guess(number):
    return Fingerprint(number.to_bytes(16, "little"), bytes(12))


def used_up(clock):
    limit = ComparisonLimit(clock)
    for number in range(COMPARED_VALUES):
        assert not limit.is_reached(*ENTRY)
        limit.add_difference(*ENTRY, guess(number))
    assert limit.is_reached(*ENTRY)
    return limit


def test_limit_is_reached_after_ten_different_values_and_ends_step_by_step():
    clock = Clock()
    limit = used_up(clock)

    reached = []
    for seconds in (359, 1, 0, 359, 1):
        clock.now += seconds
        reached.append(limit.is_reached(*ENTRY))
        if not reached[-1]:
            limit.add_difference(*ENTRY, guess(1000 + len(reached)))

    assert reached == [True, False, True, True, False]


def test_all_comparisons_are_back_after_an_hour():
    clock = Clock()
    limit = used_up(clock)
    clock.now += COMPARISON_SECONDS

    for number in range(COMPARED_VALUES):
        assert not limit.is_reached(*ENTRY)
        limit.add_difference(*ENTRY, guess(100 + number))
    assert limit.is_reached(*ENTRY)


def test_value_that_differs_again_and_again_counts_once():
    limit = ComparisonLimit(Clock())

    for _ in range(1000):
        limit.add_difference(*ENTRY, guess(1))

    assert not limit.is_reached(*ENTRY)


@pytest.mark.parametrize(
    "other",
    [
        ("web", "aws", entry_key("env", "OTHER")),
        ("web", "aws", entry_key("file", "TOKEN")),
        ("web", "other", ENTRY[2]),
        ("other", "aws", ENTRY[2]),
    ],
)
def test_each_entry_has_a_limit_of_its_own(other):
    assert not used_up(Clock()).is_reached(*other)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.floats(0, 7200))
def test_no_order_of_guesses_compares_more_than_the_limit(guesses, duration):
    clock = Clock()
    limit, compared = ComparisonLimit(clock), set()
    for number in guesses:
        clock.now += duration / len(guesses)
        if not limit.is_reached(*ENTRY):
            compared.add(number)
            limit.add_difference(*ENTRY, guess(number))

    assert len(compared) <= COMPARED_VALUES * (1 + duration / COMPARISON_SECONDS) + 1e-6


def test_flood_of_other_entries_neither_resets_the_limit_nor_fills_the_memory():
    limit = used_up(Clock())

    for number in range(50_000):
        limit.add_difference("web", f"other-{number}", ENTRY[2], guess(number))

    assert limit.is_reached(*ENTRY)
    assert len(limit._buckets) <= 8192
