"""The store of results."""

import pytest

from scoped_secrets.core.memo import Memo


def test_a_result_is_computed_once_until_the_store_is_cleared():
    memo = Memo(10)
    calls: list[str] = []

    def compute() -> str:
        calls.append("computed")
        return "result"

    assert [memo.get(("key", 1), compute) for _ in range(3)] == ["result"] * 3
    assert len(calls) == 1

    memo.clear()

    assert memo.get(("key", 1), compute) == "result"
    assert len(calls) == 2


def test_an_empty_result_is_a_result():
    memo = Memo(10)
    results = iter([None, "another"])

    assert memo.get(("key",), lambda: next(results)) is None
    assert memo.get(("key",), lambda: next(results)) is None


def test_a_failure_is_not_kept():
    memo = Memo(10)

    def fail() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        memo.get(("key",), fail)

    assert memo.get(("key",), lambda: "result") == "result"


def test_its_size_has_a_bound():
    memo = Memo(100)

    for number in range(1000):
        assert memo.get(("key", number), list, range(number % 50)) == list(range(number % 50))
        assert len(memo) <= 100


def test_what_results_own_counts_and_goes_with_them():
    memo = Memo(100)
    parts = []

    def compute() -> list[Memo]:
        parts.append(memo.part())
        return parts[-1:]

    (part,) = memo.get(("owner",), compute)
    for number in range(90):
        part.get((number,), int, number)
        assert len(memo) == len(part) <= 100

    assert len(parts) == 1
    memo.get(("owner",), compute)
    # Its own results have taken all the room, so that it went.
    assert len(parts) == 2
