"""``scoped-secrets unset``: remove single entries of a ScopedSecret."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import note
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.operations.change_entries import change_entries, named_entries, removal
from scoped_secrets.operations.locate import locate

__all__ = ["command"]


@click.command(
    "unset",
    epilog=examples(
        "scoped-secrets unset aws AWS_SESSION_TOKEN -p web",
        "scoped-secrets unset deploy .ssh/id_ed25519 -p web --environment production",
    ),
)
@click.argument("name")
@click.argument("keys", nargs=-1, required=True, metavar="K...")
@add_options(PLACE_OPTIONS)
@click.option("--dry-run", type=click.Choice(["server"]), help="Store nothing; admission checks the change.")
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Remove single entries of a secret; nothing else is touched.

    K is the name of a variable, the path of a file as it was given, or '$NAME' of a file without a path.
    """
    request = place_request(flags)
    with Session(connection(flags)) as session:
        located = session.run(lambda cluster: locate(cluster, flags["name"], request, policies=False))
        keys = named_entries(located.body, flags["keys"])
        stored = session.run(
            lambda cluster: change_entries(
                cluster, located.body, lambda body: removal(body, keys), dry_run=flags["dry_run"] is not None
            )
        )
    for text in stored.warnings:
        note(text)
    done = " (server dry run)" if flags["dry_run"] else ""
    click.echo(f"ScopedSecret '{located.location}'{done}: removed {', '.join(str(key) for key in keys)}")
