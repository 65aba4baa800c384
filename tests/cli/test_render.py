"""``scoped-secrets render``: files in, the pod as injected out."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
import yaml
from click.testing import CliRunner, Result
from tests.operations.files import NAMESPACES, definition, job, pod, policy, write

from scoped_secrets.cli.main import cli
from scoped_secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-7d21aa"


@pytest.fixture
def files(tmp_path: Path) -> str:
    """A folder with definitions of bundle `aws` in the organization and in production."""
    write(tmp_path, "files/namespaces.yaml", NAMESPACES)
    write(
        tmp_path,
        "files/nested/secrets.yaml",
        definition(
            "acme/aws",
            env=[{"name": "REGION", "value": "eu-west-1", "sensitive": False}, {"name": "KEY", "value": f"{CANARY}-1"}],
        ),
        definition(
            "web-production/aws",
            "Environment",
            environment="production",
            override="Merge",
            env=[{"name": "KEY", "value": f"{CANARY}-2"}],
            files=[{"path": ".ssh/deploy", "content": f"{CANARY}-3\n"}],
        ),
        policy("acme/guard", "aws", rules=[{"name": "deployer-only", "serviceAccounts": ["deployer"]}]),
    )
    return str(tmp_path / "files")


def render(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["render", *arguments], catch_exceptions=True)


def test_render_prints_the_injected_pod_and_the_bundle_without_a_value(files: str, tmp_path: Path):
    file = write(tmp_path, "pod.yaml", pod("web-production/deploy", "aws", serviceAccountName="deployer"))

    result = render("-f", files, "--pod", file)

    assert result.exit_code == 0
    body = yaml.safe_load(result.stdout)
    (container,) = body["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["REGION", "KEY"]
    assert "/root/.ssh/deploy" in [each["mountPath"] for each in container["volumeMounts"]]
    assert "# bundle aws: web-production/aws (Environment), merged with acme/aws" in result.stdout
    assert "allowed by acme/guard, rule deployer-only" in result.stdout
    assert "aws: variable 'REGION' at most 9 bytes, in the file, from acme/aws" in " ".join(result.stdout.split())
    assert CANARY not in result.output


def test_patch_of_render_makes_the_pod_of_render(files: str, tmp_path: Path):
    body = pod("web-production/deploy", "aws", serviceAccountName="deployer")
    file = write(tmp_path, "pod.yaml", body)

    patch = json.loads(render("-f", files, "--pod", file, "-o", "patch").stdout)
    rendered = yaml.safe_load(render("-f", files, "--pod", file).stdout)

    assert jsonpatch.apply_patch(body, patch) == rendered


def test_diff_has_only_added_lines_and_replaced_empty_ones(files: str, tmp_path: Path):
    file = write(tmp_path, "pod.yaml", pod("web-production/deploy", "aws", serviceAccountName="deployer"))

    lines = render("-f", files, "--pod", file, "-o", "diff").stdout.splitlines()

    assert [line for line in lines if line.startswith("-") and not line.startswith("---")] == []
    assert "+    - name: KEY" in lines


def test_values_that_the_files_have_are_printed_only_with_reveal(files: str, tmp_path: Path):
    file = write(tmp_path, "pod.yaml", pod("web-production/deploy", "aws", serviceAccountName="deployer"))

    _, secret = yaml.safe_load_all(render("-f", files, "--pod", file, "--reveal").stdout)

    values = {base64.b64decode(text).decode() for text in secret["data"].values()}
    assert values == {"eu-west-1", f"{CANARY}-2", f"{CANARY}-3\n"}


def test_denied_pod_ends_with_1_and_the_words_of_admission(files: str, tmp_path: Path):
    file = write(tmp_path, "pod.yaml", pod("web-production/intruder", "aws"))

    result = render("-f", files, "--pod", file)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "PolicyDenied: bundle 'aws' is denied by policy 'acme/guard', rule 'deployer-only'" in result.stderr


@pytest.mark.parametrize("kind", ["Job", "CronJob", "Deployment"])
def test_workload_counts_by_its_template(kind: str, files: str, tmp_path: Path):
    body = job("web/build", "aws?")
    body["kind"] = kind
    if kind == "CronJob":
        body["spec"] = {"schedule": "@daily", "jobTemplate": {"spec": body["spec"]}}
    file = write(tmp_path, "workload.yaml", body)

    rendered = yaml.safe_load(render("-f", files, "--pod", file).stdout)

    assert rendered["metadata"]["generateName"] == "build-"
    assert json.loads(rendered["metadata"]["annotations"]["scopedsecrets.dev/resolution"])["leftOut"] == [
        {"name": "aws", "reason": "PolicyDenied"}
    ]


def test_scope_of_a_namespace_without_a_manifest_comes_from_a_flag(tmp_path: Path):
    secrets = write(tmp_path, "secrets.yaml", definition("home/token", env=[{"name": "TOKEN", "value": CANARY}]))
    file = write(tmp_path, "pod.yaml", pod("jobs/build", "token"))

    without = render("-f", secrets, "--pod", file)
    given = render(
        "-f", secrets, "--pod", file, "--namespace-scope", "home=acme", "--namespace-scope", "jobs=acme/web/review/42"
    )

    assert "NamespaceOutside" in without.stderr
    assert given.exit_code == 0
    assert '"environment":"review/42"' in given.stdout


def test_pod_without_the_opt_in_stays_as_it_is_with_a_warning(files: str, tmp_path: Path):
    body = pod("web/build", "aws")
    del body["metadata"]["labels"]
    file = write(tmp_path, "pod.yaml", body)

    result = render("-f", files, "--pod", file)

    assert yaml.safe_load(result.stdout) == body
    assert "has no label" in result.stderr


MISTAKES: dict[str, tuple[Any, str]] = {
    "no YAML": (f"a: {{b: {CANARY}\n", ":2: must be valid YAML or JSON"),
    "a key twice": (f"apiVersion: v1\nkind: Pod\nkind: {CANARY}\n", ":3: must have each key once"),
    "an invalid definition": (
        definition("acme/x", env=[{"name": "A", "valu": CANARY}]),
        "ScopedSecret 'x': `spec.env[0]` must have exactly one of `value`, `sealed` and `valueFrom`",
    ),
    "an alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(7)),
        "must not repeat itself with aliases",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_file_that_cannot_be_used_is_named_with_its_line_and_nothing_of_it(mistake: str, files: str, tmp_path: Path):
    given, message = MISTAKES[mistake]
    broken = write(tmp_path, "broken.yaml", given)
    file = write(tmp_path, "pod.yaml", pod("web/build", "aws"))

    result = render("-f", files, "-f", broken, "--pod", file)

    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)
    assert CANARY not in str(result.exception)
