"""The rights that the doctor asks about are those of the shipped roles, adapted to the installation."""

import pytest

from scoped_secrets import names
from scoped_secrets.doctor.rights import Configuration, Right, parse_roles, required_rights
from scoped_secrets.shipped_manifests import ROLES_MANIFEST, read_manifest

WEBHOOKS = "admissionregistration.k8s.io"
SHIPPED = parse_roles(read_manifest(ROLES_MANIFEST))


def role(*rules, component="controller", namespace=""):
    metadata = {"name": "any", "labels": {"app.kubernetes.io/component": component}}
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def rule(verbs, resources, groups=("",), **given):
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs), **given}


def test_each_verb_resource_and_name_of_a_rule_is_a_right_of_its_component():
    documents = [
        role(rule(["get", "patch"], ["secrets"], resourceNames=["a", "b"]), namespace="home"),
        role(rule(["list"], ["pods", "jobs"], groups=["batch"]), component="admission"),
    ]

    assert parse_roles(documents) == {
        "controller": (
            Right("get", "", "secrets", "a", "home"),
            Right("patch", "", "secrets", "a", "home"),
            Right("get", "", "secrets", "b", "home"),
            Right("patch", "", "secrets", "b", "home"),
        ),
        "admission": (Right("list", "batch", "pods"), Right("list", "batch", "jobs")),
    }


def test_roles_for_people_and_other_kinds_are_left_out():
    people = role(rule(["get"], ["pods"]))
    del people["metadata"]["labels"]
    account = {"kind": "ServiceAccount", "metadata": {"labels": {"app.kubernetes.io/component": "controller"}}}

    assert parse_roles([people, account]) == {}


def test_a_repeated_right_is_required_once():
    assert parse_roles([role(rule(["get"], ["pods"]), rule(["get"], ["pods"]))]) == {
        "controller": (Right("get", "", "pods"),)
    }


def test_the_shipped_roles_are_for_both_components():
    assert SHIPPED.keys() == {"controller", "admission"}
    assert Right("create", "", "secrets") in SHIPPED["controller"]
    assert Right("list", names.GROUP, names.SCOPED_SECRET_PLURAL) in SHIPPED["admission"]


def test_an_installation_as_shipped_needs_exactly_the_shipped_rights():
    for rights in SHIPPED.values():
        assert required_rights(rights, Configuration()) == rights


def test_rights_are_required_in_the_namespace_and_for_the_webhooks_of_the_installation():
    here = Configuration("elsewhere", "other")
    rights = required_rights(SHIPPED["controller"], here)

    assert {right.namespace for right in rights} == {"", "elsewhere"}
    assert {right.name for right in rights if right.group == WEBHOOKS} == {"other"}
    assert len(rights) == len(SHIPPED["controller"])
    of_admission = required_rights(SHIPPED["admission"], here)
    assert {right.name for right in of_admission if right.group == WEBHOOKS} == {"other-gate"}


def test_rights_for_gates_are_required_only_where_pods_are_gated():
    here = Configuration(gates=False)
    left_out = {right for rights in SHIPPED.values() for right in set(rights) - set(required_rights(rights, here))}

    policies = {
        Right("get", WEBHOOKS, f"validatingadmissionpolic{end}", names.GATE_POLICY) for end in ("ies", "ybindings")
    }
    assert left_out == {Right("patch", "", "pods"), *policies}


@pytest.mark.parametrize("makes", [False, True])
@pytest.mark.parametrize("writes", [False, True])
def test_rights_for_certificates_are_required_only_when_the_controller_manages_them(makes, writes):
    here = Configuration(makes_certificates=makes, writes_bundle=writes)
    left_out = set(SHIPPED["controller"]) - set(required_rights(SHIPPED["controller"], here))

    certificates = {Right(verb, "", "secrets", names.CERTIFICATE_SECRET, "scoped-secrets") for verb in ("get", "patch")}
    webhooks = {
        Right(verb, WEBHOOKS, f"{kind}webhookconfigurations", names.WEBHOOK_CONFIGURATION)
        for kind in ("mutating", "validating")
        for verb in ("get", "patch")
    }
    assert left_out == (set() if makes else certificates) | (set() if writes else webhooks)


def test_a_right_is_printed_in_words():
    right = Right("patch", names.GROUP, "scopedsecrets/status", "aws", "web")

    assert str(right) == "patch on scopedsecrets/status.scopedsecrets.dev 'aws' in namespace 'web'"
