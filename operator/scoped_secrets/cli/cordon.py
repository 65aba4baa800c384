"""``scoped-secrets cordon``: deny every new use of a ScopedSecret at once."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import note
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.policies import cordon
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_SHOWN_PODS = 20


@click.command(
    "cordon",
    epilog=examples(
        "scoped-secrets cordon aws -p web --reason 'leaked in a log'",
        "scoped-secrets cordon registry",
    ),
)
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; denials show it, and everyone may read it.")
@add_options(PLACE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Deny every new use of a secret at once; running jobs keep what they have.

    The command writes the SecretPolicy cordon-NAME next to the secret, whose rule is named after the reason.
    `scoped-secrets uncordon` deletes it.
    """
    request = place_request(flags)

    async def act(cluster: Cluster) -> tuple[Located, Stored, Usage]:
        located = await locate(cluster, flags["name"], request, policies=False)
        stored = await cordon(cluster, located, flags["reason"])
        return located, stored, await read_usage(cluster, (located.namespace,))

    with Session(connection(flags)) as session:
        located, stored, usage = session.run(act)
    for text in stored.warnings:
        note(text)
    metadata = stored.body["metadata"]
    policy = f"{metadata['namespace']}/{metadata['name']}"
    click.echo(f"ScopedSecret '{located.location}' cordoned: policy '{policy}' denies new uses")
    pods = usage.pods(str(located.body["metadata"]["uid"]))
    if not usage.is_known:
        click.echo("Still held by: not known, because you may not read pods")
    else:
        more = f" and {len(pods) - _SHOWN_PODS} more" if len(pods) > _SHOWN_PODS else ""
        click.echo(f"Still held by: {', '.join(pods[:_SHOWN_PODS]) or 'no pod that you may read'}{more}")
