"""The worked cases of DESIGN section 4, each as one test."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.builders import (
    NOW,
    ORGANIZATION,
    container,
    decide_about,
    definition,
    definition_at,
    inventory,
    pod_body,
    scope_labels,
)
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import Attach, Definition, Override
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.core.status import status_of
from scoped_secrets.names import ConditionType

VECTORS = Path(__file__).parent / "data" / "resolution.yaml"

DOCUMENT = yaml.safe_load(VECTORS.read_text(encoding="utf-8"))
INPUTS = {"id", "store", "refs", "environment", "project", "containerEnv", "home", "why"}
OUTCOMES = {"env", "files", "denied", "overridden", "blocked"}
DEFINITION_KEYS = {
    "at", "secretName", "scope", "project", "environment", "override", "final", "attach", "env", "files",
}  # fmt: skip

NAMESPACES = {
    "acme": {"labels": scope_labels(ORGANIZATION)},
    "web": {
        "labels": scope_labels(ORGANIZATION, "web"),
        "annotations": {names.ALLOW_ENVIRONMENTS_ANNOTATION: "production, staging"},
    },
    "api": {"labels": scope_labels(ORGANIZATION, "api")},
}


def test_every_definition_of_the_file_is_used():
    used = {key for case in DOCUMENT["cases"] for key in case["store"]}
    assert used == set(DOCUMENT["definitions"])


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in DOCUMENT["cases"]])
def test_the_job_gets_what_the_case_says(case: dict[str, Any]):
    assert set(case) <= INPUTS | OUTCOMES, "the case says something that this test does not look at"
    assert set(case) & OUTCOMES, "the case expects nothing"
    snapshot = inventory(NAMESPACES, [read(DOCUMENT["definitions"][key]) for key in case["store"]])
    body = job(case)

    decision = decide_about(body, snapshot)

    if "denied" in case:
        assert isinstance(decision, Denied)
        assert decision.reason == case["denied"]
        return
    assert isinstance(decision, Granted), decision
    seen = view(body, decision)
    own = set(case.get("containerEnv", ()))
    assert {name: text for name, text in seen.env.items() if name not in own} == case.get("env", {})
    assert all(seen.env[name] == "own" for name in own)
    delivered = {path: text for path, text in seen.files.items() if not path.startswith(f"{names.MOUNT_PATH}/")}
    assert delivered == case.get("files", {})
    check_report(case, json.loads(decision.injection.resolution), own)
    check_blocked(case, snapshot, decision)


def check_report(case: dict[str, Any], resolution: dict[str, Any], own: set[str]):
    overridden = {key: found["over"] for key, found in resolution.get("overridden", {}).items()}
    if "overridden" in case:
        assert overridden == case["overridden"]
    assert resolution.get("kept", {}) == ({"job": sorted(own)} if own else {})


def check_blocked(case: dict[str, Any], snapshot: Inventory, decision: Granted):
    """A case that names no blocked definition expects none."""
    expected = sorted(case.get("blocked", ()))
    resolved = [bundle.resolution for bundle in decision.grant.applied]
    assert sorted(slotted.definition.location for found in resolved for slotted in found.blocked) == expected
    by_status = [
        location
        for location in snapshot.locations()
        if any(
            condition.type is ConditionType.BLOCKED and condition.is_true
            for condition in status_of(definition_at(snapshot, location), snapshot, NOW).conditions
        )
    ]
    assert sorted(by_status) == expected


def read(given: dict[str, Any]) -> Definition:
    assert set(given) <= DEFINITION_KEYS, "the definition says something that this test does not read"
    return definition(
        given["at"],
        secret_name=given["secretName"],
        scope=Scope(given["scope"]),
        project=given.get("project"),
        environment=given.get("environment"),
        override=Override(given.get("override", "Replace")),
        final=given.get("final", False),
        attach=Attach(given.get("attach", "OnReference")),
        env=given.get("env", {}),
        files=given.get("files", {}),
    )


def job(case: dict[str, Any]) -> dict[str, Any]:
    annotations = {}
    if "environment" in case:
        annotations[names.ENVIRONMENT_ANNOTATION] = case["environment"]
    if "home" in case:
        annotations[names.HOME_ANNOTATION] = case["home"]
    env = [{"name": name, "value": "own"} for name in case.get("containerEnv", ())]
    return pod_body(
        ", ".join(case["refs"]),
        namespace=case.get("project", "web"),
        annotations=annotations,
        containers=[container(env=env)],
    )
