"""The wrapper of every secret value, from the moment it is read."""

import hmac
from typing import Final, Never, final

__all__ = ["REDACTED", "SecretValue"]

REDACTED: Final = "SecretValue(redacted)"


@final
class SecretValue:
    """Hold secret bytes that can be shown only by asking for them.

    Everything that turns objects into text, copies them or iterates over them is closed, so that a value can not
    reach a log, an exception or a cache by accident. Equality takes constant time and the object has no hash: a hash
    of a guessable value would be a test for guesses.
    """

    __slots__ = ("_content",)

    _content: bytes

    def __init__(self, content: bytes) -> None:
        """Take the bytes; anything else is refused without being shown."""
        # An explicit check: bytes(5) would silently make five zero bytes of a number.
        if not isinstance(content, bytes):
            raise TypeError("a SecretValue takes bytes")
        object.__setattr__(self, "_content", content)

    def reveal(self) -> bytes:
        """Return the secret bytes: the one place that does."""
        return self._content

    @property
    def size(self) -> int:
        """Return the number of bytes, for limits."""
        return len(self._content)

    def __repr__(self) -> str:
        """Return a constant."""
        return REDACTED

    def __str__(self) -> str:
        """Return a constant."""
        return REDACTED

    def __format__(self, format_spec: str, /) -> str:
        """Return a constant, whatever width or precision was asked for."""
        return REDACTED

    def __eq__(self, other: object) -> bool:
        """Compare in constant time, and only with another SecretValue."""
        if not isinstance(other, SecretValue):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    __hash__ = None  # type: ignore[assignment]  # The way in which Python marks a class as unhashable.

    def __setattr__(self, name: str, value: object) -> Never:
        """Refuse: a value does not change."""
        raise AttributeError("a SecretValue is immutable")

    def __delattr__(self, name: str) -> Never:
        """Refuse: a value does not change."""
        raise AttributeError("a SecretValue is immutable")

    # pickle and copy ask these three, in this order; each would hand out the bytes by default.
    def __reduce_ex__(self, protocol: object, /) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError("a SecretValue is neither pickled nor copied")

    def __reduce__(self) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError("a SecretValue is neither pickled nor copied")

    def __getstate__(self) -> Never:
        """Refuse to show the state."""
        raise TypeError("a SecretValue is neither pickled nor copied")
