"""``scoped-secrets uncordon``: allow the use of ScopedSecrets again."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words
from scoped_secrets.cli.selection import SELECTION_OPTIONS, Outcome, print_outcomes, selected, selection
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.errors import ScopedSecretsError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.policies import uncordon

__all__ = ["command"]


@click.command(
    "uncordon",
    epilog=examples("scoped-secrets uncordon aws -p web", "scoped-secrets uncordon -l vendor=ci -A"),
)
@click.argument("name", required=False)
@add_options(SELECTION_OPTIONS)
@add_options(PLACE_OPTIONS)
@add_options(WRITE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Allow the use of a cordoned secret again, where other policies allow it.

    The output of -o is the policy that is deleted; there is none for a secret that is not cordoned.
    """
    chosen, dry_run = selection(flags), dry_run_of(flags)

    async def act(cluster: Cluster) -> tuple[list[Outcome], tuple[str, ...]]:
        found, unread = await selected(cluster, chosen)
        outcomes = []
        for located in found:
            try:
                policy = await uncordon(cluster, located, dry_run)
            except ScopedSecretsError as error:
                outcomes.append(Outcome((), failure=f"ScopedSecret '{located.location}': {error}"))
                continue
            state = "is not cordoned" if policy is None else f"uncordoned{dry_run_words(flags)}"
            outcomes.append(Outcome((f"ScopedSecret '{located.location}' {state}",), policy))
        return outcomes, unread

    with Session(connection(flags)) as session:
        outcomes, unread = session.run(act)
    print_outcomes(outcomes, unread, flags["output"])
