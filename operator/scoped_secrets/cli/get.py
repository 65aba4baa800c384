"""``scoped-secrets get``: list definitions, the entries of one, or everything that a job can use; names only."""

from collections.abc import Sequence
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples, name_argument
from scoped_secrets.cli.output import age, print_object, print_table, print_unread, serialized
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.operations.cluster_view import ClusterView, Reach, read_view
from scoped_secrets.operations.listing import Row, listed
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_HEADING = ("NAME", "SCOPE", "PROJECT", "ENVIRONMENT", "KEYS", "FILES", "USED", "AGE")
_WIDE = ("NAMESPACE", "OBJECT", "READY")


@click.command(
    "get",
    epilog=examples(
        "scoped-secrets get -p web",
        "scoped-secrets get --effective -p web --environment production",
    ),
)
@name_argument(required=False)
@add_options(PLACE_OPTIONS)
@click.option("--all-namespaces", "-A", is_flag=True, help="Secrets of all namespaces that you may read.")
@click.option("--selector", "-l", metavar="LABELS", help="Only secrets with these labels, as in kubectl.")
@click.option("--effective", is_flag=True, help="Every name that a job of --project can use, with its source.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "yaml", "json", "name"]),
    default="table",
    show_default=True,
    help="Text for people, with more columns, the objects, or their names.",
)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """List secrets, the entries of one, or everything that a job can use.

    Values are never shown: sealed texts stay sealed, sizes are in buckets. USED counts the pods that have the secret
    now; '?' says that you may not read pods. With --effective, jobs of --project and --environment are meant.
    """
    if flags["name"] is not None and (flags["all_namespaces"] or flags["effective"] or flags["selector"]):
        raise ConfigurationError("NAME shows one secret; leave out -A, -l and --effective")
    request = place_request(flags)
    with Session(connection(flags)) as session:
        if flags["name"] is not None:
            from scoped_secrets.cli.get_one import print_one  # noqa: PLC0415 - a list needs none of what it imports.

            print_one(session, flags["name"], request, flags["output"])
        elif flags["effective"]:
            from scoped_secrets.cli.get_effective import print_effective  # noqa: PLC0415 - as above.

            print_effective(session, request, flags["output"])
        else:
            _print_list(session, request, flags)


def _print_list(session: Session, request: PlaceRequest, flags: dict[str, Any]) -> None:
    is_stated = request.project or request.environment or request.organization or request.namespace
    if not is_stated and not flags["all_namespaces"]:
        request = PlaceRequest(namespace=request.current, current=request.current)
    output = flags["output"]
    reach = Reach(request.known, policies=False, selector=flags["selector"] or "", namespace=request.namespace)

    async def read(cluster: Cluster) -> tuple[ClusterView, Usage | None]:
        if output not in ("table", "wide"):
            return await read_view(cluster, reach), None
        return await gather(read_view(cluster, reach), read_usage(cluster, request.known))

    view, usage = session.run(read)
    rows = listed(view, request)
    print_unread(view.unread)
    if output in ("table", "wide"):
        if not rows:
            click.echo("No secrets found.", err=True)
            return
        heading = (*_HEADING, *_WIDE) if output == "wide" else _HEADING
        print_table(heading, [_cells(row, usage, is_wide=output == "wide") for row in rows])
    elif output == "name":
        for row in rows:
            print_object(view.bodies[row.location], output)
    else:
        bodies = [view.bodies[row.location] for row in rows]
        click.echo(serialized(_list(bodies), output), nl=False)


def _cells(row: Row, usage: Usage | None, *, is_wide: bool) -> tuple[str, ...]:
    used = "?" if usage is None or not usage.is_known else str(len(usage.pods(row.uid)))
    namespace, _, name = row.location.partition("/")
    cells = (
        row.secret_name,
        row.scope,
        row.project or "-",
        row.environment or "-",
        str(row.variables),
        str(row.files),
        used,
        age(row.created, utc_now()),
    )
    return (*cells, namespace, name, row.ready) if is_wide else cells


def _list(bodies: Sequence[Body]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
