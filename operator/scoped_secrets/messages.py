"""Parts of messages for people."""

from collections.abc import Iterable

__all__ = ["quoted_names"]


def quoted_names(names: Iterable[str], most: int) -> str:
    """Return names in quotes and in order for a message: at most so many, and the number of the others."""
    ordered = sorted(names)
    shown = ", ".join(f"'{name}'" for name in ordered[:most])
    more = len(ordered) - most
    return f"{shown} and {more} more" if more > 0 else shown
