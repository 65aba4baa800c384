"""Lint rejects what the API server rejects: both take the objects of the same tables."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.api.support import CANARY, changed, full_policy
from tests.api.test_crds_on_api_server import (
    CRDS,
    POLICY_RULES,
    SECRET_RULES,
    UNKNOWN,
    full_secret,
    policy,
    rule_messages,
)

from scoped_secrets.operations.given_scope import GivenScope
from scoped_secrets.operations.lint import Finding, LintSettings, Severity, lint
from scoped_secrets.operations.manifests import read_manifests

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = LintSettings(
    datetime(2026, 6, 1, tzinfo=UTC),
    scopes=(GivenScope("acme", "acme"),),
    namespace="acme",
    default_organization="acme",
)


def errors_of(body: dict[str, Any], folder: Path) -> list[Finding]:
    """Return the errors about an object in a file."""
    file = folder / "object.json"
    file.write_text(json.dumps(body, indent=1))
    return [each for each in lint(read_manifests([str(file)]), SETTINGS) if each.severity is Severity.ERROR]


def demand_of(expected: str) -> str:
    """Return the sentence of a CEL rule in the API server's words, empty for a rule of the schema."""
    demand = expected.rpartition("Invalid value: ")[2].rpartition('": ')[2]
    return demand if demand.startswith("must ") and "must be of type" not in demand else ""


@pytest.mark.parametrize("sentence", SECRET_RULES)
def test_lint_rejects_a_scoped_secret_that_the_api_server_rejects(sentence: str, tmp_path: Path):
    path, value, expected = SECRET_RULES[sentence]
    body = changed(full_secret(), path, value)
    if path == "metadata.name":
        del body["spec"]["secretName"]

    errors = errors_of(body, tmp_path)

    assert errors
    assert any(demand_of(expected) in error.message for error in errors)
    assert CANARY not in repr(errors)


@pytest.mark.parametrize("sentence", POLICY_RULES)
def test_lint_rejects_a_policy_that_the_api_server_rejects(sentence: str, tmp_path: Path):
    path, value, expected = POLICY_RULES[sentence]

    errors = errors_of(changed(policy(), path, value), tmp_path)

    assert errors
    assert any(demand_of(expected) in error.message for error in errors)


@pytest.mark.parametrize("sentence", UNKNOWN)
def test_lint_rejects_an_unknown_field_and_names_its_line(sentence: str, tmp_path: Path):
    path, value = UNKNOWN[sentence]
    body = changed(full_secret(), path, value)

    errors = errors_of(body, tmp_path)

    # The sources of the object are one object, so that a change of one may be a change of two.
    key = path.rpartition(".")[2]
    lines = (tmp_path / "object.json").read_text().splitlines()
    assert errors
    assert all(f'"{key}"' in lines[error.line - 1] for error in errors)
    assert all("has an unknown field" in error.message and key not in error.message for error in errors)


def test_every_cel_rule_of_the_crds_is_compared_by_its_sentence():
    demands = [demand_of(row[2]) for row in (*SECRET_RULES.values(), *POLICY_RULES.values())]
    messages = {message for path in CRDS.glob("*.yaml") for message in rule_messages(yaml.safe_load(path.read_text()))}

    # Rules about changes need a stored object, which files do not have.
    missing = [
        message
        for message in messages
        if not message.startswith("must stay as it was created")
        and not any(each and each in message for each in demands)
    ]

    assert len(messages) > 15
    assert missing == []


def test_lint_accepts_what_the_api_server_accepts(tmp_path: Path):
    # `spec.final` and a project are for the home, where the settings put them.
    assert errors_of(full_secret(), tmp_path) == []
    assert errors_of(copy.deepcopy(full_policy()), tmp_path) == []
