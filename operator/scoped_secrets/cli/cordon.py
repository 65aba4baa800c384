"""``scoped-secrets cordon``: deny every new use of ScopedSecrets at once."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words
from scoped_secrets.cli.selection import SELECTION_OPTIONS, Outcome, print_outcomes, selected, selection
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.locate import Located
from scoped_secrets.operations.policies import cordon
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_SHOWN_PODS = 20


@click.command(
    "cordon",
    epilog=examples(
        "scoped-secrets cordon aws -p web --reason 'leaked in a log'",
        "scoped-secrets cordon -l vendor=ci -A --reason 'breach of the vendor'",
    ),
)
@click.argument("name", required=False)
@click.option("--reason", default="", metavar="TEXT", help="Why; denials show it, and everyone may read it.")
@add_options(SELECTION_OPTIONS)
@add_options(PLACE_OPTIONS)
@add_options(WRITE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Deny every new use of a secret at once; running jobs keep what they have.

    The command writes the SecretPolicy cordon-NAME next to the secret, whose rule is named after the reason. With -l
    it does so for every secret with these labels. `scoped-secrets uncordon` deletes it.

    Exits with 1 when one of the secrets cannot be cordoned; the others are.
    """
    chosen, dry_run = selection(flags), dry_run_of(flags)

    async def act(cluster: Cluster) -> tuple[list[Outcome], tuple[str, ...]]:
        found, unread = await selected(cluster, chosen)
        stopped: list[tuple[Located, Outcome]] = []
        # All of them are stopped before anything else is read.
        for located in found:
            try:
                stored = await cordon(cluster, located, flags["reason"], dry_run)
            except ScopedSecretsError as error:
                stopped.append((located, Outcome((), failure=f"ScopedSecret '{located.location}': {error}")))
                continue
            policy = f"{stored.body['metadata']['namespace']}/{stored.body['metadata']['name']}"
            done = (
                f"ScopedSecret '{located.location}' cordoned{dry_run_words(flags)}: policy '{policy}' denies new uses"
            )
            stopped.append((located, Outcome((done,), stored.body, stored.warnings)))
        usage = await read_usage(cluster, sorted({each.namespace for each in found}))
        return [outcome.with_line(_held(located, usage)) for located, outcome in stopped], unread

    with Session(connection(flags)) as session:
        outcomes, unread = session.run(act)
    print_outcomes(outcomes, unread, flags["output"])


def _held(located: Located, usage: Usage) -> str:
    if not usage.is_known:
        return "Still held by: not known, because you may not read pods"
    pods = usage.pods(str(located.body["metadata"]["uid"]))
    more = f" and {len(pods) - _SHOWN_PODS} more" if len(pods) > _SHOWN_PODS else ""
    return f"Still held by: {', '.join(pods[:_SHOWN_PODS]) or 'no pod that you may read'}{more}"
