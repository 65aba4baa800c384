"""What the processes may do, as the API server says it, complete and by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import pytest

from scoped_secrets import names
from scoped_secrets.doctor.rights import parse_roles
from scoped_secrets.shipped_manifests import ROLES_MANIFEST, read_manifest
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER

if TYPE_CHECKING:
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# Group and resource, the name if there is one, and the verb.
Right: TypeAlias = tuple[str, str, str]

SHIPPED = parse_roles(read_manifest(ROLES_MANIFEST))
READING = {"get", "list", "watch"}
GATE = ("pods", "", "patch")
ASKING = ("subjectaccessreviews.authorization.k8s.io", "", "create")
ANY_USER = "system:serviceaccount:default:nobody"
USERS = {"controller": CONTROLLER_USER, "admission": ADMISSION_USER}
OWN_SECRETS = {names.FINGERPRINT_KEY_SECRET, names.CERTIFICATE_SECRET, names.ADMISSION_SECRET}
WRITTEN = (
    (names.SCOPED_SECRET_PLURAL, ""),
    (names.SCOPED_SECRET_PLURAL, "/status"),
    (names.SECRET_POLICY_PLURAL, "/status"),
)


def shipped(component: str, namespace: str) -> set[Right]:
    """Return what the shipped roles allow a component in a namespace and in the whole cluster."""
    return {
        (_qualified(right.group, right.resource), right.name, right.verb)
        for right in SHIPPED[component]
        if right.namespace in ("", namespace)
    }


def rights(console: Console, user: str, namespace: str) -> set[Right]:
    """Return everything that a ServiceAccount may do in a namespace and in the whole cluster.

    What every ServiceAccount may do, such as to ask for its own rights, is left out.
    """
    return _rights(console, user, namespace) - _rights(console, ANY_USER, namespace)


def _rights(console: Console, user: str, namespace: str) -> set[Right]:
    document = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}")
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    command = ("create", f"--raw={path}", "-f", "-")
    answer = console.cluster.kubectl(*command, input=json.dumps(document), user=user, groups=groups).stdout
    status = json.loads(answer)["status"]
    assert status["incomplete"] is False
    return {
        (_qualified(group, resource), name, verb)
        for rule in status["resourceRules"]
        for group in rule.get("apiGroups", [""])
        for resource in rule.get("resources", [])
        for name in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }


def _qualified(group: str, resource: str) -> str:
    kind, slash, subresource = resource.partition("/")
    return f"{kind}.{group}{slash}{subresource}" if group else resource


@pytest.mark.parametrize("namespace", ["default", names.DEFAULT_NAMESPACE])
@pytest.mark.parametrize(("component", "user"), USERS.items())
def test_each_account_has_exactly_the_rights_of_the_shipped_roles(
    component: str, user: str, namespace: str, console: Console, operator: InstalledOperator
):
    expected = shipped(component, namespace) - _rights(console, ANY_USER, namespace)

    assert rights(console, user, namespace) == expected


def test_the_controller_can_read_no_secret_but_its_own_and_write_nothing_of_tenants(
    console: Console, operator: InstalledOperator
):
    everywhere = rights(console, CONTROLLER_USER, "default")
    at_home = rights(console, CONTROLLER_USER, names.DEFAULT_NAMESPACE) - everywhere

    # No verb on Secrets of tenants returns a value, and the Secrets of pods are the only objects that it makes.
    assert {right for right in everywhere if right[0] == "secrets"} == {
        ("secrets", "", "create"),
        ("secrets", "", "delete"),
    }
    writes = {(resource, name, verb) for resource, name, verb in everywhere if verb not in READING}
    # Of a pod it removes the scheduling gate; the guard denies everything else.
    assert {right for right in writes if right[0] == "pods"} == {GATE}
    assert {resource for resource, *_ in writes} == {
        "secrets",
        "events",
        "pods",
        *(f"{plural}.{names.GROUP}{part}" for plural, part in WRITTEN),
        *(f"{kind}webhookconfigurations.admissionregistration.k8s.io" for kind in ("mutating", "validating")),
    }
    assert {name for resource, name, _ in writes if "webhook" in resource} == {names.WEBHOOK_CONFIGURATION}
    # At home it can list Secrets, for its keys; it can change by name only.
    changes = {(resource, name) for resource, name, verb in at_home if verb not in {*READING, "create"}}
    assert all(name for _, name in changes)
    assert {name for resource, name in changes if resource == "secrets"} == OWN_SECRETS


@pytest.mark.parametrize("namespace", ["default", names.DEFAULT_NAMESPACE])
def test_the_admission_server_has_no_right_on_secrets_and_none_to_write(
    namespace: str, console: Console, operator: InstalledOperator
):
    found = rights(console, ADMISSION_USER, namespace)

    assert found
    assert "secrets" not in {resource for resource, *_ in found}
    # A question about a right stores nothing.
    assert {right for right in found if right[-1] not in READING} == {ASKING}


# What leads from one account to another, to the operator's defenses, or away from its traces.
ESCALATION_VERBS = {"escalate", "bind", "impersonate", "approve", "sign", "deletecollection", "update"}
UNTOUCHABLE = {
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
    "serviceaccounts",
    "serviceaccounts/token",
    "namespaces",
    "nodes",
    "nodes/proxy",
    "pods",
    "pods/exec",
    "pods/ephemeralcontainers",
    "certificatesigningrequests",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
}


@pytest.mark.parametrize("user", [CONTROLLER_USER, ADMISSION_USER])
def test_a_stolen_token_has_no_wildcard_and_leads_to_no_other_account(
    user: str, console: Console, operator: InstalledOperator
):
    for namespace in ("default", "kube-system", names.DEFAULT_NAMESPACE):
        found = rights(console, user, namespace)
        assert found
        assert {right for right in found if any("*" in part for part in right)} == set()
        # The Lease of the leader is the only object that is updated.
        updated = {right for right in found if right[2] in ESCALATION_VERBS}
        assert {(resource, name) for resource, name, _ in updated} <= {
            ("leases.coordination.k8s.io", "scoped-secrets-controller")
        }
        touched = {right for right in found if right[0].partition(".")[0] in UNTOUCHABLE and right[2] not in READING}
        assert touched <= ({GATE} if user == CONTROLLER_USER else set())


@pytest.mark.parametrize("user", [CONTROLLER_USER, ADMISSION_USER])
def test_a_stolen_token_shows_no_secret(user: str, console: Console, operator: InstalledOperator):
    for command in (("get", "secrets", "-A"), ("get", "secrets", "-n", "default", "--watch")):
        result = console.cluster.kubectl(*command, user=user, check=False)
        assert result.returncode != 0
        assert "is forbidden" in result.stderr
