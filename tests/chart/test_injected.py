"""The policy about pods that were not injected is about exactly the pods that the mutating webhook sees."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.shipped_manifests import INJECTED_MANIFEST, WEBHOOKS_MANIFEST, read_manifest
from tests.chart.helm import CHART, NAMESPACE, RELEASE, rendered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

pytestmark = pytest.mark.integration

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
WEBHOOK = "pods.mutate.scopedsecrets.dev"
SHAPES = sorted((CHART / "ci").glob("*-values.yaml"))
VALUES: dict[str, dict[str, Any]] = {
    "excluded namespaces": {"webhooks": {"excludedNamespaces": ["gatekeeper-system", "kube-system"]}},
    "another name": {"fullnameOverride": "secrets-of-jobs"},
    "no guard": {
        "guard": {
            name: {"enabled": False}
            for name in ("references", "serviceAccounts", "bundleSecrets", "statuses", "controller", "pods")
        },
        "gate": {"enabled": False},
        "optInWarnings": {"enabled": False},
    },
    **{shape.stem: yaml.safe_load(shape.read_text()) or {} for shape in SHAPES},
}


def scope_of_webhook(webhook: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field by which a webhook chooses objects."""
    fields = ("rules", "objectSelector", "namespaceSelector", "matchConditions", "failurePolicy", "matchPolicy")
    return {field: webhook.get(field) for field in fields}


def scope_of_policy(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field by which a policy chooses objects, as a webhook has them."""
    constraints = spec["matchConstraints"]
    assert not constraints.get("excludeResourceRules")
    return {
        "rules": constraints["resourceRules"],
        "objectSelector": constraints.get("objectSelector"),
        "namespaceSelector": constraints.get("namespaceSelector"),
        "matchConditions": spec.get("matchConditions"),
        "failurePolicy": spec.get("failurePolicy"),
        "matchPolicy": constraints.get("matchPolicy"),
    }


def compare(documents: Iterable[Mapping[str, Any]], name: str) -> None:
    """Check the policy, its binding and the webhook of one installation."""
    by_place = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    configuration = by_place["MutatingWebhookConfiguration", name]
    (webhook,) = (each for each in configuration["webhooks"] if each["name"] == WEBHOOK)
    spec = by_place[POLICY, f"{name}-injected"]["spec"]
    binding = by_place[BINDING, f"{name}-injected"]["spec"]

    conditions = spec.pop("matchConditions")
    assert conditions[:-1] == webhook["matchConditions"]
    assert scope_of_policy(spec) == {**scope_of_webhook(webhook), "matchConditions": None}
    # What the last condition passes over is what the validations allow.
    webhook_exists, is_injected = (validation["expression"] for validation in spec["validations"])
    assert conditions[-1] == {"name": "is-not-injected", "expression": f"!({webhook_exists} && {is_injected})"}
    assert binding == {
        "policyName": f"{name}-injected",
        "paramRef": {"name": name, "parameterNotFoundAction": "Deny"},
        "validationActions": ["Deny"],
    }
    assert spec["paramKind"]["kind"] == configuration["kind"]
    assert WEBHOOK in spec["validations"][0]["expression"]


@pytest.mark.parametrize("shape", VALUES)
@pytest.mark.parametrize(("release", "namespace"), [(RELEASE, NAMESPACE), ("mine", "elsewhere")])
def test_webhook_and_policy_choose_the_same_pods_with_all_shapes_of_values(shape: str, release: str, namespace: str):
    outcome = rendered(VALUES[shape], "--api-versions", "cert-manager.io/v1", release=release, namespace=namespace)
    (name,) = (one["metadata"]["name"] for one in outcome.documents if one["kind"] == "MutatingWebhookConfiguration")

    compare(outcome.documents, name)


def test_webhook_and_policy_of_the_manifests_choose_the_same_pods():
    compare(itertools.chain(read_manifest(WEBHOOKS_MANIFEST), read_manifest(INJECTED_MANIFEST)), RELEASE)


def test_the_policy_names_what_admission_writes():
    (policy, _) = read_manifest(INJECTED_MANIFEST)
    expression = policy["spec"]["validations"][1]["expression"]

    for name in (names.CLAIMS_ANNOTATION, names.RESOLUTION_ANNOTATION, names.VOLUME_NAME, names.BUNDLE_PREFIX):
        assert name in expression
