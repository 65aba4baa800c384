"""``scoped-secrets explain``: which definition of a bundle a job gets, why, and what policy says."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from scoped_secrets.cli.ask_options import (
    JOB_OPTIONS,
    SOURCE_OPTIONS,
    Source,
    job_of,
    print_unread,
    question_about,
    read_job,
    take_source,
)
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.cli.output import print_table
from scoped_secrets.cli.session import Session
from scoped_secrets.core.decide import Granted
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.explain import Explanation, explain_bundle
from scoped_secrets.operations.jobs import judge

__all__ = ["command"]

_POD = "pod/"


@click.command(
    "explain",
    epilog=examples(
        "scoped-secrets explain aws -p web --environment production --service-account deployer",
        "scoped-secrets explain pod/build-7xk2p -n web",
    ),
)
@click.argument("name")
@click.option("--service-account", default="default", show_default=True, help="Service account of the job.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@add_options((*JOB_OPTIONS, *SOURCE_OPTIONS))
def command(name: str, service_account: str, output: str, **flags: Any) -> None:
    """Explain which definition of a bundle a job gets, why, and what policies say.

    NAME is a bundle, or pod/NAME for all bundles of a pod.

    Prints every definition of the bundle with its result and the reason, the entries that are not delivered, the
    decision about the job in the words of admission, and the sessions that policies deny in its pod. The decision is
    the one that admission makes. Of a stored pod, it is the decision now; the pod keeps what it was created with.

    It reads namespaces, definitions, policies and the pod with your rights, and states what it could not read. Exits
    with 1 when the job does not get the bundle.
    """
    source = take_source(flags)
    if name.startswith(_POD):
        explanations = _explain_pod(name.removeprefix(_POD), source, flags)
    else:
        explanations = (_explain_bundle(name, service_account, source, flags),)
    if output == "json":
        click.echo(json.dumps([_document(each) for each in explanations], indent=2, ensure_ascii=False))
    else:
        for number, each in enumerate(explanations):
            click.echo("", nl=number > 0)
            _print(each)
    sys.exit(0 if all(each.verdict.is_granted for each in explanations) else 1)


def _explain_bundle(name: str, account: str, source: Source, flags: dict[str, Any]) -> Explanation:
    state, pod = read_job(job_of(name, flags, source, account), source)
    read, decision = judge(pod, state.inventory, question_about(flags, state))
    outcome = decision.grant if isinstance(decision, Granted) else decision
    return explain_bundle(name, read, outcome, state.inventory)


def _explain_pod(name: str, source: Source, flags: dict[str, Any]) -> Sequence[Explanation]:
    from scoped_secrets.operations.explain_pod import explain_pod  # noqa: PLC0415 - only pods need it.

    namespace = source.namespace(flags.pop("namespace"))
    state = source.read([namespace])
    print_unread(state, namespace)
    body = _pod_of_files(name, namespace, source) if source.files else _fetch(source, namespace, name)
    explanations = explain_pod(body, namespace, state.inventory, question_about(flags, state))
    if not explanations:
        raise ConfigurationError(f"pod '{name}' names no bundle and no bundle is attached to it")
    return explanations


def _fetch(source: Source, namespace: str, name: str) -> Mapping[str, Any]:
    from scoped_secrets.operations.stored_pods import fetch_pod  # noqa: PLC0415 - as above.

    with Session(source.person) as session:
        return session.run(lambda cluster: fetch_pod(cluster, namespace, name))


def _pod_of_files(name: str, namespace: str, source: Source) -> Mapping[str, Any]:
    for document in source.manifests().documents:
        home = document.metadata.get("namespace") or namespace
        if (document.kind, document.name, home) == ("Pod", name, namespace):
            return document.body
    raise ConfigurationError(f"the files have no Pod '{name}' of namespace '{namespace}'; check both names")


def _print(explanation: Explanation) -> None:
    path = explanation.path
    if path is not None:
        parts = (("organization", path.organization), ("project", path.project), ("environment", path.environment))
        where = ", ".join(f"{word} {value}" for word, value in parts if value is not None)
        click.echo(f"Bundle {explanation.name} for a job in namespace {explanation.namespace} ({where})")
    else:
        click.echo(f"Bundle {explanation.name}")
    if explanation.candidates:
        print_table(
            ("SCOPE", "DEFINITION", "KEYS", "RESULT", "WHY"),
            [
                (each.scope.value, each.definition, ",".join(each.keys) or "-", each.result.value, each.why)
                for each in explanation.candidates
            ],
        )
    if explanation.undelivered:
        click.echo(
            f"Not delivered, because only definitions without effect have them: {', '.join(explanation.undelivered)}; "
            "with `override: Merge` the winner adds the entries of wider definitions"
        )
    verdict = explanation.verdict
    click.echo(f"Decision: {'granted' if verdict.is_granted else 'not granted'}: {_reasoned(explanation)}")
    for session in explanation.sessions:
        click.echo(f"Sessions: {session.interaction} denied by policy '{session.policy}'")
    if explanation.path is not None and not explanation.sessions:
        click.echo("Sessions: no policy denies one")


def _reasoned(explanation: Explanation) -> str:
    verdict = explanation.verdict
    return f"{verdict.reason}: {verdict.message}" if verdict.reason else verdict.message


def _document(explanation: Explanation) -> Mapping[str, Any]:
    path, verdict = explanation.path, explanation.verdict
    return {
        "bundle": explanation.name,
        "namespace": explanation.namespace,
        "organization": None if path is None else path.organization,
        "project": None if path is None else path.project,
        "environment": None if path is None else path.environment,
        "definitions": [
            {
                "scope": each.scope.value,
                "definition": each.definition,
                "keys": list(each.keys),
                "result": each.result.value,
                "why": each.why,
            }
            for each in explanation.candidates
        ],
        "notDelivered": list(explanation.undelivered),
        "granted": verdict.is_granted,
        "reason": str(verdict.reason),
        "message": verdict.message,
        "deniedSessions": [{"session": each.interaction.value, "policy": each.policy} for each in explanation.sessions],
    }
