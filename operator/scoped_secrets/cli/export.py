"""``scoped-secrets export``: the names of definitions, for another cluster."""

from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import note, serialized
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.cluster_view import Reach, read_view
from scoped_secrets.operations.export_names import exported_names
from scoped_secrets.operations.listing import listed
from scoped_secrets.operations.place import PlaceRequest

__all__ = ["command"]


@click.command(
    "export",
    epilog=examples(
        "scoped-secrets export --names -p web",
        "scoped-secrets export --names -A -o json",
    ),
)
@click.option("--names", "only_names", is_flag=True, help="Required: values are never exported.")
@add_options(PLACE_OPTIONS)
@click.option("--all-namespaces", "-A", is_flag=True, help="Secrets of all namespaces that you may read.")
@click.option("--selector", "-l", metavar="LABELS", help="Only secrets with these labels, as in kubectl.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Print the names of secrets, for `import names` elsewhere; never a value.

    The document has names, scopes, descriptions, labels, variables, paths and modes.
    """
    if not flags["only_names"]:
        raise ConfigurationError("--names must be given: an export has names only, because values are never shown")
    request = place_request(flags)
    is_stated = request.project or request.environment or request.organization or request.namespace
    if not is_stated and not flags["all_namespaces"]:
        request = PlaceRequest(namespace=request.current, current=request.current)
    known = tuple(dict.fromkeys(each for each in (request.namespace, request.current) if each))
    reach = Reach(known, policies=False, selector=flags["selector"] or "", namespace=request.namespace)
    with Session(connection(flags)) as session:
        view = session.run(lambda cluster: read_view(cluster, reach))
    if view.unread:
        note(f"this is not all: your role does not allow to read {', '.join(view.unread)}")
    click.echo(serialized(exported_names(listed(view, request), view.bodies), flags["output"]), nl=False)
