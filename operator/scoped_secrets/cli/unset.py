"""``scoped-secrets unset``: remove single entries of a ScopedSecret."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_written
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
@add_options(WRITE_OPTIONS)
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
                cluster, located.body, lambda body: removal(body, keys), dry_run=dry_run_of(flags)
            )
        )
    removed = ", ".join(str(key) for key in keys)
    line = f"ScopedSecret '{located.location}'{dry_run_words(flags)}: removed {removed}"
    print_written(stored.body, stored.warnings, [line], flags["output"])
