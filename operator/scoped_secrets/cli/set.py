"""``scoped-secrets set``: store single values in a ScopedSecret, sealed on this machine."""

from typing import Any

import click

from scoped_secrets.cli.entry_flags import FILE_OPTION, entry_inputs, read_entries
from scoped_secrets.cli.options import (
    CONNECTION_OPTIONS,
    OPERATOR_NAMESPACE_OPTION,
    PLACE_OPTIONS,
    add_options,
    examples,
)
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_written
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.change_entries import change_entries, describe_change, plan_set, replacement, seal_for
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]


@click.command(
    "set",
    epilog=examples(
        "scoped-secrets set aws AWS_SECRET_ACCESS_KEY -p web",
        "scoped-secrets set deploy -f ./id_ed25519:.ssh/id_ed25519 -p web --environment production",
    ),
)
@click.argument("name")
@click.argument("keys", nargs=-1, metavar="[K[=V|=@FILE]]...")
@FILE_OPTION
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="Variables from a file, as of `create`.")
@add_options(PLACE_OPTIONS)
@add_options(WRITE_OPTIONS)
@OPERATOR_NAMESPACE_OPTION
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Set single entries of a secret; nothing else is touched.

    K prompts for the value, K=@FILE reads it, and -f takes a file; an entry that exists gets the new value, any other
    is added. When another person changes the secret at the same time, both changes are stored.
    With --dry-run=client -o yaml the output is for Git.
    """
    harden_process(for_good=False)
    inputs = entry_inputs(flags["keys"], flags["files"], flags["env_files"])
    if not inputs:
        raise ConfigurationError("there is nothing to set; give a name of a variable, --env-file or -f")
    request = place_request(flags)
    with Session(connection(flags)) as session:
        plan = session.run(lambda cluster: plan_set(cluster, flags["name"], request, flags["operator_namespace"]))
        sealed = seal_for(plan, read_entries(inputs))
        stored = session.run(
            lambda cluster: change_entries(
                cluster,
                plan.located.body,
                lambda body: replacement(body, sealed),
                dry_run=dry_run_of(flags),
            )
        )
    done = describe_change(replacement(plan.located.body, sealed))
    line = f"ScopedSecret '{plan.located.location}'{dry_run_words(flags)}: {done}"
    print_written(stored.body, stored.warnings, [line], flags["output"])
