"""``scoped-secrets create``: create a ScopedSecret as in a CI system, with values sealed on this machine."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from scoped_secrets.cli.entry_flags import ENTRY_OPTIONS, entry_inputs, read_entries
from scoped_secrets.cli.options import (
    CONNECTION_OPTIONS,
    OPERATOR_NAMESPACE_OPTION,
    PLACE_OPTIONS,
    add_options,
    examples,
    name_argument,
)
from scoped_secrets.cli.output import OUTPUT_OPTION, note, print_notes, print_object
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.core.resolution.definitions import Attach, Override
from scoped_secrets.crypto.loading import load_in_background
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.create import NewSecret, Plan, plan_create, sealed_body, store, take_effect
from scoped_secrets.operations.effects import Effects
from scoped_secrets.process_hardening import harden_process
from scoped_secrets.timestamps import parse_timestamp, rfc3339

__all__ = ["command", "effect_lines"]

_DAYS: Final = re.compile(r"([1-9][0-9]{0,3})d?")
_DONE: Final = {None: "created", "client": "created (client dry run)", "server": "created (server dry run)"}


@click.command(
    "create",
    epilog=examples(
        "scoped-secrets create aws -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY -p web",
        "scoped-secrets create deploy -f ~/.ssh/id_ed25519:.ssh/id_ed25519 -p web --environment production",
    ),
)
@name_argument()
@add_options(ENTRY_OPTIONS)
@add_options(PLACE_OPTIONS)
@click.option("--description", "-d", metavar="TEXT", help="What the bundle is for; everyone may read it.")
@click.option("--label", "-l", "labels", multiple=True, metavar="K=V", help="Label, by which policies select it.")
@click.option(
    "--override",
    type=click.Choice([each.value for each in Override]),
    help="What happens to wider definitions: Replace hides them (default), Merge adds their entries.",
)
@click.option("--final", is_flag=True, help="Ignore narrower definitions; counts in the organization's home only.")
@click.option(
    "--attach",
    type=click.Choice([each.value for each in Attach]),
    help="Which jobs get it: those that name it (default), or Always every one of the scope.",
)
@click.option("--expires", metavar="TIME", help="Time from which jobs are denied, as RFC 3339 or YYYY-MM-DD (UTC).")
@click.option("--rotate-every", metavar="DAYS", help="Days after which the values should be replaced, such as 90d.")
@click.option("--object-name", metavar="NAME", help="Name of the object, by default the bundle's with its scope.")
@click.option(
    "--dry-run",
    type=click.Choice(["client", "server"]),
    help="Store nothing: 'client' sends no object, 'server' has admission check it.",
)
@OUTPUT_OPTION
@OPERATOR_NAMESPACE_OPTION
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Create a secret of an organization, a project or an environment.

    Without --project it is for the organization, with --project for the project, with --environment too for the
    environment. The labels of the namespaces tell where it is stored; -n decides between several.

    Values are sealed on this machine before they are sent. With --dry-run=client -o yaml the output is for Git.
    """
    harden_process(for_good=False)
    inputs = entry_inputs(flags["variables"], flags["files"], flags["env_files"])
    if not inputs:
        raise ConfigurationError("there is nothing to store; give -e, --env-file or -f")
    request = NewSecret(
        secret_name=flags["name"],
        place=place_request(flags),
        operator_namespace=flags["operator_namespace"],
        object_name=flags["object_name"],
        spec=dict(_spec(flags)),
        labels=_labels(flags["labels"]),
    )
    load_in_background()
    with Session(connection(flags)) as session:
        plan = session.run(lambda cluster: plan_create(cluster, request))
        body = sealed_body(plan, request, read_entries(inputs))
        effects = take_effect(plan, body, utc_now())
        warnings: Sequence[str] = ()
        if flags["dry_run"] != "client":
            is_dry = flags["dry_run"] == "server"
            stored = session.run(lambda cluster: store(cluster, body, dry_run=is_dry))
            body, warnings = stored.body, stored.warnings
    for text in warnings:
        note(text)
    if flags["output"] != "table":
        print_object(body, flags["output"])
    print_notes(effect_lines(plan, effects, _DONE[flags["dry_run"]]), flags["output"])


def effect_lines(plan: Plan, effects: Effects, done: str) -> Iterator[str]:
    """Yield what a new object does, for the person who creates it."""
    yield f"ScopedSecret '{plan.place.namespace}/{plan.name}' {done}: scope {plan.place.scope}, {plan.place}"
    yield f"Shadows: {', '.join(effects.shadows) or 'nothing'}"
    yield f"Shadowed by: {', '.join(effects.shadowed_by) or 'nothing'}"
    yield from effects.problems
    yield from (f"Usable by: {line}" for line in effects.access)
    if plan.view.unread:
        yield f"Not read, because your role does not allow it: {', '.join(plan.view.unread)}"


def _spec(flags: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the spec that are neither entries nor part of the place."""
    yield from ((field, flags[field]) for field in ("description", "override", "attach") if flags[field] is not None)
    if flags["final"]:
        yield "final", True
    if flags["rotate_every"] is not None:
        match = _DAYS.fullmatch(flags["rotate_every"])
        if match is None:
            raise ConfigurationError("--rotate-every must be a number of days, such as 90d")
        yield "rotation", {"intervalDays": int(match[1])}
    if flags["expires"] is not None:
        text = flags["expires"]
        moment = parse_timestamp(text if "T" in text else f"{text}T00:00:00+00:00")
        if moment is None:
            raise ConfigurationError("--expires must be a time such as 2027-01-31T12:00:00Z, or a date in UTC")
        yield "expireTime", rfc3339(moment)


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels = dict(text.partition("=")[::2] for text in texts)
    if any("=" not in text for text in texts):
        raise ConfigurationError("--label must be K=V, such as tier=production")
    return labels
