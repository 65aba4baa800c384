"""``scoped-secrets uncordon``: allow the use of a ScopedSecret again."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.policies import uncordon

__all__ = ["command"]


@click.command(
    "uncordon",
    epilog=examples("scoped-secrets uncordon aws -p web", "scoped-secrets uncordon registry"),
)
@click.argument("name")
@add_options(PLACE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Allow the use of a cordoned secret again, where other policies allow it."""
    request = place_request(flags)

    async def act(cluster: Cluster) -> tuple[Located, bool]:
        located = await locate(cluster, flags["name"], request, policies=False)
        return located, await uncordon(cluster, located)

    with Session(connection(flags)) as session:
        located, is_deleted = session.run(act)
    click.echo(f"ScopedSecret '{located.location}' {'uncordoned' if is_deleted else 'is not cordoned'}")
