"""``scoped-secrets rename``: give a ScopedSecret another name."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from scoped_secrets import names
from scoped_secrets.cli.clone import COPY_OPTIONS, copy_lines, make_copy
from scoped_secrets.cli.delete import consequence_lines, typed_name
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.cli.output import dry_run_of, dry_run_words, print_notes, print_written
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.clone import ClonePlan, CloneRequest, place_of, plan_clone
from scoped_secrets.operations.delete import consequences, delete
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.mentions import Mentions, read_mentions
from scoped_secrets.operations.rename import delete_copied
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_FAILED = 1
_SHOWN = 20


@click.command(
    "rename",
    epilog=examples(
        "scoped-secrets rename aws aws-web -p web",
        "scoped-secrets rename aws aws-web -p web --environment production --yes",
    ),
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--yes", "-y", is_flag=True, help="Delete OLD without asking for its name.")
@add_options(COPY_OPTIONS)
def command(**flags: Any) -> None:
    """Give a secret another name: copy it, and delete it under the old name.

    The command copies OLD to NEW in its namespace as `clone` does, waits until NEW is ready, shows who has OLD, and
    asks for its name before it deletes OLD; with --yes or --dry-run it does not ask. It needs the verb `copy` on OLD.
    It lists the workloads, namespaces and policies that name OLD, which you have to change. When the command is
    interrupted, OLD is still there, and running it again continues.
    """
    request, dry_run = place_request(flags), dry_run_of(flags)

    async def prepare(cluster: Cluster) -> tuple[Located, Usage, Mentions, ClonePlan]:
        located = await locate(cluster, flags["old"], request)
        clone = CloneRequest(located, flags["new"], place_of(located), flags["operator_namespace"])
        planned = await plan_clone(cluster, clone, utc_now())
        mentions = await read_mentions(cluster, located, flags["new"])
        return located, await read_usage(cluster, (located.namespace,)), mentions, planned

    with Session(connection(flags)) as session:
        located, usage, mentions, planned = session.run(prepare)
        if not planned.may_copy:
            raise ForbiddenError(
                f"you may not copy ScopedSecret '{located.location}', which renaming needs; ask an administrator for "
                "the verb `copy` on it, or use `scoped-secrets clone`, which asks for the values, and `delete`"
            )
        copied = make_copy(session, planned, flags["timeout"], dry_run)
        print_notes(copy_lines(planned, dry_run_words(flags)), flags["output"])
        print_notes(consequence_lines(located, consequences(located, usage)), flags["output"])
        print_notes(_mention_lines(located.secret_name, flags["new"], mentions), flags["output"])
        if not flags["yes"] and dry_run is None and typed_name() != located.secret_name:
            click.echo(
                f"Error: the name differs; '{located.location}' is kept beside '{planned.location}', and running the "
                "command again continues",
                err=True,
            )
            sys.exit(_FAILED)
        if dry_run is None:
            session.run(lambda cluster: delete_copied(cluster, located, copied))
        else:
            session.run(lambda cluster: delete(cluster, located, dry_run))
    line = f"ScopedSecret '{located.location}' renamed to '{planned.location}'{dry_run_words(flags)}"
    print_written(copied, (), [line], flags["output"])


def _mention_lines(old: str, new: str, mentions: Mentions) -> Iterator[str]:
    """Yield what a person has to change, and how."""
    for found, remedy in (
        (
            mentions.workloads,
            f"write '{new}' in the annotation {names.SECRETS_ANNOTATION} of their pod templates, and in expressions",
        ),
        (
            tuple(f"Namespace {namespace}" for namespace in mentions.namespaces),
            f"write '{new}' in the annotation {names.SECRETS_ANNOTATION}",
        ),
        (
            tuple(f"SecretPolicy {location}" for location in mentions.policies),
            f"they do not govern '{new}': add it to `spec.secrets.names`",
        ),
    ):
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            yield f"To change, because they name '{old}': {', '.join(found[:_SHOWN])}{more}; {remedy}"
    if mentions.unread:
        yield f"May name '{old}', and not read, because your role does not allow it: {', '.join(mentions.unread)}"
