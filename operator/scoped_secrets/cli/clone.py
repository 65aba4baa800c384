"""``scoped-secrets clone``: copy a ScopedSecret, values included, without seeing them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from scoped_secrets.cli.create import effect_lines
from scoped_secrets.cli.options import OPERATOR_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import (
    WRITE_OPTIONS,
    dry_run_of,
    dry_run_words,
    note,
    print_written,
)
from scoped_secrets.cli.secret_input import prompt_twice
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.clone import (
    ClonePlan,
    CloneRequest,
    body_to_copy,
    body_with_values,
    place_of,
    plan_clone,
    sealed_entries,
    wait_until_ready,
)
from scoped_secrets.operations.create import store, take_effect
from scoped_secrets.operations.dry_run import DryRun
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.sealing_plan import PlainEntry
from scoped_secrets.process_hardening import harden_process

__all__ = ["COPY_OPTIONS", "command", "copy_lines", "make_copy"]

COPY_OPTIONS: Sequence[Callable[[Any], Any]] = (
    *PLACE_OPTIONS,
    click.option(
        "--timeout", default=60.0, show_default=True, help="Seconds to wait for the controller to copy the values."
    ),
    *WRITE_OPTIONS,
    *OPERATOR_OPTIONS,
)
"""The options of verbs that copy a ScopedSecret: where it is, and what `make_copy` and `copy_lines` need."""


@click.command(
    "clone",
    epilog=examples(
        "scoped-secrets clone aws aws -p shop",
        "scoped-secrets clone acme-web/aws aws-staging -p web --environment staging",
    ),
)
@click.argument("source", metavar="[NAMESPACE/]SRC")
@click.argument("name", metavar="DST")
@click.option("--object-name", metavar="NAME", help="Name of the new object, by default the bundle's with its scope.")
@add_options(COPY_OPTIONS)
def command(**flags: Any) -> None:
    """Copy a secret with its values, which no one sees; the copy is independent.

    SRC is copied to DST. The flags say where DST goes, as in `create`; without them it goes beside SRC. The controller
    copies the values. This needs the verb `copy` on SRC, because a copy grants access. Without it the command copies
    names, modes and labels, and asks for the values.

    When the command is interrupted, the copy is completed nevertheless; running it again waits for it.
    """
    harden_process(for_good=False)
    stated = place_request(flags)

    with Session(connection(flags)) as session:
        source = session.run(lambda cluster: _find(cluster, flags["source"], stated.current))
        has_place = stated.organization or stated.project or stated.environment or stated.namespace
        request = CloneRequest(
            source=source,
            secret_name=flags["name"],
            place=stated if has_place else place_of(source),
            operator_namespace=flags["operator_namespace"],
            object_name=flags["object_name"],
        )
        planned = session.run(lambda cluster: plan_clone(cluster, request, utc_now()))
        copied = make_copy(session, planned, flags["timeout"], dry_run_of(flags))
    print_written(copied, (), copy_lines(planned, dry_run_words(flags)), flags["output"])


def make_copy(session: Session, planned: ClonePlan, seconds: float, dry_run: DryRun | None) -> Body:
    """Create the copy, if it does not exist, wait until it is ready, and return it; or, as a dry run, only plan it.

    Raises:
        ConfigurationError: Values are needed, and there is no terminal to ask for them.
        UserError: The copy is denied, or cannot be made.
        ClusterError: A request failed.
    """
    if planned.existing is None:
        body = body_to_copy(planned) if planned.may_copy else body_with_values(planned, _typed(planned))
        for text in planned.left_out:
            note(text)
        if dry_run is DryRun.CLIENT:
            return body
        stored = session.run(lambda cluster: store(cluster, body, dry_run=dry_run is not None))
        for text in stored.warnings:
            note(text)
        if dry_run is not None:
            return stored.body
    elif dry_run is not None:
        return planned.existing
    namespace, name = planned.plan.place.namespace, planned.plan.name
    return session.run(
        lambda cluster: wait_until_ready(cluster, namespace, name, seconds, lambda: _tell(planned.location))
    )


def copy_lines(planned: ClonePlan, dry_run: str) -> Iterator[str]:
    """Yield what the copy does among the other definitions, for a person.

    Args:
        planned: The copy.
        dry_run: What a line adds when nothing is stored.
    """
    body = body_to_copy(planned)
    # The inventory takes it for one that is not complete yet.
    del body["spec"]["copyFrom"]
    yield from effect_lines(
        planned.plan, take_effect(planned.plan, body, utc_now()), f"copied{dry_run}" if dry_run else "is ready"
    )


async def _find(cluster: Cluster, text: str, current: str) -> Located:
    namespace, slash, name = text.rpartition("/")
    if slash and not (namespace and name):
        raise ConfigurationError("SRC must be a name, or NAMESPACE/NAME")
    return await locate(cluster, name, PlaceRequest(namespace=namespace or None, current=current), policies=False)


def _typed(planned: ClonePlan) -> list[PlainEntry]:
    """Ask for the values.

    Raises:
        ConfigurationError: There is no terminal.
    """
    needed = sealed_entries(planned.source)
    if needed and not sys.stdin.isatty():
        raise ConfigurationError(
            f"you may not copy ScopedSecret '{planned.source.location}' and there is no terminal to ask for its "
            "values; ask an administrator for the verb `copy` on it, or give the values to `scoped-secrets create`"
        )
    if needed:
        note(f"you may not copy ScopedSecret '{planned.source.location}' (verb `copy`), so its values are asked for")
    return [PlainEntry(each.key, each.mode, SecretValue(prompt_twice(str(each.key))), each.env) for each in needed]


def _tell(location: str) -> None:
    click.echo(f"Waiting for the controller to complete '{location}'; Ctrl-C leaves the request to it", err=True)
