"""The values of the guard: which policies they leave out and whom they exempt, and who sets the scope of namespaces."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.doctor.guard import decode_guard_policy
from scoped_secrets.shipped_manifests import GUARD_MANIFEST, INJECTED_MANIFEST, read_manifest
from tests.chart.helm import rendered
from tests.cluster.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.integration

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
POLICIES = {
    "references": "scoped-secrets-references",
    "serviceAccounts": "scoped-secrets-accounts",
    "bundleSecrets": "scoped-secrets-secrets",
    "statuses": "scoped-secrets-statuses",
    "controller": "scoped-secrets-controller",
    "pods": "scoped-secrets-pods",
}
SPECS_POLICY = "scoped-secrets-specs"
ALWAYS = {*POLICIES.values(), SPECS_POLICY, "scoped-secrets-gate"}
SCOPE_POLICY = "scoped-secrets-namespaces"
GATE_POLICY = "scoped-secrets-gate"
ADMINISTRATOR, PIPELINE, TENANT = "anna", "platform", "mallory"
MAY_SET_SCOPE = {"guard": {"namespaces": {"maySetScope": {"users": [ADMINISTRATOR], "groups": [PIPELINE]}}}}
SECONDS = 60.0


def guard(values: Mapping[str, Any] | None = None) -> set[tuple[str, str]]:
    """Return kind and name of the guard's objects."""
    known = {*ALWAYS, SCOPE_POLICY}
    return {(kind, name) for kind, name in rendered(values).kinds() if kind.startswith(POLICY) and name in known}


def pairs(policies: set[str]) -> set[tuple[str, str]]:
    return {(kind, name) for kind in (POLICY, BINDING) for name in policies}


def test_every_policy_is_on_by_default_but_the_one_about_namespaces():
    assert guard() == pairs(ALWAYS)


@pytest.mark.parametrize("value", POLICIES)
def test_each_policy_can_be_left_out_alone(value: str):
    # The account of the controller is limited by two policies, for Secrets and for definitions.
    left = ALWAYS - {POLICIES[value]} - ({SPECS_POLICY} if value == "controller" else set())

    assert guard({"guard": {value: {"enabled": False}}}) == pairs(left)


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
def test_the_gate_its_right_and_its_policy_come_together(is_on: bool):
    outcome = rendered({"gate": {"enabled": is_on}})

    role = outcome.named("ClusterRole", "scoped-secrets-controller")
    rights = {verb for rule in role["rules"] if rule["resources"] == ["pods"] for verb in rule["verbs"]}
    admission = outcome.named("Deployment", "scoped-secrets-admission")["spec"]["template"]["spec"]["containers"][0]
    assert ((POLICY, GATE_POLICY) in outcome.kinds()) == is_on
    assert ("patch" in rights) == is_on
    assert ("--gate" if is_on else "--no-gate") in admission["args"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"users": ["anna"]}, 'request.userInfo.username in ["anna"]'),
        ({"groups": ["system:masters"]}, 'exists(group, group in ["system:masters"])'),
    ],
    ids=["users", "groups"],
)
def test_may_delete_exempts_from_the_rule_about_deletions_only(given: dict[str, Any], expected: str):
    def expressions(values: dict[str, Any] | None) -> list[str]:
        policy = rendered(values).named(POLICY, POLICIES["bundleSecrets"])
        return [" ".join(rule["expression"].split()) for rule in policy["spec"]["validations"]]

    before, after = expressions(None), expressions({"guard": {"bundleSecrets": {"mayDelete": given}}})

    changed = [one for one in after if one not in before]
    assert len(changed) == 1
    assert "request.operation != 'DELETE'" in changed[0]
    assert changed[0].endswith(expected) or expected in changed[0]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"webhooks": {"excludedNamespaces": ["gatekeeper-system"]}},
        {"controller": {"serviceAccount": {"name": "other"}}},
        {"guard": {"bundleSecrets": {"mayDelete": {"users": ["anna"], "groups": ["a", "b"]}}}},
    ],
    ids=["defaults", "excluded namespaces", "another account", "may delete"],
)
def test_the_doctor_takes_every_guard_of_this_chart_for_that_of_its_version(values: dict[str, Any]):
    outcome = rendered(values, release="mine", namespace="elsewhere")
    shipped = [one for one in read_manifest(GUARD_MANIFEST) if one["kind"] == POLICY]
    assert {one["metadata"]["name"] for one in shipped} == ALWAYS

    for each in (read_manifest(INJECTED_MANIFEST)[0], *shipped):
        end = each["metadata"]["name"].removeprefix("scoped-secrets-")
        name = f"mine-scoped-secrets-{end}"
        param = "mine-scoped-secrets" if end == "injected" else ""
        policy, binding = (outcome.named(kind, name) for kind in (POLICY, BINDING))
        found = decode_guard_policy(name, "", each, policy, binding, param=param)
        assert (found.is_there, found.is_bound, found.is_ours) == (True, True, True)
        assert not decode_guard_policy(name, "", each, policy, binding, param="other").is_bound
        policy["spec"]["validations"].pop()
        assert not decode_guard_policy(name, "", each, policy, binding, param=param).is_ours


@pytest.fixture(scope="module")
def scope_guard(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The policy about namespaces, in force."""
    documents = [one for one in rendered(MAY_SET_SCOPE).documents if one["metadata"]["name"] == SCOPE_POLICY]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    plane.kubectl("apply", "-f", "-", input=text)
    for user in (ADMINISTRATOR, TENANT):
        plane.kubectl("create", "clusterrolebinding", user, "--clusterrole=cluster-admin", f"--user={user}")
    wait_until(lambda: bool(refusal(plane, "create", labels=LABEL)), "the policy is evaluated", seconds=SECONDS)
    yield plane
    plane.kubectl("delete", "-f", "-", input=text)
    plane.kubectl("delete", "clusterrolebinding", ADMINISTRATOR, TENANT)
    # The other tests of this folder create such namespaces.
    wait_until(lambda: not refusal(plane, "create", labels=LABEL), "the policy is gone", seconds=SECONDS)


LABEL = {names.PROJECT_LABEL: "web"}


def refusal(
    plane: ControlPlane,
    verb: str,
    *,
    name: str = "",
    user: str | None = None,
    groups: tuple[str, ...] = (),
    **meta: Any,
) -> str:
    """Try to create a namespace as a dry run, or replace one, and return why it was refused."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name or f"x-{secrets.token_hex(4)}", **meta}}
    flags = [f"--as-group={group}" for group in groups] if user else []
    if verb == "create":
        flags.append("--dry-run=server")
    result = plane.kubectl(verb, *flags, "-f", "-", input=json.dumps(body), user=user, check=False)
    return "" if result.returncode == 0 else result.stderr


@pytest.mark.parametrize("meta", [{"labels": LABEL}, {"annotations": {names.SECRETS_ANNOTATION: "aws"}}], ids=str)
def test_only_listed_subjects_create_namespaces_with_a_scope(scope_guard: ControlPlane, meta: dict[str, Any]):
    assert f"'{SCOPE_POLICY}'" in refusal(scope_guard, "create", user=TENANT, **meta)
    assert refusal(scope_guard, "create", user=ADMINISTRATOR, **meta) == ""
    masters = ("system:masters", PIPELINE)
    assert refusal(scope_guard, "create", user="builder", groups=masters, **meta) == ""
    assert f"'{SCOPE_POLICY}'" in refusal(scope_guard, "create", user="builder", groups=masters[:1], **meta)


def test_everyone_else_creates_and_changes_the_rest(scope_guard: ControlPlane):
    name = f"guard-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABEL}}
    scope_guard.kubectl("create", "-f", "-", input=json.dumps(body), user=ADMINISTRATOR)

    def changes(user: str, metadata: dict[str, Any], *flags: str) -> str:
        patch = json.dumps({"metadata": metadata})
        command = ("patch", "namespace", name, "--type=merge", "-p", patch, *flags)
        result = scope_guard.kubectl(*command, user=user, check=False)
        return "" if result.returncode == 0 else result.stderr

    assert refusal(scope_guard, "create", user=TENANT, labels={"team": "a"}) == ""
    assert changes(TENANT, {"labels": {"team": "a"}, "annotations": {"note": "1"}}) == ""
    for change in ({names.PROJECT_LABEL: "other"}, {names.PROJECT_LABEL: None}, {names.ENVIRONMENT_LABEL: "prod"}):
        for flags in ((), ("--subresource=status",)):
            assert f"'{SCOPE_POLICY}'" in changes(TENANT, {"labels": change}, *flags)
    finalized = body | {"metadata": {"name": name, "labels": {names.PROJECT_LABEL: "other"}}}
    raw = ("replace", "--raw", f"/api/v1/namespaces/{name}/finalize", "-f", "-")
    result = scope_guard.kubectl(*raw, input=json.dumps(finalized), user=TENANT, check=False)
    assert f"'{SCOPE_POLICY}'" in result.stderr
    assert changes(ADMINISTRATOR, {"labels": {names.PROJECT_LABEL: "other"}}) == ""
    scope_guard.kubectl("delete", "namespace", name, user=TENANT)
