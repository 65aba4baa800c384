"""``scoped-secrets audit``: changes and uses of secrets, as far as the cluster still tells them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from scoped_secrets.cli.durations import duration
from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples
from scoped_secrets.cli.output import note, print_table, serialized
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.operations.audit import NOT_KNOWN, Activity, read_activity
from scoped_secrets.timestamps import rfc3339

__all__ = ["command"]


@click.command(
    "audit",
    epilog=examples(
        "scoped-secrets audit aws -p web --since 24h",
        "scoped-secrets audit -A --since 7d -o json",
    ),
)
@click.argument("name", required=False)
@click.option("--since", default="24h", show_default=True, metavar="TIME", help="How far back, such as 30m, 24h or 7d.")
@add_options(PLACE_OPTIONS)
@click.option("--all-namespaces", "-A", is_flag=True, help="Secrets of all namespaces that you may read.")
@click.option("--selector", "-l", default="", metavar="LABELS", help="Only secrets with these labels, as in kubectl.")
@click.option("-o", "--output", type=click.Choice(["table", "yaml", "json"]), default="table", show_default=True)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """List changes and uses of secrets, as far as the cluster still tells them.

    The newest come first, each with the place where the cluster stores it: the times of objects and values, the managed
    fields, the pods that exist and the operator's events. Kubernetes keeps no history: the last lines say what cannot
    be known from the cluster. No Secret is read.

    Exits with 0, also when nothing happened.
    """
    since = utc_now() - duration("--since", flags["since"])
    request = place_request(flags)
    is_stated = request.project or request.environment or request.organization or request.namespace
    if not is_stated and not flags["all_namespaces"] and flags["name"] is None:
        request = replace(request, namespace=request.current)
    with Session(connection(flags)) as session:
        activity = session.run(lambda cluster: read_activity(cluster, flags["name"], request, since, flags["selector"]))
    if flags["output"] == "table":
        _print(activity, since)
    else:
        click.echo(serialized(_document(activity, since), flags["output"]), nl=False)


def _print(activity: Activity, since: datetime) -> None:
    if activity.records:
        rows = [
            (rfc3339(each.time), each.action, each.location, each.actor or "-", each.detail or "-", each.source)
            for each in activity.records
        ]
        print_table(("TIME", "ACTION", "OBJECT", "BY", "DETAIL", "SOURCE"), rows)
    else:
        click.echo(f"Nothing since {rfc3339(since)} is stored.")
    if activity.unread:
        note(f"this is not all: your role does not allow to read {', '.join(activity.unread)}")
    for text in NOT_KNOWN:
        click.echo(f"Not known: {text}.", err=True)


def _document(activity: Activity, since: datetime) -> dict[str, Any]:
    return {
        "since": rfc3339(since),
        "records": [
            {
                "time": rfc3339(each.time),
                "action": each.action,
                "object": each.location,
                "by": each.actor,
                "detail": each.detail,
                "source": each.source,
            }
            for each in activity.records
        ],
        "notRead": list(activity.unread),
        "notKnown": list(NOT_KNOWN),
    }
