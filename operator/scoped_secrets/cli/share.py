"""``scoped-secrets share``: say which jobs may use a ScopedSecret, without its values."""

from typing import Any, Final

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, NAMESPACE_OPTION, add_options, examples
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_written
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.clock import utc_now
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.effects import Effects, effects_of
from scoped_secrets.operations.locate import locate
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.policies import Audience, effects_with, share

__all__ = ["command"]

_SESSIONS: Final = {
    "exec": "exec",
    "attach": "attach",
    "debug": "ephemeralContainers",
    "port_forward": "portForward",
}


@click.command(
    "share",
    epilog=examples(
        "scoped-secrets share registry --project web --project 'api-*' -n acme",
        "scoped-secrets share aws -n web --deny-exec --deny-attach --deny-debug",
    ),
)
@click.argument("name")
@click.option("--project", "-p", "projects", multiple=True, metavar="NAME", help="Project whose jobs may use it.")
@click.option("--all", "to_all", is_flag=True, help="Let every job of the scope use it.")
@click.option("--none", "to_none", is_flag=True, help="Let no job use it.")
@click.option("--deny-exec/--allow-exec", "exec", default=None, help="Whether to deny kubectl exec and cp in its pods.")
@click.option("--deny-attach/--allow-attach", "attach", default=None, help="Whether to deny kubectl attach.")
@click.option("--deny-debug/--allow-debug", "debug", default=None, help="Whether to deny kubectl debug.")
@click.option(
    "--deny-port-forward/--allow-port-forward", "port_forward", default=None, help="Whether to deny port-forward."
)
@NAMESPACE_OPTION
@add_options(WRITE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Say which jobs may use a secret; its values are not needed.

    The command writes the SecretPolicy share-NAME next to the secret. Other policies that select the secret still
    count: the command prints all of them. What is not stated stays as it is.
    """
    stated = [bool(flags["projects"]), flags["to_all"], flags["to_none"]]
    sessions = {field: flags[flag] for flag, field in _SESSIONS.items() if flags[flag] is not None}
    if sum(stated) > 1:
        raise ConfigurationError("--project, --all and --none exclude each other; give one of them")
    if not any(stated) and not sessions:
        raise ConfigurationError("there is nothing to change; give --project, --all, --none or a flag for sessions")
    audience = Audience(None if flags["to_all"] else tuple(flags["projects"])) if any(stated) else None
    request = PlaceRequest(
        namespace=flags["namespace"], current=current_namespace(flags["kubeconfig"], flags["context"])
    )

    dry_run = dry_run_of(flags)

    async def act(cluster: Cluster) -> tuple[Stored, Effects]:
        located = await locate(cluster, flags["name"], request)
        stored = await share(cluster, located, audience, sessions, dry_run)
        if dry_run is not None:
            return stored, effects_with(located, stored.body, utc_now())
        again = await locate(cluster, located.name, PlaceRequest(namespace=located.namespace))
        return stored, effects_of(again.location, again.view.inventory, utc_now())

    with Session(connection(flags)) as session:
        stored, effects = session.run(act)
    metadata = stored.body["metadata"]
    written = f"SecretPolicy '{metadata['namespace']}/{metadata['name']}' written{dry_run_words(flags)}"
    lines = [written, *(f"Usable by: {line}" for line in effects.access)]
    print_written(stored.body, stored.warnings, lines, flags["output"])
