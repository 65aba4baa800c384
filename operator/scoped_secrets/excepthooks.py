"""Hooks for unhandled exceptions: they print types and places, where Python would print the text.

The text of a library's exception can quote the input that it rejects, and the interpreter prints it without any log
handler.
"""

import sys
import threading
from types import TracebackType

from scoped_secrets.tracebacks import describe

__all__ = ["install_excepthooks"]


def install_excepthooks() -> None:
    """Print only type and place of exceptions that end the process or a thread, or that cannot be raised."""
    sys.excepthook = _on_exit
    threading.excepthook = _on_thread_exit
    sys.unraisablehook = _on_unraisable


def _on_exit(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    _print(error)


def _on_thread_exit(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _print(arguments.exc_value)


def _on_unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    if arguments.exc_value is not None:
        _print(arguments.exc_value)


def _print(error: BaseException) -> None:
    # A process may run without standard error.
    if sys.stderr is not None:
        for line in describe(error):
            sys.stderr.write(f"an exception was not handled: {line}\n")
