"""Random bytes in parts, for writes that need many of them."""

import os
from collections.abc import Iterator

__all__ = ["random_parts"]


def random_parts(size: int, count: int) -> Iterator[bytes]:
    """Yield so many parts of so many bytes from the operating system's randomness.

    They are asked for together, at the first one: each request takes longer than the bytes of a hundred parts.
    """
    content = os.urandom(size * count)
    for start in range(0, len(content), size):
        yield content[start : start + size]
