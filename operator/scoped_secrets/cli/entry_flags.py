"""The entries of a bundle from flags: `-e K=V`, `-e K`, `-e K=@FILE`, `--env-file FILE`, `-f LOCAL:DEST[:MODE]`."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from scoped_secrets.cli.output import note
from scoped_secrets.cli.secret_input import STANDARD_INPUT, prompt_twice, read_local
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.operations.create import lacks_final_newline
from scoped_secrets.operations.sealing_plan import PlainEntry, without_line_break

__all__ = ["ENTRY_OPTIONS", "FILE_OPTION", "EntryInput", "entry_inputs", "read_entries"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODE: Final = re.compile(r"0?[0-7]{3}")
_ENV_FILE_BYTES: Final = 1024 * 1024
_PARTS: Final = 3

FILE_OPTION = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="LOCAL:DEST[:MODE]",
    help="Take what the job finds at DEST from the file LOCAL, byte for byte; '-' is standard input. '$NAME' as DEST "
    "is a file to which the variable NAME points. MODE is octal, 0600 by default.",
)

ENTRY_OPTIONS = (
    click.option(
        "-e",
        "--env",
        "variables",
        multiple=True,
        metavar="K[=V|=@FILE]",
        help="Variable K: prompts for its value, or takes V ('@@' stands for '@' at its beginning), or the content of "
        "FILE without one line break at its end; '-' as FILE is standard input.",
    ),
    click.option(
        "--env-file",
        "env_files",
        multiple=True,
        metavar="FILE",
        help="Variables from a file with lines NAME=VALUE, such as '.env'; '-' is standard input.",
    ),
    FILE_OPTION,
)


@dataclass(frozen=True, slots=True)
class EntryInput:
    """One entry whose value is still to be read.

    Attributes:
        key: The entry.
        mode: The mode of a file as octal text; ``None`` for the default.
        source: The file to read, ``-`` for standard input; ``None`` for a prompt or a value that is given.
        given: The value, where the command line or a file of variables has it.
    """

    key: EntryKey
    mode: str | None = None
    source: str | None = None
    given: SecretValue | None = None

    @property
    def is_prompted(self) -> bool:
        """Tell whether a person is asked for the value."""
        return self.source is None and self.given is None

    def read(self) -> SecretValue:
        """Return the value."""
        if self.given is not None:
            return self.given
        title = str(self.key)
        if self.source is None:
            return SecretValue(prompt_twice(title))
        if self.key.kind is EntryKind.FILE:
            return SecretValue(read_local(self.source, title, FILE_BYTES))
        return SecretValue(without_line_break(read_local(self.source, title, ENV_VALUE_BYTES + len("\r\n"))))


def entry_inputs(variables: Sequence[str], files: Sequence[str], env_files: Sequence[str] = ()) -> list[EntryInput]:
    """Return the entries of the flags, and warn once about values on the command line.

    Raises:
        ConfigurationError: A flag does not have its form, or two of them state one entry.
        EnvFileError: A file of variables breaks a rule.
        InputError: A file of variables cannot be read.
    """
    inputs = [_variable(text) for text in variables]
    if any(each.given is not None for each in inputs):
        note(
            "values on the command line are in the shell's history, and other programs of this machine can read them "
            "while the command runs; -e K prompts for the value, and -e K=@FILE reads it"
        )
    inputs += [_file(text) for text in files]
    _require_one_standard_input([*(each.source for each in inputs), *env_files])
    for path in env_files:
        inputs += _lines(path)
    keys = [each.key for each in inputs]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ConfigurationError(f"{repeated} is given more than once; give each name once")
    return inputs


def read_entries(inputs: Sequence[EntryInput]) -> list[PlainEntry]:
    """Read all values, and warn about those that programs will refuse.

    Files come first, so that a missing file is reported before a person types a value.
    """
    values = {each.key: each.read() for each in sorted(inputs, key=lambda each: each.is_prompted)}
    for key, value in values.items():
        warning = lacks_final_newline(key, value.reveal())
        if warning is not None:
            note(warning)
    return [PlainEntry(each.key, each.mode, values[each.key]) for each in inputs]


def _lines(path: str) -> list[EntryInput]:
    from scoped_secrets.operations.env_file import parse_env_file  # noqa: PLC0415 - only --env-file needs it.

    values = parse_env_file(read_local(path, "--env-file", _ENV_FILE_BYTES))
    return [EntryInput(EntryKey(EntryKind.ENV, name), given=value) for name, value in values.items()]


def _variable(text: str) -> EntryInput:
    name, equals, rest = text.partition("=")
    if _VARIABLE.fullmatch(name) is None:
        # The message omits the text: it is unknown where the value begins.
        raise ConfigurationError(
            "-e must be K, K=V or K=@FILE, where K consists of letters, digits and '_' and does not begin with a digit"
        )
    key = EntryKey(EntryKind.ENV, name)
    if not equals:
        return EntryInput(key)
    if rest.startswith("@") and not rest.startswith("@@"):
        if rest == "@":
            raise ConfigurationError(f"-e {name}=@FILE must name a file; '-' is standard input")
        return EntryInput(key, source=rest[1:])
    return EntryInput(key, given=SecretValue(os.fsencode(rest.removeprefix("@") if rest.startswith("@@") else rest)))


def _file(text: str) -> EntryInput:
    parts = text.split(":")
    mode = parts.pop() if len(parts) == _PARTS else None
    if len(parts) != _PARTS - 1 or not all(parts) or (mode is not None and _MODE.fullmatch(mode) is None):
        raise ConfigurationError(
            "-f must be LOCAL:DEST or LOCAL:DEST:MODE, where LOCAL is a file of this machine, DEST its path in the job "
            "and MODE octal, such as 0600"
        )
    local, destination = parts
    return EntryInput(EntryKey(EntryKind.FILE, destination), mode, source=local)


def _require_one_standard_input(sources: Iterable[Any]) -> None:
    if sum(source == STANDARD_INPUT for source in sources) > 1:
        raise ConfigurationError("standard input can be only one of the values; give the others as files")
