"""Kubernetes objects that may hold values, in a form that shows nothing of them by accident."""

import copy
from collections.abc import Mapping
from typing import Any, Final, Never, Self, final

__all__ = ["RedactedDict"]

# Where the values of a Secret stand.
_PRIVATE_MEMBERS: Final = ("data", "stringData")


@final
class RedactedDict(dict[str, Any]):
    """A Kubernetes object as JSON that is shown only by asking for its members.

    It can be written as JSON and compared like any dictionary. A traceback with variables, a formatted message or a
    debugger's list of arguments has a constant in its place, whatever stands deeper in it.
    """

    __slots__ = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Return an object that is private itself, and whose values are so when somebody takes them out."""
        private = cls(body)
        for member in _PRIVATE_MEMBERS:
            if isinstance(private.get(member), dict):
                private[member] = cls(private[member])
        return private

    def __repr__(self) -> str:
        """Return a constant."""
        return "RedactedDict(redacted)"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy that is as private."""
        return type(self)({key: copy.deepcopy(member, memo) for key, member in self.items()})

    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled."""
        raise TypeError("a RedactedDict is not pickled")
