"""``scoped-secrets report``: what a person should look at among the definitions."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import note, print_table, serialized
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.cluster_view import ClusterView, Reach, read_view
from scoped_secrets.operations.listing import listed
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.report import Finding, Limits, findings
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_DAYS: Final = re.compile(r"([0-9]{1,4})d?")
_ALL: Final = Limits(stale=timedelta(days=90), unused=timedelta(days=30), expiring=timedelta(days=14), duplicates=True)


@click.command(
    "report",
    epilog=examples(
        "scoped-secrets report -p web",
        "scoped-secrets report -A --stale 90d --expiring 14d -o json",
    ),
)
@click.option("--stale", metavar="DAYS", help="Values that are at least so old, such as 90d.")
@click.option("--unused", metavar="DAYS", help="Secrets that are at least so old and that no pod has now, such as 30d.")
@click.option("--expiring", metavar="DAYS", help="Secrets that end within this time or have ended, such as 14d.")
@click.option("--duplicates", is_flag=True, help="Variables and paths that several secrets of one job can hold.")
@add_options(PLACE_OPTIONS)
@click.option("--all-namespaces", "-A", is_flag=True, help="Secrets of all namespaces that you may read.")
@click.option("--selector", "-l", metavar="LABELS", help="Only secrets with these labels, as in kubectl.")
@click.option("-o", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """List secrets that a person should look at: old, unused, expiring, or with entries of others.

    Without a flag that says what to look for: --stale 90d --unused 30d --expiring 14d --duplicates. Only names and
    times are read. Pods that were deleted are not known any more, so a secret of rare jobs may be listed as unused.

    Exits with 0, also when something is found.
    """
    limits = _limits(flags)
    request = place_request(flags)
    is_stated = request.project or request.environment or request.organization or request.namespace
    if not is_stated and not flags["all_namespaces"]:
        request = PlaceRequest(namespace=request.current, current=request.current)
    known = tuple(dict.fromkeys(each for each in (request.namespace, request.current) if each))
    reach = Reach(known, policies=False, selector=flags["selector"] or "", namespace=request.namespace)

    async def read(cluster: Cluster) -> tuple[ClusterView, Usage | None]:
        view = await read_view(cluster, reach)
        return view, None if limits.unused is None else await read_usage(cluster, known)

    with Session(connection(flags)) as session:
        view, usage = session.run(read)
    unread = (*view.unread, *(() if usage is None else usage.unread))
    if unread:
        note(f"this is not all: your role does not allow to read {', '.join(unread)}")
    if usage is not None:
        unknown = "" if usage.is_known else ", and whether a secret is unused at all, because you may not read pods"
        note(f"--unused looks at the pods that exist now; earlier uses are not known{unknown}")
    chosen = {row.location: view.bodies[row.location] for row in listed(view, request)}
    _print(findings(chosen, view.inventory, usage, limits, utc_now()), len(chosen), flags["output"])


def _print(found: Sequence[Finding], total: int, output: str) -> None:
    if output != "table":
        document = [
            {"concern": each.concern.value, "secret": each.location, "entry": each.entry, "detail": each.detail}
            for each in found
        ]
        click.echo(serialized({"secrets": total, "findings": document}, output), nl=False)
    elif found:
        rows = [(each.concern.value, each.location, each.entry or "-", each.detail) for each in found]
        print_table(("CONCERN", "SECRET", "ENTRY", "DETAIL"), rows)
    else:
        click.echo(f"Nothing found in {total} secrets.")


def _limits(flags: dict[str, Any]) -> Limits:
    limits = Limits(
        stale=_days("--stale", flags["stale"]),
        unused=_days("--unused", flags["unused"]),
        expiring=_days("--expiring", flags["expiring"]),
        duplicates=flags["duplicates"],
    )
    return _ALL if limits == Limits() else limits


def _days(flag: str, text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _DAYS.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{flag} must be a number of days, such as 90d")
    return timedelta(days=int(match[1]))
