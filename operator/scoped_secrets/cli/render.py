"""``scoped-secrets render``: pods as admission would inject them, from files and without a cluster."""

import base64
import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import yaml

from scoped_secrets import names
from scoped_secrets.cli.offline_options import (
    CLAIM_OPTIONS,
    FILES_OPTION,
    PLACE_OPTIONS,
    SETTINGS_OPTIONS,
    question_of,
    take_place,
)
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.operations.manifests import read_manifests
from scoped_secrets.operations.offline_cluster import build_cluster
from scoped_secrets.operations.patching import apply_operations
from scoped_secrets.operations.render import RenderedPod, RenderedSecret, RenderedValue, render_pods

__all__ = ["command"]

_ORIGINS: Mapping[str, str] = {
    "file": "in the file",
    "sealed": "sealed",
    "valueFrom": "from a Secret of its namespace",
}


@click.command(
    "render",
    epilog=examples(
        "scoped-secrets render -f secrets/ --pod job.yaml",
        "scoped-secrets render -f secrets/ --pod job.yaml -o diff --namespace-scope web=acme/web",
    ),
)
@FILES_OPTION
@click.option(
    "--pod",
    "pods",
    metavar="PATH",
    multiple=True,
    required=True,
    help="File of a Pod, or of a Job, CronJob, Deployment or another workload, whose template counts; several times.",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "patch", "diff"]), default="yaml", show_default=True)
@click.option("--gate", is_flag=True, help="Add the scheduling gate, as the operator with --gate does.")
@click.option(
    "--reveal",
    is_flag=True,
    help="Print the values too, with -o yaml: those that the files have in plain text, and no other.",
)
@add_options((*PLACE_OPTIONS, *CLAIM_OPTIONS, *SETTINGS_OPTIONS))
def command(
    files: tuple[str, ...], pods: tuple[str, ...], output: str, *, gate: bool, reveal: bool, **flags: Any
) -> None:
    """Print a pod as admission would inject it, from definitions in files and without a cluster.

    Prints the pod, and as comments the bundles, the bundle Secrets and the upper bound of each value's size. -o patch
    prints the JSON Patch of admission, -o diff what it changes. No value is printed without --reveal.

    Exits with 1 when admission would deny a pod, and prints the reason as admission gives it.
    """
    place, question = take_place(flags), question_of(flags)
    cluster = build_cluster(read_manifests(files), place.scopes, place.namespace, place.organization)
    rendered = render_pods(read_manifests(pods), cluster, question, place.namespace, gate=gate, reveal=reveal)
    denied = [each for each in rendered if isinstance(each.decision, Denied)]
    granted = [each for each in rendered if not isinstance(each.decision, Denied)]
    for number, each in enumerate(granted):
        _warn(each)
        if output == "patch":
            click.echo(json.dumps(each.operations, indent=2, ensure_ascii=False))
        elif output == "diff":
            click.echo("".join(_diff(each)), nl=False)
        else:
            click.echo(("---\n" if number else "") + _yaml(each, reveal=reveal), nl=False)
    for each in denied:
        if isinstance(each.decision, Denied):
            click.echo(f"Error: {each.job.origin}: {each.decision.reason}: {each.decision.message}", err=True)
    sys.exit(1 if denied else 0)


def _warn(rendered: RenderedPod) -> None:
    origin = rendered.job.origin
    if rendered.decision is None:
        click.echo(
            f'Warning: {origin}: the pod has no label `{names.INJECT_LABEL}: "{names.INJECT_VALUE}"`, so that it gets '
            "nothing",
            err=True,
        )
    elif isinstance(rendered.decision, Granted):
        for warning in rendered.decision.injection.warnings:
            click.echo(f"Warning: {origin}: {warning.message}", err=True)


def _yaml(rendered: RenderedPod, *, reveal: bool) -> str:
    text = "".join(f"# {line}\n" for line in _summary(rendered))
    text += _dump(_result(rendered))
    if reveal:
        for secret in rendered.secrets:
            text += f"---\n# Values that the files do not have are missing.\n{_dump(_secret_body(secret, rendered))}"
    return text


def _diff(rendered: RenderedPod) -> Iterator[str]:
    before = _dump(rendered.job.body).splitlines(keepends=True)
    after = _dump(_result(rendered)).splitlines(keepends=True)
    yield from (f"# {line}\n" for line in _summary(rendered))
    yield from difflib.unified_diff(before, after, rendered.job.origin, f"{rendered.job.origin} as injected")


def _result(rendered: RenderedPod) -> Mapping[str, Any]:
    return apply_operations(rendered.job.body, rendered.operations)


def _summary(rendered: RenderedPod) -> Iterator[str]:
    if not isinstance(rendered.decision, Granted):
        return
    grant = rendered.decision.grant
    for applied in grant.applied:
        winner, *merged = applied.resolution.contributors
        line = f"bundle {applied.name}: {winner.definition.location} ({winner.slot.scope})"
        line += "".join(f", merged with {slotted.definition.location}" for slotted in merged)
        policies = dict.fromkeys(f"{each.policy}, rule {each.rule}" for each in applied.allowed if each.policy)
        yield line + "".join(f", allowed by {policy}" for policy in policies)
    for left in grant.left_out:
        yield f"bundle {left.name}: left out ({left.reason})"
    for secret in rendered.secrets:
        yield f"Secret {secret.name}: {len(secret.values)} values, at most {sum(map(_size, secret.values))} bytes"
        width = max((len(_label(value)) for value in secret.values), default=0)
        for value in secret.values:
            origin = _ORIGINS[value.origin]
            yield f"  {_label(value):<{width}}  at most {value.size} bytes, {origin}, from {value.definition}"


def _label(value: RenderedValue) -> str:
    return f"{value.bundle}: {value.entry}"


def _size(value: RenderedValue) -> int:
    return value.size


def _secret_body(secret: RenderedSecret, rendered: RenderedPod) -> Mapping[str, Any]:
    data = {
        value.key: base64.b64encode(value.value.reveal()).decode("ascii")
        for value in secret.values
        if value.value is not None
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret.name, "namespace": rendered.job.namespace},
        "immutable": True,
        "data": data,
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and never an alias."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        """Return that nothing is written as an alias."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(body: Mapping[str, Any]) -> str:
    text: str = yaml.dump(dict(body), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)
    return text
