"""``scoped-secrets who-uses``: the pods that hold a bundle."""

import json
from collections.abc import Sequence
from typing import Any

import click

from scoped_secrets.cli.options import CONNECTION_OPTIONS, add_options, examples
from scoped_secrets.cli.output import print_table
from scoped_secrets.cli.session import Session, connection
from scoped_secrets.errors import ForbiddenError
from scoped_secrets.kube.credentials import current_namespace
from scoped_secrets.operations.pod_bundles import PodBundles
from scoped_secrets.operations.stored_pods import who_uses

__all__ = ["command"]


@click.command(
    "who-uses",
    epilog=examples(
        "scoped-secrets who-uses aws",
        "scoped-secrets who-uses aws -p web --environment production -o json",
    ),
)
@click.argument("name")
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    help="Look in this namespace only; several times. By default in all.",
)
@click.option("--organization", help="Only pods of this organization: each has bundles of its own.")
@click.option("-p", "--project", help="Only pods of this project.")
@click.option("--environment", help="Only pods of this environment.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@add_options(CONNECTION_OPTIONS)
def command(
    name: str,
    namespaces: tuple[str, ...],
    organization: str | None,
    project: str | None,
    environment: str | None,
    output: str,
    **flags: Any,
) -> None:
    """List the pods that hold a bundle, and the definition that each got.

    Whether a pod holds the bundle NAME comes from its spec, which does not change; the definition, organization,
    project and environment from the annotation that admission wrote. Pods that were deleted are not known any more. It
    takes the right to list pods, and none to Secrets. A person who may not list those of all namespaces gets an answer
    for the namespace of the kubeconfig. The command states what it could not read.

    Exits with 0, also when no pod holds it.
    """
    person = connection(flags)
    current = current_namespace(person.kubeconfig, person.context)
    with Session(person) as session:
        users = session.run(lambda cluster: who_uses(cluster, name, namespaces, current))
    wanted = (organization, project, environment)
    pods = [pod for pod in users.pods if _is_wanted(pod, wanted)]
    if not users.is_known:
        raise ForbiddenError(
            f"{' and '.join(users.unread)} cannot be read with your rights; name a namespace that you may read with "
            "--namespace"
        )
    for phrase in users.unread:
        click.echo(f"Warning: not read: {phrase}", err=True)
    rows = [(pod, _definition(pod, name)) for pod in pods]
    if output == "json":
        document = [
            {
                "namespace": pod.namespace,
                "pod": pod.name,
                "phase": pod.phase,
                "organization": pod.organization,
                "project": pod.project,
                "environment": pod.environment,
                "definition": definition,
            }
            for pod, definition in rows
        ]
        click.echo(json.dumps({"pods": document, "notRead": list(users.unread)}, indent=2, ensure_ascii=False))
    elif rows:
        print_table(
            ("NAMESPACE", "POD", "PHASE", "PROJECT", "ENVIRONMENT", "DEFINITION"),
            [
                (
                    pod.namespace,
                    pod.name,
                    pod.phase or "-",
                    pod.project or "-",
                    pod.environment or "-",
                    definition or "not known",
                )
                for pod, definition in rows
            ],
        )
    else:
        click.echo(f"no pod holds bundle '{name}'")


def _is_wanted(pod: PodBundles, wanted: Sequence[str | None]) -> bool:
    stated = (pod.organization, pod.project, pod.environment)
    return all(each in (None, value) for each, value in zip(wanted, stated, strict=True))


def _definition(pod: PodBundles, name: str) -> str:
    return next((bundle.definition for bundle in pod.bundles if bundle.name == name), "")
