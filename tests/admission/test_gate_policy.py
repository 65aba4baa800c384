"""No pod is gated unless the policy that limits the controller is there and denies."""

import copy
from typing import Any

import pytest

from scoped_secrets.admission.gate_policy import limits_the_controller
from scoped_secrets.names import GATE_POLICY
from scoped_secrets.shipped_manifests import GUARD_MANIFEST, read_manifest


def shipped() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the policy and the binding of the manifests."""
    found = [each for each in read_manifest(GUARD_MANIFEST) if each["metadata"]["name"] == GATE_POLICY]
    policy, binding = copy.deepcopy(found)
    return policy, binding


def test_the_shipped_policy_and_binding_limit_the_controller():
    policy, binding = shipped()

    assert limits_the_controller(GATE_POLICY, policy, binding)
    assert not limits_the_controller(GATE_POLICY, None, binding)
    assert not limits_the_controller(GATE_POLICY, policy, None)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (0, {"metadata": {"deletionTimestamp": "2026-06-01T12:00:00Z"}}),
        (0, {"spec": {"failurePolicy": "Ignore"}}),
        (1, {"metadata": {"deletionTimestamp": "2026-06-01T12:00:00Z"}}),
        (1, {"spec": {"policyName": "another"}}),
        (1, {"spec": {"validationActions": ["Audit", "Warn"]}}),
        (1, {"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}}),
        (1, {"spec": {"matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}}}),
        (1, {"spec": {"matchResources": {"resourceRules": [{"resources": ["pods"]}]}}}),
        (1, {"spec": {"matchResources": {"excludeResourceRules": [{"resources": ["pods"]}]}}}),
    ],
)
def test_a_policy_or_binding_that_is_not_in_force_limits_nothing(part: int, changed: dict[str, dict[str, Any]]):
    documents = shipped()
    for field, members in changed.items():
        documents[part][field] |= members

    assert not limits_the_controller(GATE_POLICY, *documents)
