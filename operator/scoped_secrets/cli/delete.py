"""``scoped-secrets delete``: delete a ScopedSecret after a look at the consequences."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples, name_argument
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_notes, print_written
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.delete import Consequences, consequences, delete
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command", "consequence_lines", "typed_name"]

_SHOWN_PODS = 20
_FAILED = 1


@click.command(
    "delete",
    epilog=examples(
        "scoped-secrets delete aws -p web",
        "scoped-secrets delete aws -p web --environment production --yes",
    ),
)
@name_argument()
@add_options(PLACE_OPTIONS)
@click.option("--yes", "-y", is_flag=True, help="Delete without asking for the name.")
@add_options(WRITE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Delete a secret, after a look at who has it and what wins afterwards.

    The command asks for the name of the secret; with --yes or --dry-run it does not. Exits with 1 when another
    name is typed.
    """
    request, dry_run = place_request(flags), dry_run_of(flags)

    async def read(cluster: Cluster) -> tuple[Located, Usage]:
        located = await locate(cluster, flags["name"], request, policies=False)
        return located, await read_usage(cluster, (located.namespace,))

    with Session(connection(flags)) as session:
        located, usage = session.run(read)
        print_notes(consequence_lines(located, consequences(located, usage)), flags["output"])
        if not flags["yes"] and dry_run is None and typed_name() != located.secret_name:
            click.echo("Error: the name differs; nothing is deleted", err=True)
            sys.exit(_FAILED)
        session.run(lambda cluster: delete(cluster, located, dry_run))
    line = f"ScopedSecret '{located.location}' deleted{dry_run_words(flags)}"
    print_written(located.body, (), [line], flags["output"])


def typed_name() -> str:
    """Ask for the name of the secret that is to be deleted.

    Raises:
        ConfigurationError: There is no one to ask.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask for the name; give --yes")
    typed: str = click.prompt("Type the name of the secret to delete it", err=True, default="", show_default=False)
    return typed


def consequence_lines(located: Located, found: Consequences) -> Iterator[str]:
    """Yield what a deletion does, for a person."""
    yield f"ScopedSecret '{located.location}', bundle '{located.secret_name}'"
    if not found.are_pods_known:
        yield "Used by: not known, because you may not read pods"
    else:
        more = f" and {len(found.pods) - _SHOWN_PODS} more" if len(found.pods) > _SHOWN_PODS else ""
        keep = "; they keep what they have" if found.pods else ""
        yield f"Used by: {', '.join(found.pods[:_SHOWN_PODS]) or 'no pod that you may read'}{more}{keep}"
    if found.jobs:
        after = f"get '{found.next_winner}'" if found.next_winner else "that name the bundle are denied"
        yield f"Afterwards: {found.jobs} {after}"
    if located.view.unread:
        yield f"Not read, because your role does not allow it: {', '.join(located.view.unread)}"
