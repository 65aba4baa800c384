"""Kubernetes objects that may hold values, in a form that no log line or traceback shows."""

import copy
from collections.abc import Mapping
from typing import Any, Final, Never, Self, final

__all__ = ["RedactedDict"]

# The members of a Secret that hold values.
_PRIVATE_MEMBERS: Final = ("data", "stringData")


@final
class RedactedDict(dict[str, Any]):
    """A Kubernetes object as JSON whose content shows only when code reads its members.

    It serializes and compares like any dictionary. Its representation is a constant, so a traceback with variables, a
    formatted message and a debugger show none of it.
    """

    __slots__ = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Return a redacted object whose values stay redacted when they are read alone."""
        private = cls(body)
        for member in _PRIVATE_MEMBERS:
            if isinstance(private.get(member), dict):
                private[member] = cls(private[member])
        return private

    def __repr__(self) -> str:
        """Return a constant."""
        return "RedactedDict(redacted)"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a redacted copy."""
        return type(self)({key: copy.deepcopy(member, memo) for key, member in self.items()})

    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled."""
        raise TypeError("a RedactedDict is not pickled")
