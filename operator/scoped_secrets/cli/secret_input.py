"""How values come in: from a prompt without echo, a file or standard input, and never from the command line.

Every user of the machine can see arguments, and the shell's history keeps them; every child process inherits
variables of the environment. So there is no flag that takes a value.
"""

import getpass
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Final

from scoped_secrets.errors import ConfigurationError, ScopedSecretsError

__all__ = ["STANDARD_INPUT", "InputError", "ask_for_file", "prompt_for", "prompt_twice", "read_local"]

STANDARD_INPUT: Final = "-"

# A terminal cuts a line off here without a word: 4,096 bytes with the line break, in the mode that can edit a line.
_TERMINAL_LINE_BYTES: Final = 4095
_KIB: Final = 1024


class InputError(ScopedSecretsError):
    """A value that could not be read; the message says which one and why, and holds nothing of it."""


def prompt_twice(what: str) -> bytes:
    """Ask for a value twice without echo, so that a typing error is not sealed.

    Raises:
        InputError: The two differ, or the terminal cannot take the value.
        ConfigurationError: There is no terminal.
    """
    first = prompt_for(what)
    if first != prompt_for(f"{what}, again"):
        raise InputError(f"the two values for {what} differ; nothing was sealed, start again")
    return first


def prompt_for(what: str) -> bytes:
    """Ask for a value once without echo.

    Raises:
        InputError: The terminal cannot take the value.
        ConfigurationError: There is no terminal.
    """
    try:
        with warnings.catch_warnings():
            # Python would go on with echo, after a warning.
            warnings.simplefilter("error", getpass.GetPassWarning)
            value = getpass.getpass(f"Value for {what}: ").encode("utf-8", "surrogateescape")
    except (getpass.GetPassWarning, EOFError):
        raise ConfigurationError(
            f"there is no terminal to ask for {what}; give the value as a file or on standard input"
        ) from None
    except UnicodeError:
        value = None
    # Raised outside of the handler: the exception has the bytes of the value.
    if value is None:
        raise InputError(f"the value for {what} is no text of this terminal; give it as a file")
    if len(value) >= _TERMINAL_LINE_BYTES:
        raise InputError(f"the value for {what} is longer than a terminal can take in one line; give it as a file")
    return value


def ask_for_file(what: str) -> str:
    """Ask for the path of a local file, at the terminal, also when standard input is a pipe.

    Raises:
        ConfigurationError: There is no terminal, or the answer is empty.
    """
    try:
        terminal = io.TextIOWrapper(io.FileIO(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY), "w+"))
    except OSError:
        raise ConfigurationError(f"there is no terminal to ask for {what}; give its value in a file") from None
    with terminal:
        terminal.write(f"Local file with the content of {what}: ")
        terminal.flush()
        path = terminal.readline().rstrip("\n")
    if not path:
        raise ConfigurationError(f"no file was named for {what}; nothing is stored")
    return path


def read_local(source: str, what: str, limit: int) -> bytes:
    """Read a value from a file of this machine, or from standard input, byte for byte.

    Args:
        source: The file's path; ``-`` for standard input.
        what: What the value is for, for messages.
        limit: The largest size in bytes; no more than that is read.

    Raises:
        InputError: It cannot be read, or it is too large.
    """
    try:
        if source == STANDARD_INPUT:
            content = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(limit + 1)
    except OSError as error:
        # Without the path: the user may have typed the value there by mistake.
        raise InputError(f"the file with the value for {what} cannot be read ({error.strerror})") from None
    if len(content) > limit:
        raise InputError(f"the value for {what} has more than {limit // _KIB} KiB; divide it, or keep it elsewhere")
    return content
