"""What the processes may do, as the API server says it, complete and by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import pytest

from scoped_secrets import names
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER

if TYPE_CHECKING:
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# Group and resource, the name if there is one, and the verb.
Right: TypeAlias = tuple[str, str, str]

INVENTORY = {
    (f"{resource}.{names.GROUP}" if group else resource, "", verb)
    for resource, group in (("scopedsecrets", True), ("secretpolicies", True), ("namespaces", False))
    for verb in ("list", "watch")
}
CONTROLLER = INVENTORY | {
    ("pods", "", "list"),
    ("pods", "", "watch"),
    (f"scopedsecrets.{names.GROUP}/status", "", "patch"),
    (f"secretpolicies.{names.GROUP}/status", "", "patch"),
    ("namespaces", "kube-system", "get"),
    (f"scopedsecrets.{names.GROUP}", "", "patch"),
    ("secrets", "", "create"),
    ("secrets", "", "delete"),
    ("events", "", "create"),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", names.WEBHOOK_CONFIGURATION, "get"),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", names.WEBHOOK_CONFIGURATION, "patch"),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", names.WEBHOOK_CONFIGURATION, "get"),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", names.WEBHOOK_CONFIGURATION, "patch"),
}
OWN_SECRETS = (
    names.FINGERPRINT_KEY_SECRET,
    names.CERTIFICATE_SECRET,
    names.ADMISSION_SECRET,
)
CONTROLLER_AT_HOME = (
    CONTROLLER
    | {("secrets", name, verb) for name in OWN_SECRETS for verb in ("get", "patch")}
    | {("secrets", "", "list")}
    # Everybody may get it.
    | {("configmaps", names.CERTIFICATE_CONFIG_MAP, verb) for verb in ("create", "patch")}
    | {("leases.coordination.k8s.io", "", "create")}
    | {("leases.coordination.k8s.io", names.LEASE_NAME, verb) for verb in ("get", "update")}
)


def rights(console: Console, user: str, namespace: str) -> set[Right]:
    """Return everything that a ServiceAccount may do in a namespace and in the whole cluster.

    What every ServiceAccount may do, such as to ask for its own rights, is left out.
    """
    return _rights(console, user, namespace) - _rights(console, "system:serviceaccount:default:nobody", namespace)


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


def test_the_controller_can_read_no_secret_but_its_own_and_write_nothing_of_tenants(
    console: Console, operator: InstalledOperator
):
    assert rights(console, CONTROLLER_USER, "default") == CONTROLLER
    assert rights(console, CONTROLLER_USER, names.DEFAULT_NAMESPACE) == CONTROLLER_AT_HOME


def test_the_admission_server_has_no_right_on_secrets_and_none_to_write(console: Console, operator: InstalledOperator):
    assert rights(console, ADMISSION_USER, "default") == INVENTORY
    assert rights(console, ADMISSION_USER, names.DEFAULT_NAMESPACE) == INVENTORY


@pytest.mark.parametrize("user", [CONTROLLER_USER, ADMISSION_USER])
def test_a_stolen_token_shows_no_secret(user: str, console: Console, operator: InstalledOperator):
    for command in (("get", "secrets", "-A"), ("get", "secrets", "-n", "default", "--watch")):
        result = console.cluster.kubectl(*command, user=user, check=False)
        assert result.returncode != 0
        assert "is forbidden" in result.stderr
