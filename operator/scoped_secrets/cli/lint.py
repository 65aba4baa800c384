"""``scoped-secrets lint``: finds mistakes in files of definitions and policies, without a cluster."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from scoped_secrets import __version__, names
from scoped_secrets.cli.offline_options import FILES_OPTION, MOMENT_OPTION, PLACE_OPTIONS, take_moment, take_place
from scoped_secrets.cli.options import add_options, examples
from scoped_secrets.operations.lint import Finding, LintSettings, Severity, lint
from scoped_secrets.operations.manifests import read_manifests

__all__ = ["command"]


@click.command(
    "lint",
    epilog=examples(
        "scoped-secrets lint -f secrets/",
        "scoped-secrets lint -f secrets/ --namespace-scope web=acme/web --strict -o json",
    ),
)
@FILES_OPTION
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "sarif"]), default="table", show_default=True)
@add_options((*PLACE_OPTIONS, MOMENT_OPTION))
def command(files: tuple[str, ...], *, strict: bool, output: str, **flags: Any) -> None:
    """Find mistakes in files of definitions and policies, without a cluster.

    Errors are what the API server or admission rejects: the schema, the CEL rules, scopes, slots, limits and paths.
    Warnings are what is valid and unwise, such as a value in plain text, a policy that selects nothing, or a definition
    that others hide everywhere. A finding has the file, the line, the field and the remedy, and never a value.

    Exits with 0 without errors, and with 1 otherwise.
    """
    place = take_place(flags)
    settings = LintSettings(take_moment(flags), place.scopes, place.namespace, place.organization)
    manifests = read_manifests(files)
    findings = lint(manifests, settings)
    if output == "table":
        click.echo(_table(findings, len(manifests.documents)))
    else:
        click.echo(
            json.dumps(_sarif(findings) if output == "sarif" else _document(findings), indent=2, ensure_ascii=False)
        )
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


def _document(findings: Sequence[Finding]) -> Mapping[str, Any]:
    return {
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


def _sarif(findings: Sequence[Finding]) -> Mapping[str, Any]:
    """Return the findings as SARIF 2.1.0, which code hosts show beside the lines."""
    rules = sorted({str(finding.rule) for finding in findings})
    driver = {"name": names.DISTRIBUTION, "version": __version__, "rules": [{"id": rule} for rule in rules]}
    results = [
        {
            "ruleId": str(finding.rule),
            "level": finding.severity.value,
            "message": {"text": f"{finding.subject}: {finding.message}" if finding.subject else finding.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(finding.path)},
                        "region": {"startLine": finding.line},
                    }
                }
            ],
        }
        for finding in findings
    ]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
