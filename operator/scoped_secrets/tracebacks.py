"""Exceptions as lines that hold no input: types, places, and the messages of this project only."""

from collections.abc import Iterator

from scoped_secrets.errors import ScopedSecretsError

__all__ = ["describe", "one_line"]


def describe(error: BaseException | None) -> Iterator[str]:
    """Yield a line for each exception of a chain, the cause last: type and places, and the project's own messages."""
    import traceback  # noqa: PLC0415 - commands import this module, and few of them fail so.

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # The project's own messages hold no input; others may.
        message = f": {one_line(str(error))}" if isinstance(error, ScopedSecretsError) else ""
        places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
        yield f"{type(error).__qualname__}{message} at {' > '.join(places) or 'unknown'}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def one_line(text: str) -> str:
    """Return the text on one line."""
    return text.replace("\n", "\\n").replace("\r", "\\r")
