"""``scoped-secrets rotate``: replace values of a ScopedSecret by new ones, typed or random."""

from datetime import timedelta
from typing import Any

import click

from scoped_secrets.cli.durations import duration
from scoped_secrets.cli.entry_flags import EntryInput, read_entries
from scoped_secrets.cli.options import (
    CONNECTION_OPTIONS,
    OPERATOR_NAMESPACE_OPTION,
    PLACE_OPTIONS,
    add_options,
    examples,
)
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_written
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.core.entry import PREVIOUS_DAYS, previous_name
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.change_entries import (
    Change,
    change_entries,
    named_entries,
    plan_set,
    replacement,
    require_entries,
    seal_for,
)
from scoped_secrets.operations.former_values import with_former_values
from scoped_secrets.operations.generate import Recipe, generate
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]


@click.command(
    "rotate",
    epilog=examples(
        "scoped-secrets rotate aws AWS_SECRET_ACCESS_KEY -p web",
        "scoped-secrets rotate session SIGNING_KEY -p web --generate length=64,alphabet=hex --keep-previous 24h",
    ),
)
@click.argument("name")
@click.argument("keys", nargs=-1, required=True, metavar="K...")
@click.option(
    "--generate",
    "recipe",
    metavar="RECIPE",
    help="Random values instead of typed ones, which no one sees: such as 'length=32,alphabet=hex'.",
)
@click.option(
    "--keep-previous",
    metavar="TIME",
    help="Let jobs also get the former value as K_PREVIOUS for this long, such as 24h or 7d, at most 90d.",
)
@add_options(PLACE_OPTIONS)
@add_options(WRITE_OPTIONS)
@OPERATOR_NAMESPACE_OPTION
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Replace values of a secret by new ones; entries that do not exist are refused.

    Without --generate each value is asked for. The next pod gets the new value; running jobs keep what they have. With
    --keep-previous the next pods get the former value too, as K_PREVIOUS, until its time is over.
    """
    harden_process(for_good=False)
    recipe = None if flags["recipe"] is None else Recipe.parse(flags["recipe"])
    kept = None if flags["keep_previous"] is None else _how_long(flags["keep_previous"])
    request = place_request(flags)
    with Session(connection(flags)) as session:
        plan = session.run(lambda cluster: plan_set(cluster, flags["name"], request, flags["operator_namespace"]))
        keys = named_entries(plan.located.body, flags["keys"])
        inputs = [EntryInput(key, given=None if recipe is None else generate(recipe)) for key in keys]
        sealed = seal_for(plan, read_entries(inputs))

        def decide(body: Body) -> Change:
            require_entries(body, keys)
            if kept is None:
                return replacement(body, sealed)
            return replacement(body, with_former_values(body, sealed, keys, utc_now() + kept))

        dry_run = dry_run_of(flags)
        stored = session.run(lambda cluster: change_entries(cluster, plan.located.body, decide, dry_run=dry_run))
    rotated = ", ".join(str(key) for key in keys)
    line = f"ScopedSecret '{plan.located.location}'{dry_run_words(flags)}: rotated {rotated}"
    if kept is not None:
        former = " and ".join(previous_name(key.name) for key in keys)
        line += f"; jobs get the former value as {former} for {flags['keep_previous']}"
    print_written(stored.body, stored.warnings, [line], flags["output"])


def _how_long(text: str) -> timedelta:
    return duration("--keep-previous", text, longest=timedelta(days=PREVIOUS_DAYS))
