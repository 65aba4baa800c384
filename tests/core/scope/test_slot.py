"""Where namespaces stand, what they may define, and where a job stands (DESIGN section 3)."""

import pytest
from tests.support.builders import (
    definition,
    denied,
    granted,
    home_and_project,
    inventory,
    pod_body,
    policy,
    scope_labels,
    selector,
)

from scoped_secrets import names
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.scope.binding import Binding, bind
from scoped_secrets.core.scope.slot import Scope, ScopePath, Slot, assign_slot
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

ORGANIZATION, PROJECT, ENVIRONMENT = Scope


@pytest.mark.parametrize(
    ("sentence", "labels", "annotations", "expected"),
    [
        ("no label is outside", {}, {}, None),
        ("an environment alone is outside", scope_labels(environment="production"), {}, None),
        ("other labels are outside", {"team": "web"}, {}, None),
        ("an organization is its home", scope_labels("acme"), {}, ("acme", None, None)),
        ("a project belongs to its organization", scope_labels("acme", "web"), {}, ("acme", "web", None)),
        ("a project alone belongs to the default one", scope_labels(None, "web"), {}, ("standard", "web", None)),
        (
            "an environment is the narrowest",
            scope_labels("acme", "web", "production"),
            {},
            ("acme", "web", "production"),
        ),
        (
            "an environment that is no label value is an annotation",
            scope_labels("acme", "web"),
            {names.ENVIRONMENT_ANNOTATION: "review/42"},
            ("acme", "web", "review/42"),
        ),
        (
            "the label wins over the annotation",
            scope_labels("acme", "web", "production"),
            {names.ENVIRONMENT_ANNOTATION: "staging"},
            ("acme", "web", "production"),
        ),
        (
            "the home of an organization has no environment",
            scope_labels("acme", environment="production"),
            {},
            ("acme", None, None),
        ),
        ("an empty project makes no home", scope_labels("acme", ""), {}, None),
        ("an empty environment makes no project namespace", scope_labels("acme", "web", ""), {}, None),
        ("an empty organization is not the default one", scope_labels("", "web"), {}, None),
    ],
)
def test_labels_give_a_namespace_its_path(sentence, labels, annotations, expected):
    binding = bind("here", labels, annotations, "standard")

    assert (binding and (binding.organization, binding.project, binding.environment)) == expected


def test_a_binding_keeps_what_administrators_annotate():
    annotations = {names.ALLOW_ENVIRONMENTS_ANNOTATION: " staging,, review/* ", names.SECRETS_ANNOTATION: "aws"}
    binding = bind("here", scope_labels("acme", "web"), annotations, "standard")

    assert binding == Binding("here", "acme", "web", None, ("staging", "review/*"), "aws")


HOME = Binding("acme", "acme")
WEB = Binding("web", "acme", "web")
PRODUCTION = Binding("web-production", "acme", "web", "production")


@pytest.mark.parametrize(
    ("sentence", "binding", "scope", "project", "environment", "expected"),
    [
        ("the home defines for the organization", HOME, ORGANIZATION, None, None, (None, None)),
        ("the home defines for a project", HOME, PROJECT, "web", None, ("web", None)),
        ("the home defines for an environment", HOME, ENVIRONMENT, "web", "prod*", ("web", "prod*")),
        ("the home must name the project", HOME, PROJECT, None, None, Reason.SCOPE_NOT_ALLOWED),
        ("the home must name the environment's project", HOME, ENVIRONMENT, None, "prod*", Reason.SCOPE_NOT_ALLOWED),
        ("an organization's bundle has no project", HOME, ORGANIZATION, "web", None, Reason.SCOPE_NOT_ALLOWED),
        ("a project defines for itself", WEB, PROJECT, None, None, ("web", None)),
        ("a project may say its own name", WEB, PROJECT, "web", None, ("web", None)),
        ("a project defines any environment", WEB, ENVIRONMENT, None, "*", ("web", "*")),
        ("a project defines for no other project", WEB, PROJECT, "api", None, Reason.SCOPE_NOT_ALLOWED),
        ("nor for an environment of one", WEB, ENVIRONMENT, "api", "*", Reason.SCOPE_NOT_ALLOWED),
        ("a project defines not for the organization", WEB, ORGANIZATION, None, None, Reason.SCOPE_NOT_ALLOWED),
        ("not even with its own name", WEB, ORGANIZATION, "web", None, Reason.SCOPE_NOT_ALLOWED),
        ("an environment defines for itself", PRODUCTION, ENVIRONMENT, None, "production", ("web", "production")),
        ("an environment defines no other", PRODUCTION, ENVIRONMENT, None, "staging", Reason.SCOPE_NOT_ALLOWED),
        ("an environment defines no pattern", PRODUCTION, ENVIRONMENT, None, "*", Reason.SCOPE_NOT_ALLOWED),
        ("an environment defines not for its project", PRODUCTION, PROJECT, None, None, Reason.SCOPE_NOT_ALLOWED),
        ("an environment defines for no other project", PRODUCTION, ENVIRONMENT, "api", "production",
         Reason.SCOPE_NOT_ALLOWED),
        ("nor for the organization", PRODUCTION, ORGANIZATION, None, None, Reason.SCOPE_NOT_ALLOWED),
        ("outside nothing is defined", None, ORGANIZATION, None, None, Reason.NAMESPACE_OUTSIDE),
        ("outside no project is defined", None, PROJECT, "web", None, Reason.NAMESPACE_OUTSIDE),
    ],
)  # fmt: skip
def test_a_namespace_defines_only_on_its_own_path(sentence, binding, scope, project, environment, expected):
    if isinstance(expected, Reason):
        with pytest.raises(DeniedError) as refusal:
            assign_slot(binding, scope, project, environment, "aws")
        assert refusal.value.reason is expected
    else:
        owner, governed = expected
        assert assign_slot(binding, scope, project, environment, "aws") == Slot("acme", scope, owner, governed, "aws")


@pytest.mark.parametrize(
    ("sentence", "path", "expected"),
    [
        ("a job of the same environment", ScopePath("acme", "web", "production"), {"org", "project", "environment"}),
        ("a job of another environment", ScopePath("acme", "web", "staging"), {"org", "project"}),
        ("a job without an environment", ScopePath("acme", "web"), {"org", "project"}),
        ("a job of another project", ScopePath("acme", "api", "production"), {"org"}),
        ("a job in the organization's home", ScopePath("acme"), {"org"}),
        ("a job of another organization", ScopePath("rival", "web", "production"), set()),
    ],
)
def test_candidates_are_the_definitions_on_the_path(sentence, path, expected):
    slots = {
        "org": Slot("acme", ORGANIZATION, None, None, "aws"),
        "project": Slot("acme", PROJECT, "web", None, "aws"),
        "environment": Slot("acme", ENVIRONMENT, "web", "prod*", "aws"),
    }
    assert {name for name, slot in slots.items() if slot.applies_to(path)} == expected


@pytest.mark.parametrize("location", ["rival/aws", "web/aws", "outside/aws"])
def test_a_definition_that_reaches_outside_its_path_is_never_a_candidate(location):
    """The confused-deputy rule, with the webhook down: the object is stored and has no effect."""
    namespaces = home_and_project() | {
        "api": {"labels": scope_labels("acme", "api")},
        "rival": {"labels": scope_labels("rival")},
    }
    foreign = definition(location, scope=PROJECT, project="api", env={"A": "foreign"})
    snapshot = inventory(namespaces, [foreign, definition("acme/aws", env={"A": "own"})])

    decision = granted(pod_body("aws", namespace="api"), snapshot)

    assert [d.location for d in used(decision)] == ["acme/aws"]


def used(decision):
    return [slotted.definition for bundle in decision.grant.applied for slotted in bundle.resolution.contributors]


def environment_world(*policies, **annotations):
    namespaces = home_and_project(**annotations) | {
        "production": {"labels": scope_labels("acme", "web", "production")},
        "review": {"labels": scope_labels("acme", "web"), "annotations": {names.ENVIRONMENT_ANNOTATION: "review/42"}},
    }
    return inventory(namespaces, policies=policies)


def job_for(environment, namespace="web", account="default"):
    annotations = {} if environment is None else {names.ENVIRONMENT_ANNOTATION: environment}
    return pod_body(namespace=namespace, annotations=annotations, serviceAccountName=account)


GRANT = Rule("grant", environments=("production",), service_accounts=("deployer",))


def granting(**claims):
    return policy("acme/grant", rules=(Rule("grant", **claims),))


@pytest.mark.parametrize(
    ("sentence", "namespace", "asked", "allowed", "expected"),
    [
        ("no environment is asked for", "web", None, "", None),
        ("the namespace admits it", "web", "production", "staging, production", "production"),
        ("the namespace admits its family", "web", "review/42", "review/*", "review/42"),
        ("a star does not cross a slash", "web", "review/42", "*", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("the namespace admits another one", "web", "production", "staging", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("the namespace admits none", "web", "production", "", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("the namespace is the environment", "production", None, "", "production"),
        ("the namespace is the environment, said again", "production", "production", "", "production"),
        ("the namespace is another environment", "production", "staging", "", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("the namespace is one by annotation", "review", None, "", "review/42"),
        ("the namespace is another one by annotation", "review", "review/7", "", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("the organization's home has none", "acme", "production", "", Reason.ENVIRONMENT_NOT_ALLOWED),
        ("an empty annotation asks for nothing", "web", " ", "", None),
    ],
)
def test_job_runs_in_the_environment_that_it_was_granted(sentence, namespace, asked, allowed, expected):
    snapshot = environment_world(**{names.ALLOW_ENVIRONMENTS_ANNOTATION: allowed})
    body = job_for(asked, namespace)

    if isinstance(expected, Reason):
        assert denied(body, snapshot).reason is expected
    else:
        assert granted(body, snapshot).grant.path.environment == expected


@pytest.mark.parametrize(
    ("sentence", "given", "is_admitted"),
    [
        ("a rule of the project's policy names both", policy("web/grant", rules=(GRANT,)), False),
        ("a rule of the organization's policy names both", policy("acme/grant", rules=(GRANT,)), True),
        ("a rule names another account", granting(environments=("*",), service_accounts=("x",)), False),
        ("a rule names another environment", granting(environments=("staging",), service_accounts=("*",)), False),
        ("a rule names no account", granting(environments=("production",)), False),
        ("a rule names no environment", granting(service_accounts=("deployer",)), False),
        ("a rule asks for labels, which the pod writes itself",
         granting(environments=("production",), service_accounts=("deployer",), pod_selector=selector(app="x")), False),
        ("a rule is for another project",
         granting(projects=("api",), environments=("production",), service_accounts=("deployer",)), False),
        ("a policy denies", policy("acme/grant", effect=Effect.DENY, rules=(GRANT,)), False),
        ("a policy is broken", policy("acme/grant", broken=True, rules=(GRANT,)), False),
        ("a policy stands in the environment's namespace", policy("production/grant", rules=(GRANT,)), True),
        ("a policy stands in another environment's namespace", policy("review/grant", rules=(GRANT,)), False),
        ("a policy stands outside", policy("nowhere/grant", rules=(GRANT,)), False),
    ],
)  # fmt: skip
def test_a_policy_grants_an_environment_to_an_account(sentence, given, is_admitted):
    snapshot = environment_world(given)
    body = job_for("production", account="deployer")

    if is_admitted:
        assert granted(body, snapshot).grant.path == ScopePath("acme", "web", "production")
        assert denied(job_for("production"), snapshot).reason is Reason.ENVIRONMENT_NOT_ALLOWED
    else:
        assert denied(body, snapshot).reason is Reason.ENVIRONMENT_NOT_ALLOWED


def test_pod_without_a_scope_path_is_denied_with_the_remedy():
    decision = denied(pod_body("aws", namespace="nowhere"), environment_world())

    assert decision.reason is Reason.NAMESPACE_OUTSIDE
    assert names.PROJECT_LABEL in decision.message
