"""Results that are kept beside what they were computed from, so that they are computed once and vanish together."""

from collections.abc import Callable, Hashable, Sized
from typing import Any, Final, TypeVar, TypeVarTuple

__all__ = ["Memo"]

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

# A text takes about a byte for each character, an entry of a collection some hundred.
_CHARACTERS: Final = 100


class Memo:
    """A bounded store of results; its owner drops it, or clears it, when what they were computed from changes.

    Jobs choose what they reference, and a forged review may reference anything. So the sizes of all results, and not
    only their number, have a bound, which includes the results that results own. Beyond it the store begins again.
    """

    __slots__ = ("_results", "_room")

    def __init__(self, capacity: int) -> None:
        """Begin empty.

        Args:
            capacity: The maximum size: one for each result, each part of its key, and each of its entries.
        """
        self._results: dict[Hashable, Any] = {}
        self._room = _Room(capacity, self._results)

    def part(self) -> "Memo":
        """Return a store that a result owns; what it holds counts in this one."""
        part = Memo(0)
        part._room = self._room
        return part

    def __len__(self) -> int:
        """Return the size of all results, those of parts included."""
        return self._room.used

    def get(
        self, key: tuple[Hashable, ...], compute: Callable[[*_Arguments], _Result], *arguments: *_Arguments
    ) -> _Result:
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
            self.keep(key, found)
        return found

    def find(self, key: tuple[Hashable, ...]) -> Any:
        """Return the result under a key; ``None`` when there is none."""
        return self._results.get(key)

    def keep(self, key: tuple[Hashable, ...], result: object) -> None:
        """Store a result, also in place of another one."""
        self._room.take(1 + len(key) + _size_of(result))
        self._results[key] = result

    def clear(self) -> None:
        """Drop all results, those of parts included."""
        self._room.empty()


class _Room:
    """The size that a store and its parts may have together."""

    __slots__ = ("_capacity", "_results", "used")

    def __init__(self, capacity: int, results: dict[Hashable, Any]) -> None:
        self._capacity = capacity
        self._results = results
        self.used = 0

    def take(self, size: int) -> None:
        """Count a new result; drop all others when there is no room."""
        if self.used + size > self._capacity:
            self.empty()
        self.used += size

    def empty(self) -> None:
        self._results.clear()
        self.used = 0


def _size_of(result: object) -> int:
    if isinstance(result, str):
        return len(result) // _CHARACTERS
    return len(result) if isinstance(result, Sized) else 0
