"""``scoped-secrets doctor``: finds the problems of an installation and their remedies."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from scoped_secrets import __version__
from scoped_secrets.cli.options import OPERATOR_OPTIONS, add_options
from scoped_secrets.cli.session import connection
from scoped_secrets.doctor.checks import examine
from scoped_secrets.doctor.findings import Finding, Severity
from scoped_secrets.doctor.gather import gather
from scoped_secrets.errors import ClusterError, UnauthorizedError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection

__all__ = ["command"]

_COULD_NOT_ASK: Final = 2


@click.command("doctor")
@click.option(
    "--namespace",
    "-n",
    help="Namespace of the dry-run pod; by default the first namespace that has a project.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings and for failed checks.")
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True)
@add_options(OPERATOR_OPTIONS)
def command(namespace: str | None, operator_namespace: str, strict: bool, output: str, **flags: Any) -> None:
    """Find what is wrong with the installation, and print a remedy for each finding.

    The doctor changes nothing. It reports what you may not read as not checked.

    Exits with 0 without errors, 1 with errors, and 2 when the cluster does not respond or does not accept your
    credentials.
    """
    try:
        results = asyncio.run(_examine(connection(flags), operator_namespace, namespace))
    except ClusterError as error:
        remedy = "" if isinstance(error, UnauthorizedError) else "; check the address and your credentials"
        click.echo(f"Error: {error}{remedy}", err=True)
        sys.exit(_COULD_NOT_ASK)
    click.echo(_json(results) if output == "json" else _text(results))
    found = {finding.severity for findings in results.values() for finding in findings}
    sys.exit(1 if Severity.ERROR in found or (strict and found) else 0)


async def _examine(
    person: Connection, operator_namespace: str, namespace: str | None
) -> Mapping[str, tuple[Finding, ...]]:
    async with await Cluster.connect_as(person) as cluster:
        return examine(await gather(cluster, operator_namespace, namespace))


def _text(results: Mapping[str, tuple[Finding, ...]]) -> str:
    lines = []
    width = max(len(check) for check in results)
    for check, findings in results.items():
        if not findings:
            lines.append(f"{'ok':<10} {check}")
        for finding in findings:
            lines.append(f"{finding.severity:<10} {check:<{width}}  {finding.message}")
            lines.append(f"{'':<10} {'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def _json(results: Mapping[str, tuple[Finding, ...]]) -> str:
    checks: list[dict[str, Any]] = [
        {
            "name": check,
            "findings": [
                {"severity": finding.severity.value, "message": finding.message, "remedy": finding.remedy}
                for finding in findings
            ],
        }
        for check, findings in results.items()
    ]
    return json.dumps({"version": __version__, "checks": checks}, indent=2)
