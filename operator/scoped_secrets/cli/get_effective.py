"""``scoped-secrets get --effective``: every name that a job can use, with its source."""

from typing import Any

import click

from scoped_secrets.cli.output import print_table, print_unread, serialized
from scoped_secrets.cli.session import Session
from scoped_secrets.clock import utc_now
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.cluster_view import Reach, read_view
from scoped_secrets.operations.effective import EffectiveEntry, effective_entries
from scoped_secrets.operations.place import PlaceRequest, choose_place

__all__ = ["print_effective"]


def print_effective(session: Session, request: PlaceRequest, output: str) -> None:
    """Print everything that a job of the stated place can use."""
    if output == "name":
        raise ConfigurationError("--effective has no -o name; use table, wide, yaml or json")
    view = session.run(lambda cluster: read_view(cluster, Reach(request.known)))
    place = choose_place(request, view.bindings)
    path = ScopePath(place.binding.organization, place.project, place.environment)
    entries = effective_entries(view.inventory, path, utc_now())
    print_unread(view.unread)
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
