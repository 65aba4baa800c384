"""``scoped-secrets get NAME``: the entries of one definition, names only."""

import click

from scoped_secrets.cli.output import age, print_object, print_table
from scoped_secrets.cli.session import Session
from scoped_secrets.clock import utc_now
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.locate import locate
from scoped_secrets.operations.place import PlaceRequest
from scoped_secrets.operations.reading import entries_of

__all__ = ["print_conditions", "print_one"]


def print_one(session: Session, name: str, request: PlaceRequest, output: str) -> None:
    """Print one definition."""
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
