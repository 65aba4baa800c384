"""A policy is stored only if every field of it is enforced."""

import copy

import pytest
from tests.admission.support import ask, permission, refusal, review_context
from tests.support.builders import definition, home_and_project, inventory

from scoped_secrets import names
from scoped_secrets.names import Reason

VALIDATE = "/validate/secretpolicies"
KNOWN = review_context(inventory(home_and_project(), [definition("web/aws", scope="Project")]))


def body_of(*rules, namespace="web", **spec):
    spec.setdefault("secrets", {"names": ["aws"]})
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {**spec, "rules": [{"name": f"rule-{index}", **rule} for index, rule in enumerate(rules)]},
    }


def test_a_policy_with_every_claim_that_is_enforced_is_stored():
    rule = {
        "projects": ["web", "api-*"],
        "environments": ["production", "review/*"],
        "namespaces": ["web-ci"],
        "serviceAccounts": ["deployer"],
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["deploy"]}]},
        "notBefore": "2026-01-01T00:00:00Z",
        "notAfter": "2027-01-01T00:00:00Z",
    }

    permission(ask(VALIDATE, body_of(rule, effect="Deny", keyConflict="Fail"), KNOWN))


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (body_of({"refs": ["refs/heads/main"]}), Reason.NOT_SUPPORTED, "`spec.rules[0].refs`"),
        (body_of({}, {"events": ["push"]}), Reason.NOT_SUPPORTED, "`spec.rules[1].events`"),
        (body_of({"creators": ["someone"]}), Reason.NOT_SUPPORTED, "`spec.rules[0].creators`"),
        (body_of(interactive={"exec": "Never"}), Reason.INVALID, "`spec.interactive.exec`"),
        (
            body_of(interactive={"exemptSubjects": ["system:serviceaccount:ci:runner"]}),
            Reason.INVALID,
            "`spec.interactive.exemptSubjects[0]`",
        ),
        (body_of(namespace="outside"), Reason.NAMESPACE_OUTSIDE, "administrator"),
        (body_of({"projects": ["(web|api)"]}), Reason.INVALID, "`spec.rules[0].projects[0]`"),
        (body_of({"projects": []}), Reason.INVALID, "`spec.rules[0].projects`"),
        (body_of(secrets={}), Reason.INVALID, "`spec.secrets`"),
        (body_of(secrets={"selector": {}}), Reason.INVALID, "`spec.secrets.selector`"),
        (
            body_of({"notBefore": "2027-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z"}),
            Reason.INVALID,
            "`spec.rules[0].notAfter`",
        ),
        (
            body_of({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            Reason.INVALID,
            "matchExpressions[0]",
        ),
        (
            body_of({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}}),
            Reason.INVALID,
            "matchExpressions[0]",
        ),
        (None, Reason.INVALID, "object"),
        ({"metadata": {}}, Reason.INVALID, "`spec`"),
    ],
)
def test_a_policy_that_would_not_be_enforced_as_written_is_denied(body, reason, field):
    denial = refusal(ask(VALIDATE, body, KNOWN, namespace=(body or {}).get("metadata", {}).get("namespace", "web")))

    assert denial.reason is reason
    assert field in denial.message


def test_metadata_of_a_policy_can_change_when_its_spec_is_no_longer_valid():
    old = body_of({"refs": ["refs/heads/main"]}, namespace="outside")
    body = copy.deepcopy(old)
    body["metadata"]["labels"] = {"a": "b"}

    permission(ask(VALIDATE, body, KNOWN, old=old))


def test_an_update_of_a_policy_may_keep_an_unsupported_field_and_add_none():
    old = body_of({"refs": ["refs/heads/main"]})
    mended = body_of({"refs": ["refs/heads/main"], "projects": ["web"]})
    worse = body_of({"refs": ["refs/heads/main"], "events": ["push"]})

    permission(ask(VALIDATE, mended, KNOWN, old=old))
    assert refusal(ask(VALIDATE, worse, KNOWN, old=old)).reason is Reason.NOT_SUPPORTED


ENGINE = {"kind": "ServiceAccount", "namespace": "ci", "name": "runner"}


@pytest.mark.parametrize(
    ("interactive", "rules", "warnings"),
    [
        ({"portForward": "Deny"}, [{}], []),
        ({"exec": "Deny", "exemptSubjects": [ENGINE]}, [{}], []),
        ({"exec": "Deny", "attach": "Deny"}, [{}], ["denies exec and attach to everyone"]),
        ({"portForward": "Deny"}, [], ["has no rules, so that it allows no job"]),
        (None, [], []),
    ],
)
def test_policy_about_sessions_is_stored_with_a_warning_of_what_it_does_besides(interactive, rules, warnings):
    spec = {} if interactive is None else {"interactive": interactive}

    allowed = permission(ask(VALIDATE, body_of(*rules, **spec), KNOWN))

    assert len(allowed.warnings) == len(warnings)
    assert all(part in warning for part, warning in zip(warnings, allowed.warnings, strict=True))


@pytest.mark.parametrize(
    ("namespace", "spec", "rules", "part"),
    [
        ("web", {"secrets": {"names": ["gone"]}}, [{}], "SelectsNothing: no definition"),
        ("web", {}, [{"notAfter": "2020-01-01T00:00:00Z"}], "NeverAllows: no job can match any rule"),
        ("web", {"secrets": {"names": ["registry"]}}, [{}], "NotGoverned: `spec.secrets.names` has 'registry'"),
    ],
)
def test_policy_without_effect_is_stored_with_a_warning(namespace, spec, rules, part):
    definitions = [definition("web/aws", scope="Project"), definition("acme/registry")]
    known = review_context(inventory(home_and_project(), definitions))

    (warning,) = permission(ask(VALIDATE, body_of(*rules, namespace=namespace, **spec), known)).warnings

    assert part in warning
