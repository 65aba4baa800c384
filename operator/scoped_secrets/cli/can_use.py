"""``scoped-secrets can-use``: whether a job may use a bundle, for scripts and tests of policies."""

import json
import sys
from typing import Any

import click

from scoped_secrets.cli.ask_options import JOB_OPTIONS, SOURCE_OPTIONS, job_of, question_about, read_job, take_source
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.cli.question import NO_ANSWER, Question
from scoped_secrets.core.decide import Granted
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.explain import explain_bundle
from scoped_secrets.operations.jobs import judge

__all__ = ["command"]


@click.command(
    "can-use",
    cls=Question,
    epilog=examples(
        "scoped-secrets can-use aws -p web --environment production --service-account web-production/deployer",
        "scoped-secrets can-use release -p web --ref refs/heads/main --event push -f secrets/",
    ),
)
@click.argument("name")
@click.option(
    "--service-account",
    "account",
    metavar="[NAMESPACE/]NAME",
    default="default",
    show_default=True,
    help="Service account of the job; with a namespace, the job runs there.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@add_options((*JOB_OPTIONS, *SOURCE_OPTIONS))
def command(name: str, account: str, output: str, **flags: Any) -> None:
    """Tell whether a job may use a bundle, and by which policy and rule.

    The decision is the one that admission makes about a pod that names the bundle NAME alone.

    Exits with 0 when the job gets the bundle, with 1 when it does not, and with 2 when that is not known: because you
    may not read everything that decides, or because the command failed.
    """
    source = take_source(flags)
    namespace, _, service_account = account.rpartition("/")
    if namespace:
        if flags["namespace"] not in (None, namespace):
            raise ConfigurationError("--service-account must name the namespace of --namespace: a pod uses its own")
        flags["namespace"] = namespace
    state, asked = read_job(job_of(name, flags, source, service_account), source)
    pod, decision = judge(asked, state.inventory, question_about(flags, state))
    outcome = decision.grant if isinstance(decision, Granted) else decision
    verdict = explain_bundle(name, pod, outcome, state.inventory).verdict
    unread = state.unread_about(asked.namespace)
    is_known = not unread
    if output == "json":
        document = {
            "bundle": name,
            "granted": verdict.is_granted if is_known else None,
            "reason": str(verdict.reason),
            "message": verdict.message,
            "notRead": [each.what for each in unread],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        word = "yes" if verdict.is_granted else "no"
        reason = f"{verdict.reason}: " if verdict.reason else ""
        click.echo(f"{word if is_known else f'not known, as far as you may read {word}'}: {reason}{verdict.message}")
    sys.exit((0 if verdict.is_granted else 1) if is_known else NO_ANSWER)
