"""``scoped-secrets test``: runs cases against files of definitions and policies, without a cluster."""

import json
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

import click

from scoped_secrets import __version__, names
from scoped_secrets.cli.offline_options import MOMENT_OPTION, take_moment
from scoped_secrets.cli.options import examples
from scoped_secrets.operations.job_tests import CaseResult, run_cases

__all__ = ["command"]


@click.command(
    "test",
    epilog=examples(
        "scoped-secrets test -f cases.yaml",
        "scoped-secrets test -f team/cases.yaml -o junit",
    ),
)
@click.option(
    "-f", "--filename", "files", metavar="CASES", multiple=True, required=True, help="Files of cases; several times."
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "junit"]), default="table", show_default=True)
@MOMENT_OPTION
def command(files: tuple[str, ...], *, output: str, **flags: Any) -> None:
    """Run cases: what a job gets, or why it is denied, from definitions in files and without a cluster.

    A file of cases names definitions, and for each case a pod or a job and what is expected: winners, variables, files,
    what is left out, or a denial with its reason. The decision is the one that admission makes.

    Exits with 0 when every case passes, and with 1 otherwise. A file without cases, or with an unknown field, is wrong
    usage: exit code 2.
    """
    results = run_cases(files, take_moment(flags))
    printed = {"table": _table, "json": _json, "junit": _junit}[output](results)
    click.echo(printed)
    sys.exit(0 if all(result.has_passed for result in results) else 1)


def _table(results: Sequence[CaseResult]) -> str:
    lines = []
    for result in results:
        lines.append(f"{'ok' if result.has_passed else 'FAILED':<6}  {result.path}: {result.name}")
        lines += (f"{'':<6}    {difference}" for difference in result.differences)
    failed = sum(not result.has_passed for result in results)
    lines.append(f"{len(results)} cases, {failed} failed")
    return "\n".join(lines)


def _json(results: Sequence[CaseResult]) -> str:
    document = {
        "version": __version__,
        "cases": [
            {
                "file": result.path,
                "name": result.name,
                "passed": result.has_passed,
                "differences": list(result.differences),
            }
            for result in results
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _junit(results: Sequence[CaseResult]) -> str:
    suites = ET.Element("testsuites", name=names.DISTRIBUTION)
    for path, members in groupby(results, key=lambda result: result.path):
        group = list(members)
        failed = sum(not result.has_passed for result in group)
        suite = ET.SubElement(suites, "testsuite", name=path, tests=str(len(group)), failures=str(failed), errors="0")
        for result in group:
            case = ET.SubElement(suite, "testcase", classname=path, name=result.name)
            if not result.has_passed:
                text = "\n".join(result.differences)
                ET.SubElement(case, "failure", message=result.differences[0]).text = text
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)
