"""Counts how many objects have which condition, updated as statuses are reconciled.

Counting all statuses for each scrape of the metrics would block the event loop while it reads thousands of them.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeAlias, TypeVar

from scoped_secrets.core.status import Condition

__all__ = ["ConditionCounts", "ConditionKey"]

Key = TypeVar("Key", bound=Hashable)

ConditionKey: TypeAlias = tuple[str, str, str]
"""Type, status and reason of one condition."""


class ConditionCounts(Generic[Key]):
    """The conditions of objects, by object and in numbers."""

    def __init__(self) -> None:
        """Begin with no object."""
        self._by_object: dict[Key, tuple[ConditionKey, ...]] = {}
        self._shared: dict[tuple[ConditionKey, ...], tuple[ConditionKey, ...]] = {}
        self._numbers: Counter[tuple[str, ConditionKey]] = Counter()

    def put(self, kind: str, key: Key, conditions: Iterable[Condition]) -> None:
        """Record the conditions that an object should have now."""
        condition_key = tuple((each.type.value, str(each.is_true), each.reason.value) for each in conditions)
        # Thousands of objects share a few combinations of conditions.
        condition_key = self._shared.setdefault(condition_key, condition_key)
        if self._by_object.get(key) is not condition_key:
            self.remove(kind, key)
            self._by_object[key] = condition_key
            self._numbers.update((kind, each) for each in condition_key)

    def remove(self, kind: str, key: Key) -> None:
        """Forget a deleted object."""
        for each in self._by_object.pop(key, ()):
            self._numbers[kind, each] -= 1

    def clear(self) -> None:
        """Forget all."""
        self._by_object.clear()
        self._numbers.clear()

    def numbers(self) -> Iterator[tuple[str, ConditionKey, int]]:
        """Yield kind, condition and the number of objects; also 0 for a condition that no object has any more."""
        for (kind, condition_key), number in self._numbers.items():
            yield kind, condition_key, number
