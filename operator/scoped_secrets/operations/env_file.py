r"""Read a file of variables, such as `.env`.

There is no standard for these files, so these are the rules:

- A line is empty, a comment that begins with `#`, or `NAME=VALUE`, with an optional `export ` in front.
- A value without quotes ends at the end of the line or at ` #`; spaces around it are left off.
- A value in single quotes is taken as it stands and may have several lines.
- A value in double quotes may have several lines; `\n`, `\r`, `\t`, `\"`, `\$` and `\\` stand for one character.
- Behind a closing quote only a comment may follow. Variables are not expanded: `$` is a character like any other.
- Each name occurs once. The text is UTF-8; a byte order mark and the line breaks of Windows are accepted.

A mistake is reported with the number of its line and nothing of its content.
"""

import re
from collections.abc import Iterator
from typing import Final

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError

__all__ = ["EnvFileError", "parse_env_file"]

_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_REST: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SKIPPED: Final = re.compile(r"[ \t]*(?:#[^\n]*)?\n|[ \t]+\Z|[ \t]*#[^\n]*\Z")
_UNQUOTED: Final = re.compile(r"(?:(?![ \t]#)[^\n])*")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r'\\([nrt"$\\])')
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


class EnvFileError(ScopedSecretsError):
    """A file of variables breaks a rule; the message has the number of the line and nothing of its content."""


def parse_env_file(content: bytes, what: str = "--env-file") -> dict[str, SecretValue]:
    """Return the values by name, in the order of the file.

    Args:
        content: The file.
        what: The flag or the words for the file, for messages.

    Raises:
        EnvFileError: A line breaks a rule.
    """
    try:
        text: str | None = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = None
    # Raised outside of the handler: the exception has the bytes of the values.
    if text is None:
        raise EnvFileError(f"{what} must be UTF-8 text; store bytes as a file with -f")
    values: dict[str, SecretValue] = {}
    for line, name, value in _assignments(text.replace("\r\n", "\n"), what):
        if name in values:
            raise EnvFileError(f"{what} must have each name once, but line {line} repeats '{name}'")
        values[name] = SecretValue(value.encode())
    return values


def _assignments(text: str, what: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the line, the name and the value of each assignment."""
    position = 0
    while position < len(text):
        skipped = _SKIPPED.match(text, position)
        if skipped is not None:
            position = skipped.end()
            continue
        line = text.count("\n", 0, position) + 1
        name = _NAME.match(text, position)
        if name is None:
            raise EnvFileError(f"{what} must have NAME=VALUE in line {line}, with a NAME of letters, digits and '_'")
        value, position = _value(text, name.end(), line, what)
        yield line, name[1], value


def _value(text: str, begin: int, line: int, what: str) -> tuple[str, int]:
    """Return the value that begins at a position, and the position behind its line."""
    quote = text[begin : begin + 1]
    if quote not in ("'", '"'):
        match = _UNQUOTED.match(text, begin)
        value = match[0] if match is not None else ""
        end = text.find("\n", begin)
        return value.rstrip(" \t"), len(text) if end < 0 else end + 1
    quoted = (_SINGLE if quote == "'" else _DOUBLE).match(text, begin)
    if quoted is None:
        raise EnvFileError(f"{what} must close the quote that line {line} opens")
    rest = _REST.match(text, quoted.end())
    if rest is None:
        raise EnvFileError(f"{what} must have nothing but a comment behind the value that line {line} begins")
    value = quoted[1] if quote == "'" else _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), quoted[1])
    return value, rest.end()
