"""``scoped-secrets describe``: one definition with everything that a person asks about it; names only."""

from collections.abc import Iterator
from typing import Any

import click

from scoped_secrets.cli.get_one import print_conditions
from scoped_secrets.cli.options import CONNECTION_OPTIONS, PLACE_OPTIONS, add_options, examples, name_argument
from scoped_secrets.cli.output import age, note, print_table
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.clock import utc_now
from scoped_secrets.kube.client import Cluster
from scoped_secrets.operations.effects import Effects, effects_of
from scoped_secrets.operations.locate import Located, locate
from scoped_secrets.operations.reading import entries_of
from scoped_secrets.operations.usage import Usage, read_usage

__all__ = ["command"]

_SHOWN_PODS = 20


@click.command(
    "describe",
    epilog=examples(
        "scoped-secrets describe aws -p web",
        "scoped-secrets describe aws -p web --environment production",
    ),
)
@name_argument()
@add_options(PLACE_OPTIONS)
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Show a secret with its entries, its policies, its users and what it hides.

    What your role does not let you read is stated. Values are never shown.
    """
    request = place_request(flags)

    async def read(cluster: Cluster) -> tuple[Located, Usage]:
        located = await locate(cluster, flags["name"], request)
        return located, await read_usage(cluster, (located.namespace,))

    with Session(connection(flags)) as session:
        located, usage = session.run(read)
    # Without the labels of its namespace, the place of a definition among the others is not known.
    is_placed = located.namespace in located.view.namespaces
    effects = effects_of(located.location, located.view.inventory, utc_now()) if is_placed else None
    for line in _head(located):
        click.echo(line)
    now = utc_now()
    print_table(
        ("KIND", "NAME", "SOURCE", "MODE", "SIZE", "FINGERPRINT", "AGE", "KEY ID"),
        [
            (
                each.kind.noun,
                each.name,
                each.source,
                each.mode or "-",
                each.size or "-",
                each.fingerprint or "-",
                age(each.changed, now),
                each.key_id or "-",
            )
            for each in entries_of(located.body)
        ],
    )
    for line in _around(located, effects, usage):
        click.echo(line)
    print_conditions(located.body)
    unread = (*located.view.unread, *usage.unread)
    if unread:
        note(f"this is not all: your role does not allow to read {', '.join(unread)}")


def _head(located: Located) -> Iterator[str]:
    spec, metadata = located.body["spec"], located.body["metadata"]
    yield f"ScopedSecret '{located.location}'"
    fields = {
        "Bundle": located.secret_name,
        "Description": spec.get("description"),
        "Scope": spec["scope"],
        "Project": spec.get("project"),
        "Environment": spec.get("environment"),
        "Labels": ", ".join(f"{key}={text}" for key, text in sorted((metadata.get("labels") or {}).items())),
        "Override": spec.get("override", "Replace"),
        "Final": "yes" if spec.get("final") else None,
        "Attach": spec.get("attach", "OnReference"),
        "Expires": spec.get("expireTime"),
        "Rotation": f"every {spec['rotation']['intervalDays']} days" if "rotation" in spec else None,
        "Created": metadata.get("creationTimestamp"),
    }
    yield from (f"{title + ':':<13}{text}" for title, text in fields.items() if text)


def _around(located: Located, effects: Effects | None, usage: Usage) -> Iterator[str]:
    # The controller sees all definitions, a person perhaps not.
    status = located.body.get("status") or {}
    shadows = sorted({*(effects.shadows if effects else ()), *(status.get("shadows") or ())})
    shadowed_by = sorted({*(effects.shadowed_by if effects else ()), *(status.get("shadowedBy") or ())})
    yield f"Shadows:     {', '.join(shadows) or 'nothing'}"
    yield f"Shadowed by: {', '.join(shadowed_by) or 'nothing'}"
    if effects is None:
        yield f"Usable by:   not known, because you may not read the labels of namespace '{located.namespace}'"
    else:
        yield from (f"Usable by:   {line}" for line in effects.access)
    pods = usage.pods(str(located.body["metadata"]["uid"]))
    if not usage.is_known:
        yield "Used by:     not known, because you may not read pods"
        return
    more = f" and {len(pods) - _SHOWN_PODS} more" if len(pods) > _SHOWN_PODS else ""
    yield f"Used by:     {', '.join(pods[:_SHOWN_PODS]) or 'no pod that you may read'}{more}"
