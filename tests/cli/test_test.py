"""``scoped-secrets test``: cases that pass, fail, and cannot be run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from tests.operations.files import NAMESPACES, definition, pod, policy, write

from scoped_secrets.cli.main import cli
from scoped_secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-c3d9e1"
JOB = {"project": "web", "environment": "production", "secrets": "aws, missing?", "serviceAccount": "deployer"}
GOT = {
    "winners": {"aws": "web-production/aws"},
    "variables": ["KEY", "REGION"],
    "files": ["/root/.ssh/deploy"],
    "leftOut": {"missing": "NotFound"},
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Definitions of bundle `aws`, which only a deployer of a tag or of main may use."""
    rules = [{"name": "deployer-only", "serviceAccounts": ["deployer"]}]
    write(
        tmp_path,
        "secrets.yaml",
        NAMESPACES,
        definition("acme/aws", env=[{"name": "REGION", "value": CANARY}]),
        definition(
            "web-production/aws",
            "Environment",
            environment="production",
            override="Merge",
            env=[{"name": "KEY", "value": CANARY}],
            files=[{"path": ".ssh/deploy", "content": CANARY}],
        ),
        policy("acme/guard", "aws", rules=rules),
        definition("acme/release"),
        policy("acme/release", "release", rules=[{"name": "main", "refs": ["refs/heads/main"]}]),
    )


def run(folder: Path, *cases: dict[str, Any], output: str = "json", **file: Any) -> Result:
    path = write(folder, "cases.yaml", {"definitions": ["secrets.yaml"], "cases": list(cases), **file})
    return CliRunner().invoke(cli, ["test", "-f", path, "-o", output], catch_exceptions=True)


def differences(folder: Path, *cases: dict[str, Any], **file: Any) -> list[str]:
    """Return the differences of all cases, which are there exactly when the command fails."""
    result = run(folder, *cases, **file)
    found = [each for case in json.loads(result.stdout)["cases"] for each in case["differences"]]
    assert result.exit_code == bool(found)
    assert CANARY not in result.output
    return found


def test_cases_that_the_files_fulfill_pass(tmp_path: Path):
    write(tmp_path, "pod.yaml", pod("web-production/intruder", "aws"))
    cases: list[dict[str, Any]] = [
        {"name": "deployer", "job": JOB, "expect": GOT},
        {"name": "intruder", "pod": "pod.yaml", "expect": {"denied": "PolicyDenied", "message": "deployer-only"}},
        {"name": "no definition", "job": {"namespace": "web", "secrets": "x"}, "expect": {"denied": "NotFound"}},
        {
            "name": "main",
            "job": {"namespace": "web", "secrets": "release"},
            "claims": {"ref": "refs/heads/main"},
            "expect": {"winners": {"release": "acme/release"}},
        },
        {
            "name": "another branch",
            "job": {"namespace": "web", "secrets": "release"},
            "claims": {"ref": "refs/heads/dev"},
            "expect": {"denied": "PolicyDenied", "message": "`refs` does not match"},
        },
        {
            "name": "environment of the namespace's annotation",
            "job": {"project": "web", "environment": "review/7", "secrets": ""},
            "expect": {"winners": {}},
        },
    ]

    assert differences(tmp_path, *cases) == []


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "another winner": (
        {"winners": {"aws": "acme/aws"}},
        '`winners` is {"aws": "web-production/aws"}, expected {"aws": "acme/aws"}',
    ),
    "a variable too few": ({"variables": ["KEY", "OTHER", "REGION"]}, "`variables` lacks 'OTHER'"),
    "a variable too many": ({"variables": ["KEY"]}, "`variables` also has 'REGION'"),
    "another file": ({"files": ["/root/.ssh/other", "/root/.ssh/deploy"]}, "`files` lacks '/root/.ssh/other'"),
    "nothing left out": ({"leftOut": {}}, '`leftOut` is {"missing": "NotFound"}, expected {}'),
    "a denial": ({"denied": "PolicyDenied"}, "the job is allowed, and PolicyDenied is expected"),
}


@pytest.mark.parametrize("what", OTHER)
def test_case_that_expects_something_else_fails_and_names_it(what: str, tmp_path: Path):
    expect, difference = OTHER[what]

    assert differences(tmp_path, {"name": "deployer", "job": JOB, "expect": {**GOT, **expect} if "denied" not in expect else expect}) == [difference]  # fmt: skip  # noqa: E501


DENIALS: dict[str, tuple[dict[str, Any], str]] = {
    "no denial": ({"winners": {}}, "the job is denied: PolicyDenied: bundle 'aws'"),
    "another reason": ({"denied": "NotFound"}, "the job is denied for another reason than NotFound: PolicyDenied"),
    "another message": (
        {"denied": "PolicyDenied", "message": "another rule"},
        "the denial does not contain `message`: PolicyDenied",
    ),
}


@pytest.mark.parametrize("what", DENIALS)
def test_denied_case_that_expects_something_else_fails(what: str, tmp_path: Path):
    expect, difference = DENIALS[what]

    (found,) = differences(tmp_path, {"name": "x", "job": {**JOB, "serviceAccount": "other"}, "expect": expect})

    assert found.startswith(difference)


def test_settings_of_the_operator_and_the_time_are_those_of_the_file(tmp_path: Path):
    write(tmp_path, "more.yaml", definition("web/token", "Project", expireTime="2030-01-01T00:00:00Z"))
    job = {"namespace": "web", "secrets": "token"}
    both = ["secrets.yaml", "more.yaml"]

    def expect(denied: str, **file: Any) -> None:
        assert differences(tmp_path, {"name": "x", "job": job, "expect": {"denied": denied}}, definitions=both, **file) == []  # fmt: skip  # noqa: E501

    expect("PolicyDenied", defaultAccess="Deny", now="2026-01-01T00:00:00Z")
    expect("Expired", now="2031-01-01T00:00:00Z")


UNUSABLE: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "nothing to run": ([], {}, "`cases` must have at least 1 item"),
    "an unknown field of a case": (
        [{"name": "x", "job": JOB, "expect": {"winner": {}}}],
        {},
        "`cases[0].expect` must have only known fields",
    ),
    "an unknown field of the file": (
        [{"name": "x", "job": JOB, "expect": GOT}],
        {"definition": []},
        "must have only known fields",
    ),
    "no expectation": ([{"name": "x", "job": JOB, "expect": {}}], {}, "`cases[0].expect` must have at least one of"),
    "a denial with winners": (
        [{"name": "x", "job": JOB, "expect": {"denied": "NotFound", "winners": {}}}],
        {},
        "must have `denied` alone",
    ),
    "a job without a place": (
        [{"name": "x", "job": {"secrets": "aws"}, "expect": GOT}],
        {},
        "`cases[0].job` must have `namespace`",
    ),
    "a job whose project is not known": (
        [{"name": "x", "job": {"project": "api"}, "expect": GOT}],
        {},
        "no namespace of the job's project is known",
    ),
    "a reason that does not exist": (
        [{"name": "x", "job": JOB, "expect": {"denied": "Refused"}}],
        {},
        "`cases[0].expect.denied` must be",
    ),
    "neither pod nor job": ([{"name": "x", "expect": GOT}], {}, "`cases[0]` must have either `pod`"),
    "a name twice": ([{"name": "x", "job": JOB, "expect": GOT}] * 2, {}, "`cases` must have each `name` once"),
    "no file of definitions": (
        [{"name": "x", "job": JOB, "expect": GOT}],
        {"definitions": ["missing.yaml"]},
        "missing.yaml does not exist",
    ),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_file_that_cannot_be_run_is_wrong_usage(what: str, tmp_path: Path):
    cases, file, message = UNUSABLE[what]

    result = run(tmp_path, *cases, **file)

    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


def test_junit_has_each_case_and_its_differences(tmp_path: Path):
    cases: list[dict[str, Any]] = [
        {"name": "good", "job": JOB, "expect": GOT},
        {"name": "bad <&>", "job": JOB, "expect": {"variables": []}},
    ]

    result = run(tmp_path, *cases, output="junit")

    (suite,) = ET.fromstring(result.stdout)  # noqa: S314 - our own output
    assert (result.exit_code, suite.get("tests"), suite.get("failures")) == (1, "2", "1")
    good, bad = suite
    assert (good.get("name"), len(good)) == ("good", 0)
    assert bad.get("name") == "bad <&>"
    assert (bad[0].get("message") or "").startswith("`variables` also has 'KEY'")


def test_table_counts_cases_and_failures(tmp_path: Path):
    result = run(tmp_path, {"name": "good", "job": JOB, "expect": GOT}, output="table")

    assert result.stdout.splitlines()[-1] == "1 cases, 0 failed"
