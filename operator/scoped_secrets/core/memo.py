"""Results that are kept beside what they were computed from, so that they are computed once and vanish together."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["Memo"]

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class Memo:
    """A bounded store of results; its owner drops it, or clears it, when what they were computed from changes."""

    __slots__ = ("_capacity", "_results")

    def __init__(self, capacity: int) -> None:
        """Begin empty; with more results than the capacity it begins again."""
        self._capacity = capacity
        self._results: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._results)

    def get(self, key: Hashable, compute: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Return the result under a key, and compute it the first time; a failure is not kept.

        Args:
            key: What the result depends on, beside the owner; it begins with a word for the kind of result.
            compute: Returns the result.
            arguments: What `compute` takes.
        """
        try:
            found: _Result = self._results[key]
        except KeyError:
            found = compute(*arguments)
            if len(self._results) >= self._capacity:
                self._results.clear()
            self._results[key] = found
        return found

    def clear(self) -> None:
        """Drop all results."""
        self._results.clear()
