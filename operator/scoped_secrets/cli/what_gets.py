"""``scoped-secrets what-gets``: what a stored pod got, names only."""

import json
from collections.abc import Mapping
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, add_options, examples
from scoped_secrets.cli.output import print_table
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.operations.pod_bundles import PodBundles
from scoped_secrets.operations.stored_pods import what_gets

__all__ = ["bundle_rows", "command", "pod_document"]


@click.command(
    "what-gets",
    epilog=examples(
        "scoped-secrets what-gets pod/build-7xk2p -n web",
        "scoped-secrets what-gets build-7xk2p -o json",
    ),
)
@click.argument("pod")
@click.option("-n", "--namespace", help="Namespace of the pod; by default the kubeconfig's.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@add_options(CONNECTION_OPTIONS)
def command(pod: str, namespace: str | None, output: str, **flags: Any) -> None:
    """Show the bundles, variables and files that a stored pod got, names only.

    POD is the name of a pod, or pod/NAME. Variables, files and the names of bundles come from the pod's spec, which
    does not change; definitions and policies from the annotation that admission wrote. It takes the right to get the
    pod, and no right to Secrets. Of a pod that does not exist yet, `render` shows the same.
    """
    name = pod.removeprefix("pod/")
    person = connection(flags)
    home = namespace or current_namespace(person.kubeconfig, person.context)
    with Session(person) as session:
        held = session.run(lambda cluster: what_gets(cluster, home, name))
    if held is None:
        raise ConfigurationError(
            f"pod '{name}' has no bundle; `scoped-secrets doctor` finds pods that opted in and were not injected"
        )
    if output == "json":
        click.echo(json.dumps(pod_document(held), indent=2, ensure_ascii=False))
        return
    print_table(("BUNDLE", "DEFINITION", "SCOPE", "MERGED WITH", "ALLOWED BY"), bundle_rows(held))
    for bundle, reason in held.left_out.items():
        click.echo(f"Left out: {bundle} ({reason})")
    rows = [
        (container, kind, key, bundle)
        for kind, entries in (("variable", held.variables), ("file", held.files))
        for container, members in entries.items()
        for key, bundle in members.items()
    ]
    if rows:
        click.echo()
        print_table(("CONTAINER", "KIND", "NAME", "BUNDLE"), sorted(rows))
    if held.has_unknown:
        click.echo("The pod also refers to a whole bundle Secret, so that it may hold any bundle.")


def bundle_rows(held: PodBundles) -> list[tuple[str, ...]]:
    """Return a row for each bundle of a pod."""
    return [
        (
            bundle.name,
            bundle.definition or "?",
            bundle.scope or "?",
            ", ".join(bundle.merged) or "-",
            "; ".join(bundle.allowed_by) or "-",
        )
        for bundle in held.bundles
    ]


def pod_document(held: PodBundles) -> Mapping[str, Any]:
    """Return what a pod got as JSON has it."""
    return {
        "namespace": held.namespace,
        "pod": held.name,
        "phase": held.phase,
        "organization": held.organization,
        "project": held.project,
        "environment": held.environment,
        "bundles": [
            {
                "name": bundle.name,
                "definition": bundle.definition,
                "scope": bundle.scope,
                "mergedFrom": list(bundle.merged),
                "allowedBy": list(bundle.allowed_by),
                "attached": bundle.is_attached,
            }
            for bundle in held.bundles
        ],
        "leftOut": dict(held.left_out),
        "variables": {container: dict(members) for container, members in held.variables.items()},
        "files": {container: dict(members) for container, members in held.files.items()},
        "mayHoldOthers": held.has_unknown,
    }
