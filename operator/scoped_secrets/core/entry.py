"""What identifies one entry of a definition, in the words of every surface that names entries.

An entry is a variable or a file. The spec, the status, the sealed texts and the messages have different words for the
two; all of these words are here, so that no other module translates one into another.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = [
    "ENV_VALUE_BYTES",
    "FILE_BYTES",
    "PREVIOUS_DAYS",
    "EntryKey",
    "EntryKind",
    "EntryPosition",
    "file_entry_name",
    "previous_name",
]

ENV_VALUE_BYTES: Final = 32 * 1024
"""The largest value of a variable."""
FILE_BYTES: Final = 512 * 1024
"""The largest content of a file."""
PREVIOUS_DAYS: Final = 90
"""For how many days jobs get the former value of a variable at most."""
_PREVIOUS: Final = "_PREVIOUS"


_WORDS: Final = {"Env": ("env", "env", "variable"), "File": ("files", "file", "file")}


class EntryKind(StrEnum):
    """What a job gets from an entry; the value of a member is the word of statuses."""

    spec_list: str
    """The list in `spec` that holds the entries of this kind."""
    context_word: str
    """The word of sealing contexts and fingerprints.

    It is part of the wire format: with another word, no stored value could be unsealed.
    """
    noun: str
    """The word of messages."""

    ENV = "Env"
    FILE = "File"

    def __init__(self, value: str) -> None:
        """Take the member's words, which are read for every entry of an object."""
        self.spec_list, self.context_word, self.noun = _WORDS[value]

    def name_in(self, entry: Mapping[str, object]) -> str | None:
        """Return the name of an entry as it stands in a body; ``None`` for one without a valid name."""
        if self is EntryKind.ENV:
            name = entry.get("name")
            return name if isinstance(name, str) else None
        path, env = entry.get("path"), entry.get("env")
        if isinstance(path, str) or (path is None and isinstance(env, str)):
            return file_entry_name(path, env if isinstance(env, str) else None)
        return None


def file_entry_name(path: str | None, env: str | None) -> str:
    """Return the name of a file entry: its path, or ``$NAME`` for a file that only the variable NAME points to.

    The API rejects paths that begin with ``$``, so the two cannot be equal.
    """
    return f"${env}" if path is None else path


@dataclass(frozen=True, slots=True)
class EntryKey:
    """The identity of an entry within its definition.

    Attributes:
        kind: Variable or file.
        name: The name of the variable as written in the spec, or what `file_entry_name` returns for the file.
    """

    kind: EntryKind
    name: str

    @property
    def naming_member(self) -> tuple[str, str]:
        """Return the member of the entry's body that holds its name, and the text of that member."""
        if self.kind is EntryKind.ENV:
            return "name", self.name
        return ("env", self.name[1:]) if self.name.startswith("$") else ("path", self.name)

    def __str__(self) -> str:
        """Return the words for the entry in a message, such as `variable 'TOKEN'`."""
        return f"{self.kind.noun} '{self.name}'"


def previous_name(name: str) -> str:
    """Return the name of the variable that holds the former value of a variable."""
    return f"{name}{_PREVIOUS}"


@dataclass(frozen=True, slots=True)
class EntryPosition:
    """Where an entry stands in the object: its list in the spec, and its index in that list."""

    kind: EntryKind
    index: int

    @property
    def field(self) -> str:
        """Return the field path for a message, such as `spec.env[0]`."""
        return f"spec.{self.kind.spec_list}[{self.index}]"

    def pointer(self, *members: str) -> str:
        """Return the JSON pointer to the entry, or to a member of it."""
        return json_pointer("spec", self.kind.spec_list, self.index, *members)
