"""``scoped-secrets lint``: finds mistakes in files of definitions and policies, without a cluster."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from scoped_secrets import __version__
from scoped_secrets.cli.offline_options import FILES_OPTION, MOMENT_OPTION, PLACE_OPTIONS, take_moment, take_place
from scoped_secrets.cli.options import add_options
from scoped_secrets.operations.lint import Finding, LintSettings, Severity, lint
from scoped_secrets.operations.manifests import read_manifests

__all__ = ["command"]


@click.command("lint")
@FILES_OPTION
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@add_options((*PLACE_OPTIONS, MOMENT_OPTION))
def command(files: tuple[str, ...], *, strict: bool, output: str, **flags: Any) -> None:
    r"""Find mistakes in files of definitions and policies, without a cluster.

    Errors are what the API server or admission rejects: the schema, the CEL rules, scopes, slots, limits and paths.
    Warnings are what is valid and unwise, such as a value in plain text, a policy that selects nothing, or a definition
    that others hide everywhere. A finding has the file, the line, the field and the remedy, and never a value.

    Exits with 0 without errors, and with 1 otherwise.

    \b
    Examples:
      scoped-secrets lint -f secrets/
      scoped-secrets lint -f secrets/ --namespace-scope web=acme/web --strict -o json
    """
    place = take_place(flags)
    settings = LintSettings(take_moment(flags), place.scopes, place.namespace, place.organization)
    manifests = read_manifests(files)
    findings = lint(manifests, settings)
    click.echo(_json(findings) if output == "json" else _table(findings, len(manifests.documents)))
    found = {finding.severity for finding in findings}
    sys.exit(1 if Severity.ERROR in found or (strict and found) else 0)


def _table(findings: Sequence[Finding], documents: int) -> str:
    lines = []
    for finding in findings:
        subject = f"{finding.subject}: " if finding.subject else ""
        lines.append(f"{finding.path}:{finding.line}: {finding.severity}: {finding.rule}: {subject}{finding.message}")
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    lines.append(f"{documents} objects, {errors} errors, {len(findings) - errors} warnings")
    return "\n".join(lines)


def _json(findings: Sequence[Finding]) -> str:
    document = {
        "version": __version__,
        "findings": [
            {
                "file": finding.path,
                "line": finding.line,
                "severity": finding.severity.value,
                "rule": str(finding.rule),
                "object": finding.subject,
                "field": finding.field,
                "message": finding.message,
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
