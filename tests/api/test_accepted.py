"""What the controller has accepted becomes the same definition and the same policy with and without the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.support import REMOVED, changed, full_policy, minimal_secret, sealed, stored_secret
from tests.strategies import examples

from scoped_secrets.api.accepted import accepted_definition, accepted_policy
from scoped_secrets.api.parsing import parse_scoped_secret, parse_secret_policy, to_definition, to_policy
from scoped_secrets.core.scope.binding import Binding

if TYPE_CHECKING:
    from collections.abc import Mapping

Change = tuple[str, Any]

PLAIN: tuple[Change, ...] = (
    ("spec.secretName", REMOVED),
    ("spec.description", REMOVED),
    ("spec.override", REMOVED),
    ("spec.override", "Replace"),
    ("spec.final", REMOVED),
    ("spec.final", False),
    ("spec.attach", REMOVED),
    ("spec.attach", "OnReference"),
    ("spec.environment", "review/*"),
    ("spec.project", "web"),
    ("spec.env", []),
    ("spec.env", REMOVED),
    ("spec.env.0.sensitive", REMOVED),
    ("spec.env.0.sealed", sealed(5000)),
    ("spec.env.1.value", ""),
    ("spec.env.1.value", "é\n"),
    ("spec.files", REMOVED),
    ("spec.files.0", {"env": "KUBECONFIG", "sealed": sealed()}),
    ("spec.files.0.env", "SSH_KEY"),
    ("spec.files.0.mode", REMOVED),
    ("spec.files.1.mode", "0755"),
    ("spec.files.1.content", ""),
    ("spec.rotation", {"intervalDays": 30}),
    ("spec.rotation", {"intervalDays": 30, "remindDays": 3}),
    ("metadata.uid", REMOVED),
    ("metadata.creationTimestamp", REMOVED),
    ("metadata.labels", REMOVED),
    ("metadata.annotations", {"a": "b"}),
)
"""Changes of an object that need no model."""

JUDGED: tuple[Change, ...] = (
    ("spec.unknownField", {"of": "a later version"}),
    ("spec.env.0.unknownField", 1),
    ("spec.env.0.previousOf", "AWS_SECRET"),
    ("spec.rotation", {"intervalDays": 30, "unknownField": 1}),
    ("spec.copyFrom", {"namespace": "acme", "name": "aws"}),
    ("spec.expireTime", "2027-01-01T00:00:00+01:00"),
    ("spec.env.0", {"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "two", "optional": True}}}),
    ("spec.env.0", {"name": "A", "value": "in plain text"}),
    ("spec.env.0", {"name": "A", "value": "in plain text", "sealed": sealed()}),
    ("spec.env.0.sealed", "v1:broken"),
    ("spec.env.0.sealed", "v3:later"),
    ("spec.files.1", {"path": "/etc/motd", "contentBase64": "AP8A", "sensitive": False}),
    ("spec.files.1.mode", "rw"),
    ("spec.scope", "Galaxy"),
    ("spec.override", "Perhaps"),
    ("spec.files", "none"),
    ("metadata.generation", 4),
    ("metadata.generation", REMOVED),
    ("status", REMOVED),
    ("status.conditions", []),
    ("status.conditions.0.status", "False"),
    ("status.conditions.0.status", "Unknown"),
    ("status.conditions.0.type", "Restricted"),
    ("status.conditions.0.observedGeneration", 2),
    ("status.conditions.0.observedGeneration", REMOVED),
)
"""Changes of an object that the models must see."""


def accepted_secret(*changes: Change) -> dict[str, Any]:
    # Without the file in base64, which the models decode.
    body = changed(stored_secret(), "spec.files", stored_secret()["spec"]["files"][:2])
    for path, value in changes:
        try:
            body = changed(body, path, value)
        except (IndexError, KeyError, AttributeError, TypeError):
            # Another change has taken away what this one is about.
            continue
    return body


def by_models(body: Mapping[str, Any]) -> Any:
    return to_definition(parse_scoped_secret(body), keep_sealed=False)


@pytest.mark.parametrize("change", PLAIN, ids=lambda change: f"{change[0]}")
def test_an_accepted_object_needs_no_model(change: Change):
    body = accepted_secret(change)

    found = accepted_definition(body)

    assert found is not None
    assert found == by_models(body)


@given(st.lists(st.sampled_from(PLAIN), max_size=8))
@examples(2)
def test_both_ways_lead_to_the_same_definition(changes: list[Change]):
    body = accepted_secret(*changes)
    found = accepted_definition(body)

    if found is not None:
        assert found == by_models(body)


@pytest.mark.parametrize("change", JUDGED, ids=lambda change: f"{change[0]}")
def test_the_models_see_everything_else(change: Change):
    assert accepted_definition(accepted_secret()) is not None
    assert accepted_definition(accepted_secret(change)) is None


def test_an_object_that_is_not_stored_is_not_accepted():
    assert accepted_definition(minimal_secret()) is None
    assert accepted_policy(full_policy()) is None


POLICY_PLAIN: tuple[Change, ...] = (
    ("spec.secrets.names", REMOVED),
    ("spec.secrets.selector", REMOVED),
    ("spec.secrets.selector", {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}),
    ("spec.secrets.scopes", REMOVED),
    ("spec.secrets.scopes", ["Organization", "Project"]),
    ("spec.effect", REMOVED),
    ("spec.effect", "Deny"),
    ("spec.rules", REMOVED),
    ("spec.rules", [{"name": "everybody"}]),
    *((f"spec.rules.0.{claim}", REMOVED) for claim in full_policy()["spec"]["rules"][0] if claim != "name"),
    ("spec.interactive", REMOVED),
    ("spec.interactive.exec", REMOVED),
    ("spec.interactive.exec", "Allow"),
    ("spec.interactive.portForward", "Deny"),
    ("spec.interactive.exemptSubjects", REMOVED),
    ("spec.keyConflict", REMOVED),
)


def accepted_rules(*changes: Change) -> dict[str, Any]:
    body = full_policy()
    body["metadata"]["generation"] = 2
    body["status"] = {"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 2}]}
    for path, value in changes:
        try:
            body = changed(body, path, value)
        except (IndexError, KeyError, AttributeError, TypeError):
            continue
    return body


WITHOUT_TIMES = (("spec.rules.0.notBefore", REMOVED), ("spec.rules.0.notAfter", REMOVED))


def policy_by_models(body: Mapping[str, Any]) -> Any:
    return to_policy(parse_secret_policy(body), Binding("web", ""))


@pytest.mark.parametrize("change", POLICY_PLAIN, ids=lambda change: f"{change[0]}")
def test_an_accepted_policy_needs_no_model(change: Change):
    body = accepted_rules(*WITHOUT_TIMES, change)

    found = accepted_policy(body)

    assert found is not None
    assert found == policy_by_models(body)


@given(st.lists(st.sampled_from(POLICY_PLAIN), max_size=8))
@examples(2)
def test_both_ways_lead_to_the_same_policy(changes: list[Change]):
    body = accepted_rules(*WITHOUT_TIMES, *changes)
    secrets = body["spec"]["secrets"]
    if not secrets:
        return

    assert accepted_policy(body) == policy_by_models(body)


@pytest.mark.parametrize(
    "change",
    [
        ("spec.rules.0.notAfter", "2027-01-01T00:00:00Z"),
        ("spec.unknownField", 1),
        ("spec.secrets.unknownField", 1),
        ("spec.rules.0.unknownField", 1),
        ("spec.rules.0.podSelector.unknownField", 1),
        ("spec.rules.0.podSelector.matchExpressions.0.unknownField", 1),
        ("spec.interactive.unknownField", 1),
        ("spec.interactive.exemptSubjects.0.unknownField", 1),
        ("spec.rules.0.name", REMOVED),
        ("spec.effect", "Perhaps"),
        ("spec.secrets", REMOVED),
        ("status", REMOVED),
        ("status.conditions.0.status", "False"),
        ("status.conditions.0.type", "Ready"),
        ("metadata.generation", 3),
    ],
)
def test_the_models_see_every_other_policy(change: Change):
    assert accepted_policy(accepted_rules(*WITHOUT_TIMES)) is not None
    assert accepted_policy(accepted_rules(*WITHOUT_TIMES, change)) is None
