"""Every definition of a bundle has a result and a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from tests.operations.files import NAMESPACES, definition, pod, policy, write

from scoped_secrets.cli.main import cli
from scoped_secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-e77f40"


def entries(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": CANARY} for name in names]


def ask(folder: Path, *arguments: str, objects: list[dict[str, Any]]) -> Result:
    files = write(folder, "files.yaml", NAMESPACES, *objects)
    result = CliRunner().invoke(cli, [*arguments, "-f", files], catch_exceptions=True)
    assert CANARY not in result.output + str(result.exception)
    return result


def explained(folder: Path, *flags: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    result = ask(folder, "explain", "aws", *flags, "-o", "json", objects=objects)
    (document,) = json.loads(result.stdout)
    assert result.exit_code == (0 if document["granted"] else 1)
    found: dict[str, Any] = document
    return found


PROJECT = ("-p", "web")
STAGING = (*PROJECT, "--environment", "staging")
PRODUCTION = (*PROJECT, "--environment", "production")

# The definitions, the job, and the result and a part of the reason of each definition in the order of the answer.
RESULTS: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], list[tuple[str, str, str]]]] = {
    "a narrower one replaces": (
        [definition("acme/aws", env=entries("A")), definition("web/aws", "Project", env=entries("B"))],
        PROJECT,
        [
            ("web/aws", "winner", "no narrower definition than scope Project applies"),
            ("acme/aws", "shadowed", "'web/aws' takes precedence and says `override: Replace`"),
        ],
    ),
    "a narrower one merges": (
        [definition("acme/aws"), definition("web/aws", "Project", override="Merge")],
        PROJECT,
        [("web/aws", "winner", "Project"), ("acme/aws", "merged", "'web/aws' says `override: Merge`")],
    ),
    "a wider one is final": (
        [definition("acme/aws", final=True), definition("web/aws", "Project")],
        PROJECT,
        [("acme/aws", "winner", "says `final: true`"), ("web/aws", "blocked", "'acme/aws' is wider")],
    ),
    "an exact name before a pattern": (
        [
            definition("web/any", "Environment", environment="*", secretName="aws"),
            definition("web/exact", "Environment", environment="staging", secretName="aws"),
            definition("web/other", "Environment", environment="review/*", secretName="aws"),
        ],
        STAGING,
        [
            ("web/exact", "winner", "exact match of environment 'staging'"),
            ("web/any", "shadowed", "'web/exact' takes precedence"),
            ("web/other", "no candidate", "environment 'review/*' does not match 'staging'"),
        ],
    ),
    "a job without an environment": (
        [definition("acme/aws"), definition("web/exact", "Environment", environment="staging", secretName="aws")],
        PROJECT,
        [
            ("acme/aws", "winner", "scope Organization"),
            ("web/exact", "no candidate", "is for environment 'staging', and the job has none"),
        ],
    ),
    "a slot that two take": (
        [definition("acme/aws"), definition("acme/copy", secretName="aws")],
        PROJECT,
        [("acme/aws", "winner", "Organization"), ("acme/copy", "no candidate", "the same slot and keeps it")],
    ),
    "a namespace that is trusted less": (
        [
            definition("web-production/aws", "Environment", environment="production"),
            definition("web/any", "Environment", environment="prod*", secretName="aws"),
        ],
        PRODUCTION,
        [
            ("web-production/aws", "winner", "exact match of environment 'production'"),
            ("web/any", "no candidate", "is trusted less than those of the job's environment (NotTrusted)"),
        ],
    ),
    "a scope that the namespace may not define": (
        [definition("acme/aws"), definition("web/aws", "Organization")],
        PROJECT,
        [
            ("acme/aws", "winner", "Organization"),
            ("web/aws", "no candidate", "its namespace may not define it (ScopeNotAllowed)"),
        ],
    ),
}


@pytest.mark.parametrize("sentence", RESULTS)
def test_every_definition_has_its_result_and_the_reason(sentence: str, tmp_path: Path):
    objects, flags, expected = RESULTS[sentence]

    found = explained(tmp_path, *flags, objects=objects)["definitions"]

    assert [(each["definition"], each["result"]) for each in found] == [(where, what) for where, what, _ in expected]
    assert all(why in each["why"] for each, (_, _, why) in zip(found, expected, strict=True))


def test_entries_of_shadowed_definitions_only_are_named_as_not_delivered(tmp_path: Path):
    objects = [
        definition("acme/aws", env=entries("KEY", "REGION"), files=[{"path": "~/.aws/config", "content": CANARY}]),
        definition("web/aws", "Project", env=entries("KEY")),
    ]

    assert explained(tmp_path, *PROJECT, objects=objects)["notDelivered"] == ["REGION", "~/.aws/config"]


def test_bundle_of_a_job_that_another_bundle_denies_says_so(tmp_path: Path):
    objects = [
        definition("acme/aws"),
        definition("web/broken", "Project", attach="Always", expireTime="2020-01-01T00:00:00Z"),
    ]

    found = explained(tmp_path, *PROJECT, objects=objects)

    assert (found["granted"], found["reason"]) == (False, "Expired")
    assert found["message"].startswith("the job is denied because of another bundle: bundle 'broken'")
    assert [each["result"] for each in found["definitions"]] == ["winner"]


def test_environment_that_is_not_allowed_is_told_in_the_words_of_admission(tmp_path: Path):
    found = explained(tmp_path, *PROJECT, "--environment", "qa", objects=[definition("acme/aws")])

    assert (found["reason"], found["definitions"]) == ("EnvironmentNotAllowed", [])
    assert "does not allow" in found["message"]


def test_bundles_of_a_pod_in_a_file_are_explained_one_by_one(tmp_path: Path):
    objects = [
        definition("acme/aws", env=entries("A")),
        definition("acme/attached", attach="Always"),
        pod("web/build", "aws, missing?"),
    ]

    result = ask(tmp_path, "explain", "pod/build", "-n", "web", "-o", "json", objects=objects)

    found = {each["bundle"]: (each["granted"], each["reason"]) for each in json.loads(result.stdout)}
    assert found == {"attached": (True, ""), "aws": (True, ""), "missing": (False, "NotFound")}
    assert result.exit_code == 1


def test_table_shows_the_definitions_and_the_decision(tmp_path: Path):
    objects = [definition("acme/aws", env=entries("A")), policy("acme/p", "aws", effect="Deny")]

    result = ask(tmp_path, "explain", "aws", *PROJECT, objects=objects)

    heading = "Bundle aws for a job in namespace web (organization acme, project web)"
    assert result.stdout.startswith(f"{heading}\nSCOPE         DEFINITION  KEYS  RESULT  WHY\n")
    assert "Decision: not granted: PolicyDenied: bundle 'aws' is denied by policy 'acme/p'" in result.stdout


ANSWERS: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], int, str]] = {
    "the default access": ([definition("acme/aws")], PROJECT, 0, "yes: allowed by the default access"),
    "another default access": (
        [definition("acme/aws")],
        (*PROJECT, "--default-access", "Deny"),
        1,
        "no: PolicyDenied: bundle 'aws' is denied by the default access Deny",
    ),
    "the account of a namespace": (
        [definition("acme/aws"), policy("acme/p", "aws", rules=[{"name": "r", "serviceAccounts": ["ci"]}])],
        ("--service-account", "web/ci"),
        0,
        "yes: allowed by policy 'acme/p', rule 'r'",
    ),
    "a ref": (
        [definition("acme/aws"), policy("acme/p", "aws", rules=[{"name": "r", "refs": ["refs/heads/main"]}])],
        (*PROJECT, "--ref", "refs/heads/main"),
        0,
        "yes: allowed by policy 'acme/p', rule 'r'",
    ),
    "another ref": (
        [definition("acme/aws"), policy("acme/p", "aws", rules=[{"name": "r", "refs": ["refs/heads/main"]}])],
        (*PROJECT, "--ref", "refs/heads/dev"),
        1,
        "no: PolicyDenied",
    ),
    "a time": (
        [definition("acme/aws"), policy("acme/p", "aws", rules=[{"name": "r", "notAfter": "2026-01-01T00:00:00Z"}])],
        (*PROJECT, "--now", "2025-12-31T00:00:00Z"),
        0,
        "yes: allowed by policy 'acme/p', rule 'r'",
    ),
    "a namespace that is not known": (
        [definition("acme/aws"), definition("other/aws")],
        PROJECT,
        2,
        "not known, as far as you may read yes",
    ),
}


@pytest.mark.parametrize("sentence", ANSWERS)
def test_can_use_answers_with_its_exit_code(sentence: str, tmp_path: Path):
    objects, flags, code, text = ANSWERS[sentence]

    result = ask(tmp_path, "can-use", "aws", *flags, objects=objects)

    assert (result.exit_code, result.stdout[: len(text)]) == (code, text)


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "no place": (("explain", "aws"), "the job needs a place"),
    "a project that is not known": (("explain", "aws", "-p", "api"), "no namespace of the job's project is known"),
    "two namespaces": (
        ("can-use", "aws", "-n", "web", "--service-account", "acme/ci"),
        "must name the namespace of --namespace",
    ),
    "no such pod": (("explain", "pod/none", "-n", "web"), "the files have no Pod 'none' of namespace 'web'"),
    "a pod that does not opt in": (("explain", "pod/plain", "-n", "web"), "so that it gets nothing"),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_question_that_has_no_answer_is_wrong_usage(sentence: str, tmp_path: Path):
    arguments, message = MISTAKES[sentence]
    plain = pod("web/plain", "aws")
    plain["metadata"]["labels"] = {}

    result = ask(tmp_path, *arguments, objects=[definition("acme/aws"), plain])

    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)
