"""Complaints about CI systems that files answer; the numbers are those of operator/docs/complaints.md."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.operations.files import NAMESPACES, definition, pod, policy, write

from scoped_secrets import names
from scoped_secrets.cli.main import cli
from scoped_secrets.errors import ScopedSecretsError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-5d2f17"
WEB = ("-p", "web")
REVIEW = (*WEB, "--environment", "review/a")


def entries(*variables: str) -> list[dict[str, Any]]:
    return [{"name": each, "value": CANARY} for each in variables]


def ask(folder: Path, *arguments: str, objects: list[dict[str, Any]]) -> Result:
    files = write(folder, "files.yaml", NAMESPACES, *objects)
    result = CliRunner().invoke(cli, [*arguments, "-f", files])
    assert result.exception is None or isinstance(result.exception, (SystemExit, ScopedSecretsError))
    assert CANARY not in result.output + str(result.exception)
    return result


def winner(folder: Path, *flags: str, objects: list[dict[str, Any]]) -> str:
    result = ask(folder, "explain", "aws", *flags, "-o", "json", objects=objects)
    (document,) = json.loads(result.stdout)
    (won,) = (each["definition"] for each in document["definitions"] if each["result"] == "winner")
    return str(won)


def rendered(folder: Path, body: dict[str, Any], objects: list[dict[str, Any]]) -> dict[str, Any]:
    result = ask(folder, "render", "--pod", write(folder, "pod.yaml", body), objects=objects)
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = yaml.safe_load(result.stdout)
    return found


def refusal(folder: Path, body: dict[str, Any], objects: list[dict[str, Any]]) -> str:
    result = ask(folder, "render", "--pod", write(folder, "pod.yaml", body), objects=objects)
    assert result.exit_code == 1
    return result.output + str(result.exception)


def test_complaint_3_overlapping_patterns_have_one_order(tmp_path: Path):
    objects = [
        definition("web/aws-any", "Environment", environment="*", secretName="aws"),
        definition("web/aws-review", "Environment", environment="review/*", secretName="aws"),
        definition("web/aws-one", "Environment", environment="review/a", secretName="aws"),
    ]
    for ordered in (objects, objects[::-1]):
        assert winner(tmp_path, *REVIEW, objects=ordered) == "web/aws-one"
        assert winner(tmp_path, *WEB, "--environment", "review/b", objects=ordered) == "web/aws-review"
        assert winner(tmp_path, *WEB, "--environment", "staging", objects=ordered) == "web/aws-any"


def test_complaint_4_one_definition_serves_several_environments(tmp_path: Path):
    rule = {"name": "two", "environments": ["staging", "review/*"]}
    objects = [definition("web/aws", "Project", env=entries("A")), policy("web/p", "aws", rules=[rule])]
    answers = {
        environment: ask(tmp_path, "can-use", "aws", *WEB, "--environment", environment, objects=objects).exit_code
        for environment in ("staging", "review/a", "production")
    }
    assert answers == {"staging": 0, "review/a": 0, "production": 1}


@pytest.mark.parametrize("flags", [("--creator", "bot"), ("--creator", "ann"), ("--event", "schedule")])
def test_complaint_6_rules_about_the_workload_hold_for_every_person(tmp_path: Path, flags: tuple[str, ...]):
    objects = [
        definition("web/aws", "Project"),
        policy("web/p", "aws", rules=[{"name": "ci", "serviceAccounts": ["ci"]}]),
    ]
    account = ("can-use", "aws", *WEB, *flags, "--service-account")
    assert ask(tmp_path, *account, "ci", objects=objects).exit_code == 0
    assert ask(tmp_path, *account, "other", objects=objects).exit_code == 1


def test_complaint_7_missing_secret_refuses_the_pod_instead_of_an_empty_value(tmp_path: Path):
    message = refusal(tmp_path, pod("web/build", "aws"), [])
    assert f"{names.Reason.NOT_FOUND}: " in message
    assert "'aws'" in message
    assert rendered(tmp_path, pod("web/build", "aws?"), [])["kind"] == "Pod"


def test_complaint_8_environment_follows_from_the_namespace_of_the_job(tmp_path: Path):
    objects = [
        definition("web/aws", "Project", env=entries("A")),
        definition("web-production/aws", "Environment", environment="production", env=entries("B")),
    ]
    for namespace, variable in (("web", "A"), ("web-production", "B")):
        body = rendered(tmp_path, pod(f"{namespace}/build", "aws"), objects)
        assert variable in {each["name"] for each in body["spec"]["containers"][0]["env"]}


def test_complaint_10_key_of_several_lines_is_a_file_byte_for_byte(tmp_path: Path):
    key = "-----BEGIN KEY-----\nfirst\nsecond\n-----END KEY-----\n"
    files = write(
        tmp_path, "k.yaml", NAMESPACES, definition("web/aws", "Project", files=[{"path": "key", "content": key}])
    )
    job = write(tmp_path, "pod.yaml", pod("web/build", "aws"))
    result = CliRunner().invoke(cli, ["render", "-f", files, "--pod", job, "--reveal"])
    assert result.exit_code == 0
    (secret,) = (each for each in yaml.safe_load_all(result.stdout) if each and each["kind"] == "Secret")
    assert [base64.b64decode(text).decode() for text in secret["data"].values()] == [key]


def test_complaint_11_denial_names_rule_and_claim(tmp_path: Path):
    objects = [
        definition("acme/aws"),
        policy("acme/guard", "aws", rules=[{"name": "main", "refs": ["refs/heads/main"]}]),
    ]
    result = ask(tmp_path, "can-use", "aws", *WEB, "--ref", "refs/heads/dev", objects=objects)
    assert result.exit_code == 1
    assert "policy 'acme/guard', rule 'main': `refs` does not match" in result.stdout


def test_complaint_18_pod_cannot_choose_an_environment_that_its_namespace_may_not_have(tmp_path: Path):
    body = pod("web/build", "aws", annotations={names.ENVIRONMENT_ANNOTATION: "production"})
    message = refusal(tmp_path, body, [definition("web/aws", "Project")])
    assert names.Reason.ENVIRONMENT_NOT_ALLOWED in message


@pytest.mark.parametrize(
    "ref",
    ["refs/heads/main2", "refs/heads/x/refs/heads/main", "refs/tags/main", "refs/heads/Main", "refs/heads/main/x"],
)
def test_complaint_19_refs_are_compared_as_a_whole(tmp_path: Path, ref: str):
    objects = [
        definition("acme/aws"),
        policy("acme/guard", "aws", rules=[{"name": "main", "refs": ["refs/heads/main"]}]),
    ]
    assert ask(tmp_path, "can-use", "aws", *WEB, "--ref", ref, objects=objects).exit_code == 1
    assert ask(tmp_path, "can-use", "aws", *WEB, "--ref", "refs/heads/main", objects=objects).exit_code == 0


def test_complaint_21_pod_has_references_and_no_value(tmp_path: Path):
    body = rendered(tmp_path, pod("web/build", "aws"), [definition("web/aws", "Project", env=entries("A", "B"))])
    variables = {each["name"]: each for each in body["spec"]["containers"][0]["env"]}
    for name in ("A", "B"):
        assert variables[name].keys() == {"name", "valueFrom"}
        assert variables[name]["valueFrom"]["secretKeyRef"]["name"].startswith(names.BUNDLE_PREFIX)


def test_complaint_23_letters_keep_their_case_and_near_names_are_found(tmp_path: Path):
    objects = [definition("web/aws", "Project", env=entries("token", "Token"))]
    body = rendered(tmp_path, pod("web/build", "aws"), objects)
    found = json.loads(ask(tmp_path, "lint", "-o", "json", objects=objects).stdout)
    assert {"token", "Token"} <= {each["name"] for each in body["spec"]["containers"][0]["env"]}
    assert "NearDuplicate" in json.dumps(found)


def test_complaint_25_more_entries_than_allowed_are_refused_and_never_cut(tmp_path: Path):
    objects = [definition("web/aws", "Project", env=entries(*(f"V{number}" for number in range(300))))]
    result = ask(tmp_path, "lint", "-o", "json", objects=objects)
    assert result.exit_code == 1
    assert "spec.env" in result.stdout
    fits = [definition("web/aws", "Project", env=entries(*(f"V{number}" for number in range(100))))]
    body = rendered(tmp_path, pod("web/build", "aws"), fits)
    assert len([each for each in body["spec"]["containers"][0]["env"] if each["name"].startswith("V")]) == 100


def test_complaint_26_job_names_its_own_bundle_only_and_never_the_source(tmp_path: Path):
    """The organization's definition stays in its home."""
    objects = [definition("acme/aws", env=entries("A"), files=[{"path": "key", "content": CANARY}])]
    assert winner(tmp_path, *WEB, objects=objects) == "acme/aws"
    body = rendered(tmp_path, pod("web/build", "aws"), objects)
    text = json.dumps(body["spec"])
    assert body["metadata"]["namespace"] == "web"
    assert '"name": "acme' not in text
    assert f'"{names.BUNDLE_PREFIX}' in text
