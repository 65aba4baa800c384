"""``scoped-secrets get``: list definitions, the entries of one, or everything that a job can use; names only."""

from collections.abc import Sequence
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples, name_argument
from scoped_secrets.cli.output import age, note, print_object, print_table, serialized
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.operations.cluster_view import ClusterView, Reach, read_view
from scoped_secrets.operations.effective import EffectiveEntry, effective_entries
from scoped_secrets.operations.locate import locate
from scoped_secrets.operations.place import PlaceRequest, choose_place
from scoped_secrets.operations.reading import Row, entries_of, listed
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
            _print_one(session, flags["name"], request, flags["output"])
        elif flags["effective"]:
            _print_effective(session, request, flags["output"])
        else:
            _print_list(session, request, flags)


def _print_list(session: Session, request: PlaceRequest, flags: dict[str, Any]) -> None:
    is_stated = request.project or request.environment or request.organization or request.namespace
    if not is_stated and not flags["all_namespaces"]:
        request = PlaceRequest(namespace=request.current, current=request.current)
    output = flags["output"]
    reach = Reach(request.known, policies=False, selector=flags["selector"] or "", namespace=request.namespace)

    async def read(cluster: Cluster) -> tuple[ClusterView, Usage | None]:
        view = await read_view(cluster, reach)
        return view, await read_usage(cluster, request.known) if output in ("table", "wide") else None

    view, usage = session.run(read)
    rows = listed(view, request)
    _tell_unread(view.unread)
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


def _print_one(session: Session, name: str, request: PlaceRequest, output: str) -> None:
    located = session.run(lambda cluster: locate(cluster, name, request, policies=False))
    if output not in ("table", "wide"):
        print_object(located.body, output)
        return
    now = utc_now()
    click.echo(f"ScopedSecret '{located.location}', bundle '{located.secret_name}'")
    print_table(
        ("KIND", "NAME", "SOURCE", "MODE", "SIZE", "FINGERPRINT", "AGE"),
        [
            (
                each.kind.noun,
                each.name,
                each.source,
                each.mode or "-",
                each.size or "-",
                each.fingerprint or "-",
                age(each.changed, now),
            )
            for each in entries_of(located.body)
        ],
    )
    print_conditions(located.body)


def print_conditions(body: Body) -> None:
    """Print the conditions of an object, if the controller has seen it."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    if not conditions:
        click.echo("No status yet: the controller has not seen the object.")
        return
    print_table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        [tuple(str(each.get(key, "")) for key in ("type", "status", "reason", "message")) for each in conditions],
    )


def _print_effective(session: Session, request: PlaceRequest, output: str) -> None:
    if output == "name":
        raise ConfigurationError("--effective has no -o name; use table, wide, yaml or json")
    view = session.run(lambda cluster: read_view(cluster, Reach(request.known)))
    place = choose_place(request, view.bindings)
    path = ScopePath(place.binding.organization, place.project, place.environment)
    entries = effective_entries(view.inventory, path)
    _tell_unread(view.unread)
    if output in ("yaml", "json"):
        click.echo(serialized([_document(entry) for entry in entries], output), nl=False)
        return
    if not entries:
        click.echo(f"No secrets apply to jobs of {place}.", err=True)
        return
    heading: tuple[str, ...] = ("BUNDLE", "NAME", "KIND", "SOURCE", "SCOPE", "GOT BY", "POLICIES")
    rows: list[tuple[str, ...]] = [
        (
            entry.bundle,
            entry.name,
            entry.kind,
            entry.source,
            entry.scope,
            "every job" if entry.is_attached else "reference",
            ", ".join(entry.policies) or "-",
        )
        for entry in entries
    ]
    if output == "wide":
        heading = (*heading, "WINNER", "HIDDEN")
        rows = [(*row, entry.winner, ", ".join(entry.hidden) or "-") for row, entry in zip(rows, entries, strict=True)]
    print_table(heading, rows)


def _document(entry: EffectiveEntry) -> dict[str, Any]:
    return {
        "bundle": entry.bundle,
        "name": entry.name,
        "kind": entry.kind,
        "source": entry.source,
        "scope": entry.scope,
        "winner": entry.winner,
        "hidden": list(entry.hidden),
        "attached": entry.is_attached,
        "policies": list(entry.policies),
    }


def _list(bodies: Sequence[Body]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(bodies)}


def _tell_unread(unread: Sequence[str]) -> None:
    if unread:
        note(f"this is not all: your role does not allow to read {', '.join(unread)}")
