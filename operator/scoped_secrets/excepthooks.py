"""What is said of an exception that nobody handles: types and places, where Python would print its text.

The text of a foreign exception may quote the input that it refuses, and the last word of a process is printed by the
interpreter itself, past every log handler.
"""

import sys
import threading
from types import TracebackType

from scoped_secrets.logs import describe

__all__ = ["install_excepthooks"]


def install_excepthooks() -> None:
    """Let exceptions that end the process or a thread, or that cannot be raised at all, tell nothing of their texts."""
    sys.excepthook = _at_the_end
    threading.excepthook = _in_a_thread
    sys.unraisablehook = _where_it_cannot_be_raised


def _at_the_end(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    _say(error)


def _in_a_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _say(arguments.exc_value)


def _where_it_cannot_be_raised(arguments: "sys.UnraisableHookArgs") -> None:
    if arguments.exc_value is not None:
        _say(arguments.exc_value)


def _say(error: BaseException) -> None:
    # A process without standard error has nobody to tell.
    if sys.stderr is not None:
        for line in describe(error):
            sys.stderr.write(f"an exception was not handled: {line}\n")
