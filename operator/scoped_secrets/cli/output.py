"""How commands print: tables, objects, ages, and notes beside machine-readable output."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from scoped_secrets import names
from scoped_secrets.operations.dry_run import DryRun
from scoped_secrets.timestamps import parse_timestamp

__all__ = [
    "OUTPUT_OPTION",
    "WRITE_OPTIONS",
    "age",
    "dry_run_of",
    "dry_run_words",
    "note",
    "print_notes",
    "print_object",
    "print_objects",
    "print_table",
    "print_unread",
    "print_written",
    "serialized",
]

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_ONE_UNIT_FROM: Final = 2
OUTPUT_OPTION = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "yaml", "json", "name"]),
    default="table",
    show_default=True,
    help="Text for people, the object, or its name.",
)
WRITE_OPTIONS = (
    click.option(
        "--dry-run",
        type=click.Choice([each.value for each in DryRun]),
        help="Store nothing: 'client' sends nothing, and -o yaml prints the object for Git; 'server' has admission "
        "check it.",
    ),
    OUTPUT_OPTION,
)
"""How far a verb that writes goes, and what it prints; `dry_run_of` and `print_written` read them."""


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below a heading, each column as wide as it needs."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_object(body: dict[str, Any], output: str) -> None:
    """Print an object as yaml or json, or its name; one without a kind is a ScopedSecret."""
    if output == "name":
        kind = str(body.get("kind", names.SCOPED_SECRET_KIND))
        click.echo(f"{kind.lower()}.{names.GROUP}/{body['metadata']['name']}")
    else:
        click.echo(serialized(_without_bookkeeping(body), output), nl=False)


def print_objects(bodies: Sequence[dict[str, Any]], output: str) -> None:
    """Print objects as documents of yaml, as one json, or by their names."""
    if output == "json" and len(bodies) > 1:
        items = [_without_bookkeeping(body) for body in bodies]
        click.echo(serialized({"apiVersion": "v1", "kind": "List", "items": items}, output), nl=False)
        return
    for position, body in enumerate(bodies):
        if position and output == "yaml":
            click.echo("---")
        print_object(body, output)


def serialized(document: Any, output: str) -> str:
    """Return a document as the text of the output `json` or `yaml`."""
    if output == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    import yaml  # noqa: PLC0415 - no other output needs it.

    # Through JSON, so that no subclass of `dict` meets the dumper.
    text: str = yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True)
    return text


def print_notes(notes: Iterable[str], output: str) -> None:
    """Print lines for people: on standard output, or beside an output for programs on standard error."""
    for line in notes:
        click.echo(line, err=output != "table")


def print_unread(unread: Sequence[str]) -> None:
    """Warn that a list is not complete."""
    if unread:
        note(f"this is not all: your role does not allow to read {', '.join(unread)}")


def dry_run_of(flags: Mapping[str, Any]) -> DryRun | None:
    """Return what --dry-run says."""
    return None if flags["dry_run"] is None else DryRun(flags["dry_run"])


def dry_run_words(flags: Mapping[str, Any]) -> str:
    """Return what a line about a write adds when nothing is stored."""
    return "" if flags["dry_run"] is None else f" ({flags['dry_run']} dry run)"


def print_written(body: dict[str, Any], warnings: Iterable[str], lines: Iterable[str], output: str) -> None:
    """Print what was written: the warnings of admission, the object for programs, and the lines for people."""
    for text in warnings:
        note(text)
    if output != "table":
        print_object(body, output)
    print_notes(lines, output)


def note(text: str) -> None:
    """Print a warning for a person on standard error."""
    click.echo(f"Warning: {text}", err=True)


def age(timestamp: str, now: datetime) -> str:
    """Return how long ago a time of the API server was, in one unit or two, as kubectl does."""
    moment = parse_timestamp(timestamp)
    if moment is None:
        return "-"
    seconds = max(int((now - moment).total_seconds()), 0)
    if seconds < _ONE_UNIT_FROM * _MINUTE:
        return f"{seconds}s"
    if seconds < _ONE_UNIT_FROM * _HOUR:
        return f"{seconds // _MINUTE}m"
    return f"{seconds // _HOUR}h" if seconds < _ONE_UNIT_FROM * _DAY else f"{seconds // _DAY}d"


def _without_bookkeeping(body: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what field managers keep in it, which no person reads."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {"apiVersion": names.API_VERSION, "kind": names.SCOPED_SECRET_KIND, **body, "metadata": metadata}
