"""What every kind of `import` has in common: its flags, the values that are asked for, and what is printed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, OPERATOR_NAMESPACE_OPTION, PLACE_OPTIONS
from scoped_secrets.cli.output import OUTPUT_OPTION, note, print_notes, print_objects
from scoped_secrets.cli.secret_input import ask_for_file, prompt_twice, read_local
from scoped_secrets.cli.session import Session, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.core.entry import FILE_BYTES, EntryKey, EntryKind
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.create import lacks_final_newline, take_effect
from scoped_secrets.operations.import_values import values_of_bundles
from scoped_secrets.operations.imports import (
    ImportedBundle,
    PlannedBundle,
    hidden_entries,
    objects_of,
    plan_import,
    store_import,
    with_values,
    without_hidden,
)

__all__ = ["HIDDEN_OPTIONS", "IMPORT_OPTIONS", "SOURCE_BYTES", "run_import"]

SOURCE_BYTES: Final = 8 * 1024 * 1024
_DONE: Final = {None: "created", "client": "created (client dry run)", "server": "created (server dry run)"}

HIDDEN_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--values",
        "values_file",
        metavar="FILE",
        help="Values that the source does not show, in YAML: `BUNDLE: {NAME: VALUE}`; '-' is standard input. Otherwise "
        "they are asked for.",
    ),
    click.option(
        "--skip-hidden", is_flag=True, help="Leave out entries whose values the source does not show; asks for none."
    ),
)

IMPORT_OPTIONS: Sequence[Callable[[Any], Any]] = (
    *PLACE_OPTIONS,
    click.option(
        "--dry-run",
        type=click.Choice(["client", "server"]),
        help="Store nothing: 'client' sends no object, 'server' has admission check them.",
    ),
    OUTPUT_OPTION,
    OPERATOR_NAMESPACE_OPTION,
    *CONNECTION_OPTIONS,
)


def run_import(session: Session, bundles: Sequence[ImportedBundle], flags: Mapping[str, Any]) -> None:
    """Plan, ask for hidden values, seal, store and report.

    Raises:
        ConfigurationError: Nothing is left to import, or a value is missing.
    """
    skips = bool(flags.get("skip_hidden"))
    place = place_request(flags)
    planned = session.run(lambda cluster: plan_import(cluster, bundles, place, flags["operator_namespace"]))
    planned = _completed(planned, flags.get("values_file"), skips=skips)
    if not planned:
        raise ConfigurationError("nothing is left to import: the source shows no value; leave out --skip-hidden")
    objects = [objects_of(each) for each in planned]
    mode = flags["dry_run"]
    everything = [body for bodies in objects for body in bodies]
    if mode != "client":
        stored = session.run(lambda cluster: store_import(cluster, everything, dry_run=mode == "server"))
        everything = [each.body for each in stored]
        for text in dict.fromkeys(text for each in stored for text in each.warnings):
            note(text)
    if flags["output"] != "table":
        print_objects(everything, flags["output"])
    for each, bodies in zip(planned, objects, strict=True):
        print_notes(_report(each, bodies, _DONE[mode]), flags["output"])


def _completed(planned: Sequence[PlannedBundle], values_file: str | None, *, skips: bool) -> list[PlannedBundle]:
    """Return the bundles with values for all hidden entries: from the file first, then from the person."""
    if values_file is not None:
        content = read_local(values_file, "--values", SOURCE_BYTES)
        values = values_of_bundles(content, planned)
        planned = [
            replace(each, bundle=with_values(each.bundle, given)) for each, given in zip(planned, values, strict=True)
        ]
    if skips:
        kept = [replace(each, bundle=without_hidden(each.bundle)) for each in planned]
        return [each for each, old in zip(kept, planned, strict=True) if _has_entries(each.bundle, old.bundle)]
    completed = []
    for each in planned:
        asked = {key: _ask(key, each) for key in hidden_entries(each.bundle)}
        completed.append(replace(each, bundle=with_values(each.bundle, asked)))
    return completed


def _ask(key: EntryKey, planned: PlannedBundle) -> SecretValue:
    what = f"{key} of '{planned.bundle.secret_name}'"
    try:
        if key.kind is EntryKind.FILE:
            return SecretValue(read_local(ask_for_file(what), what, FILE_BYTES))
        return SecretValue(prompt_twice(what))
    except ConfigurationError:
        raise ConfigurationError(
            f"the source does not show the value of {what}; answer at a terminal, give it with --values, or leave such "
            "entries out with --skip-hidden; nothing is stored"
        ) from None


def _has_entries(bundle: ImportedBundle, before: ImportedBundle) -> bool:
    """Tell whether a bundle still has entries, or never had any; tell the person of one that lost all."""
    if bundle.entries or not before.entries:
        return True
    note(f"{bundle.title} is left out: the source shows none of its values")
    return False


def _report(planned: PlannedBundle, bodies: Sequence[Body], done: str) -> Iterator[str]:
    bundle, place = planned.bundle, planned.plan.place
    counts = {kind: sum(entry.key.kind is kind for entry in bundle.entries) for kind in EntryKind}
    yield (
        f"ScopedSecret '{planned.location}' {done}: scope {place.scope}, {place}; {counts[EntryKind.ENV]} variables, "
        f"{counts[EntryKind.FILE]} files"
    )
    if bundle.restriction is not None:
        names = [str(rule["name"]) for rule in bundle.restriction.rules]
        yield f"SecretPolicy '{planned.location}' {done}: rules {', '.join(names) or 'none, so that no job is allowed'}"
    effects = take_effect(planned.plan, bodies[-1], utc_now())
    for words, locations in (("Shadows", effects.shadows), ("Shadowed by", effects.shadowed_by)):
        if locations:
            yield f"{words}: {', '.join(locations)}"
    yield from effects.problems
    yield from (f"Not as before, {bundle.title}: {text}" for text in bundle.notes)
    for entry in bundle.entries:
        warning = None if entry.value is None else lacks_final_newline(entry.key, entry.value.reveal())
        if warning is not None:
            yield f"Warning: {warning}"
