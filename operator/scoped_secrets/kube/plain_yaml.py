"""Reads YAML of the plain form in which programs write kubeconfigs, as PyYAML reads it.

PyYAML takes a tenth of the time of a command to import. Here are block mappings and sequences of unquoted words, of
quoted texts without escapes, of `true`, `false`, `null`, `{}` and `[]`. Everything else is left to PyYAML.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["parse_plain"]

# The characters before a key or a value: spaces, and dashes of sequences.
_LINE: Final = re.compile(r"( *)((?:- +)?)(.*)")
_ENTRY: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(?: +(.*))?")
# It begins with what begins no number and no time, and has no character with a meaning. Digits before a letter, with
# which tokens may begin, are a number after `0x` and `0b` only.
_WORD: Final = re.compile(r"(?:[A-Za-z/]|(?!0[xb])[0-9]+[A-Za-z])(?:[A-Za-z0-9_./@=+-]|:(?=[^ ]))*")
_QUOTED: Final = re.compile(r"\"([ !#-\[\]-~]*)\"|'([ -&(-~]*)'")
_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
# What YAML 1.1 also takes for constants, in several spellings.
_OTHER_CONSTANTS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off"})


class _UnusualError(Exception):
    """The text is not of the plain form."""


class _Lines:
    """The parts of lines that are left, the next one last: each with its column, sequences as parts of their own."""

    def __init__(self, text: str) -> None:
        self._parts = list(_parts(text))
        self._parts.reverse()

    @property
    def column(self) -> int:
        """Return the column of the next part, -1 at the end."""
        return self._parts[-1][0] if self._parts else -1

    @property
    def is_item(self) -> bool:
        return bool(self._parts) and self._parts[-1][1] is None

    def take(self) -> str:
        return self._parts.pop()[1] or ""

    def block(self) -> Any:
        """Read a mapping, a sequence or a single value, which begins with the next part."""
        if self.is_item:
            return self._sequence(self.column)
        if _ENTRY.fullmatch(self._parts[-1][1] or ""):
            return self._mapping(self.column)
        return _value(self.take())

    def _sequence(self, column: int) -> list[Any]:
        items = []
        while self.column == column and self.is_item:
            self.take()
            items.append(self.block())
        return items

    def _mapping(self, column: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self.column == column and not self.is_item:
            entry = _ENTRY.fullmatch(self.take())
            if entry is None or entry[1] in members or entry[1].lower() in _OTHER_CONSTANTS:
                raise _UnusualError
            if entry[2]:
                members[entry[1]] = _value(entry[2])
            elif self.column > column or (self.column == column and self.is_item):
                members[entry[1]] = self.block()
            else:
                members[entry[1]] = None
        return members


def parse_plain(text: str) -> dict[str, Any] | None:
    """Return the mapping that a text is, as PyYAML reads it; ``None`` when it is not of the plain form."""
    lines = _Lines(text)
    if lines.column != 0 or lines.is_item:
        return None
    try:
        content = lines.block()
    except _UnusualError:
        return None
    # What is left has another column than everything before it.
    return content if isinstance(content, dict) and lines.column < 0 else None


def _parts(text: str) -> Iterator[tuple[int, str | None]]:
    """Yield column and text of each part; ``None`` is the dash of an item."""
    for line in text.split("\n"):
        match = _LINE.fullmatch(line) if line else None
        if match is not None:
            indent, dash, rest = match.groups()
            if dash:
                yield len(indent), None
            yield len(indent) + len(dash), rest


def _value(text: str) -> Any:
    if text in ("{}", "[]"):
        return {} if text == "{}" else []
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WORD.fullmatch(text) and text.lower() not in _OTHER_CONSTANTS:
        return text
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        raise _UnusualError
    return quoted[quoted.lastindex or 1]
