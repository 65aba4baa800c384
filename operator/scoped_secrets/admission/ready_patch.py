"""A JSON Patch that is written already."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

from pydantic_core import from_json

__all__ = ["ReadyPatch"]


class ReadyPatch(Sequence[Mapping[str, object]]):
    """At least one operation, as JSON; who looks at single operations reads it.

    Attributes:
        json: The text.
    """

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        """Take the text."""
        self.json = json

    @overload
    def __getitem__(self, index: int) -> Mapping[str, object]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, object]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return operations."""
        return self._read()[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._read())

    def __bool__(self) -> bool:
        """Tell that there are some."""
        return True

    def __eq__(self, other: object) -> bool:
        """Compare the operations."""
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # Operations are dictionaries, which have none.

    def _read(self) -> list[Mapping[str, object]]:
        operations: list[Mapping[str, object]] = from_json(self.json)
        return operations
