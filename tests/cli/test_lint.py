"""``scoped-secrets lint``: each mistake that is valid for the API server, with its place and remedy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.crypto.support import DATA
from tests.operations.files import NAMESPACES, definition, policy, write

from scoped_secrets.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-91be03"
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----"

SEALED_UNDER_DATA_KEY: str = json.loads((DATA / "data-keys.json").read_text())[0]["text"]


def entry(name: str, value: str = CANARY, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, **more}


def plain(name: str) -> dict[str, Any]:
    return entry(name, "x", sensitive=False)


# What is in the file beside the namespaces: the severity, the rule, the field and a part of the message.
FINDINGS: dict[str, tuple[list[dict[str, Any]], str, str, str, str]] = {
    "a value in plain text": (
        [definition("acme/a", env=[entry("A")])],
        "warning",
        "PlainText",
        "spec.env[0].value",
        "replace it by `sealed`",
    ),
    "a PEM block without a final newline": (
        [definition("acme/a", files=[{"path": ".ssh/id", "content": PEM, "sensitive": False}])],
        "warning",
        "NoFinalNewline",
        "spec.files[0].content",
        "end it with a line break",
    ),
    "variables that differ in case": (
        [definition("acme/a", env=[plain("TOKEN"), plain("Token")])],
        "warning",
        "NearDuplicate",
        "spec.env[1].name",
        "only in case",
    ),
    "bundles that differ in case": (
        [definition("acme/a", secretName="aws"), definition("web/b", "Project", secretName="AWS")],
        "warning",
        "NearDuplicate",
        "spec.secretName",
        "differs from bundle 'aws' of acme/a only in case",
    ),
    "a policy that selects nothing": (
        [policy("acme/p", "aws", rules=[{"name": "r"}])],
        "warning",
        "SelectsNothing",
        "spec.secrets",
        "no definition that the policy governs matches",
    ),
    "an Allow policy without rules": (
        [definition("acme/aws"), policy("acme/p", "aws")],
        "warning",
        "NoRules",
        "spec.effect",
        "allows no job",
    ),
    "a policy whose rules cannot match": (
        [definition("acme/aws"), policy("acme/p", "aws", rules=[{"name": "r", "projects": ["api"]}])],
        "warning",
        "NeverAllows",
        "spec.secrets",
        "rule 'r': `projects`",
    ),
    "a definition that a final one hides": (
        [definition("acme/aws", final=True), definition("web/aws", "Project")],
        "warning",
        "Hidden",
        "spec",
        "because 'acme/aws' hides it everywhere",
    ),
    "a definition that has expired": (
        [definition("acme/aws", expireTime="2020-01-01T00:00:00Z")],
        "warning",
        "Expired",
        "spec.expireTime",
        "give a later time",
    ),
    "a file outside of the home of every job": (
        [definition("acme/aws", attach="Always", files=[{"path": "/etc/x", "content": "x", "sensitive": False}])],
        "warning",
        "PathNotAllowed",
        "spec.files[0].path",
        "attach: Always",
    ),
    "a scope that the namespace may not define": (
        [definition("web/aws", "Organization")],
        "error",
        "ScopeNotAllowed",
        "spec.scope",
        "only for the home",
    ),
    "a slot that two take": (
        [definition("acme/one", secretName="aws"), definition("acme/two", secretName="aws")],
        "error",
        "SlotTaken",
        "spec.secretName",
        "has the same organization",
    ),
    "final outside of the home": (
        [definition("web/aws", "Project", final=True)],
        "error",
        "NotTrusted",
        "spec.final",
        "counts only in the home",
    ),
    "an environment with namespaces of its own": (
        [definition("web/aws", "Environment", environment="production")],
        "error",
        "NotTrusted",
        "spec.environment",
        "namespaces of its own",
    ),
    "files that are one": (
        [
            definition(
                "acme/aws",
                files=[{"path": path, "content": "x", "sensitive": False} for path in (".ssh/a", "~/.ssh/a")],
            )
        ],
        "error",
        "PathConflict",
        "spec.files",
        "which are the same file",
    ),
    "a source that is reserved": (
        [definition("acme/aws", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "ssec-x", "key": "a"}}}])],
        "error",
        "ReservedName",
        "spec.env[0].valueFrom",
        "name another one",
    ),
    "a value of too many bytes": (
        [definition("acme/aws", env=[entry("A", "ü" * 20_000, sensitive=False)])],
        "error",
        "Invalid",
        "spec.env[0].value",
        "must be at most 32 KiB",
    ),
    "a text that is not sealed": (
        [definition("acme/aws", env=[{"name": "A", "sealed": f"v1:{CANARY}"}])],
        "error",
        "Invalid",
        "spec.env[0].sealed",
        "must be a sealed text",
    ),
    "a text without its data key": (
        [definition("acme/aws", env=[{"name": "A", "sealed": SEALED_UNDER_DATA_KEY}])],
        "error",
        "Invalid",
        "spec.env[0].sealed",
        "which `spec.dataKeys` does not have",
    ),
    "an object that stands there twice": (
        [definition("acme/aws"), definition("acme/aws")],
        "error",
        "Repeated",
        "metadata.name",
        "only one of the two is stored",
    ),
    "a namespace that is not known": (
        [definition("other/aws")],
        "warning",
        "NamespaceUnknown",
        "metadata.namespace",
        "give --namespace-scope",
    ),
}


def lint(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lint", *arguments], catch_exceptions=True)


def findings(folder: Path, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    file = write(folder, "file.yaml", NAMESPACES, *objects)
    result = lint("-f", file, "-o", "json")
    assert CANARY not in result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == any(each["severity"] == "error" for each in found)
    return found


@pytest.mark.parametrize("sentence", FINDINGS)
def test_finding_names_severity_rule_field_and_remedy(sentence: str, tmp_path: Path):
    objects, severity, rule, field, message = FINDINGS[sentence]

    found = findings(tmp_path, objects)

    matching = [each for each in found if (each["severity"], each["rule"], each["field"]) == (severity, rule, field)]
    assert matching, found
    assert any(message in each["message"] for each in matching)


def test_a_line_is_that_of_the_field_in_its_document(tmp_path: Path):
    found = findings(tmp_path, [definition("acme/a"), definition("acme/b", env=[plain("A"), entry("B")])])

    (only,) = found
    line = (tmp_path / "file.yaml").read_text().splitlines()[only["line"] - 1]
    assert line.strip() == f"value: {CANARY}"


def test_sound_files_have_no_finding_and_strict_ends_with_0(tmp_path: Path):
    objects = [
        definition("acme/aws", env=[plain("A")]),
        definition("web/aws", "Project", override="Merge", env=[plain("B")]),
        policy("acme/p", "aws", rules=[{"name": "r", "projects": ["web"]}]),
    ]
    file = write(tmp_path, "file.yaml", NAMESPACES, *objects)

    result = lint("-f", file, "--strict")

    assert (result.exit_code, result.stdout) == (0, "6 objects, 0 errors, 0 warnings\n")


def test_strict_ends_with_1_for_a_warning(tmp_path: Path):
    file = write(tmp_path, "file.yaml", NAMESPACES, definition("acme/aws", env=[entry("A")]))

    assert [lint("-f", file, *flags).exit_code for flags in ((), ("--strict",))] == [0, 1]


def test_file_that_is_no_yaml_is_a_finding_beside_those_of_other_files(tmp_path: Path):
    write(tmp_path, "a.yaml", f"a: [{CANARY}\n")
    write(tmp_path, "b.yaml", NAMESPACES, definition("web/aws"))

    result = lint("-f", str(tmp_path))

    assert result.exit_code == 1
    assert "a.yaml:2: error: Unreadable: the file must be valid YAML or JSON" in result.stdout
    assert "b.yaml:" in result.stdout
    assert CANARY not in result.output


def test_list_of_kubectl_counts_as_its_items(tmp_path: Path):
    body = {"apiVersion": "v1", "kind": "List", "items": [definition("acme/aws", scope="Team")]}
    file = write(tmp_path, "list.yaml", yaml.safe_dump(body))

    result = lint("-f", file)

    assert "`spec.scope` must be" in result.stdout


def test_sarif_has_each_finding_with_its_rule_and_line(tmp_path: Path):
    file = write(tmp_path, "file.yaml", NAMESPACES, definition("web/aws"))

    document = json.loads(lint("-f", file, "-o", "sarif").stdout)

    (run,) = document["runs"]
    (result,) = run["results"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [result["ruleId"]] == ["ScopeNotAllowed"]
    place = result["locations"][0]["physicalLocation"]
    assert (result["level"], place["artifactLocation"]["uri"]) == ("error", file)
    assert (tmp_path / "file.yaml").read_text().splitlines()[
        place["region"]["startLine"] - 1
    ] == "  scope: Organization"


def test_standard_input_is_a_file():
    text = yaml.safe_dump(definition("acme/aws", scope="Team"))

    result = CliRunner().invoke(cli, ["lint", "-f", "-"], input=text)

    assert result.exit_code == 1
    assert result.stdout.startswith("-:7: error: Invalid: ScopedSecret aws: `spec.scope` must be")
