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


def test_it_holds_at_most_its_capacity():
    memo = Memo(3)

    for number in range(100):
        assert memo.get((number,), int, number) == number
        assert len(memo) <= 3
