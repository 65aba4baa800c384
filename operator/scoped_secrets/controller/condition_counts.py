"""How many objects say what in their conditions, kept while statuses are looked at.

To count by reading all statuses when somebody asks would stop the process for as long as thousands of them take.
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
    """What the conditions of objects say, by object and in numbers."""

    def __init__(self) -> None:
        """Begin with no object."""
        self._said: dict[Key, tuple[ConditionKey, ...]] = {}
        self._shared: dict[tuple[ConditionKey, ...], tuple[ConditionKey, ...]] = {}
        self._numbers: Counter[tuple[str, ConditionKey]] = Counter()

    def put(self, kind: str, key: Key, conditions: Iterable[Condition]) -> None:
        """Take what the conditions of an object should say now."""
        condition_key = tuple((each.type.value, str(each.is_true), each.reason.value) for each in conditions)
        # Thousands of objects say the same few things.
        condition_key = self._shared.setdefault(condition_key, condition_key)
        if self._said.get(key) is not condition_key:
            self.remove(kind, key)
            self._said[key] = condition_key
            self._numbers.update((kind, each) for each in condition_key)

    def remove(self, kind: str, key: Key) -> None:
        """Forget an object that is gone."""
        for each in self._said.pop(key, ()):
            self._numbers[kind, each] -= 1

    def clear(self) -> None:
        """Forget all."""
        self._said.clear()
        self._numbers.clear()

    def numbers(self) -> Iterator[tuple[str, ConditionKey, int]]:
        """Yield kind, condition and the number of objects; also 0 for what was said before."""
        for (kind, condition_key), number in self._numbers.items():
            yield kind, condition_key, number
