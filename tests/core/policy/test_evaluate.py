"""Who may use a bundle (DESIGN section 6)."""

# ruff: noqa: S106 - `secret_name` is a name

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracle
from tests.strategies import JOBS, Job, Store, definitions, examples, policies
from tests.support.builders import NOW, definition, inventory, policy, scope_labels, selector

from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.policy.claims import Claims, Rule
from scoped_secrets.core.policy.evaluate import PolicyAllowed, PolicyDenied, evaluate
from scoped_secrets.core.policy.label_selector import LabelSelector, Operator, Requirement
from scoped_secrets.core.policy.policy import Access, Effect
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.scope.slot import Scope, ScopePath
from scoped_secrets.names import Reason

NAMESPACES = {
    "acme": {"labels": scope_labels("acme")},
    "web": {"labels": scope_labels("acme", "web")},
    "api": {"labels": scope_labels("acme", "api")},
    "production": {"labels": scope_labels("acme", "web", "production")},
    "rival": {"labels": scope_labels("rival")},
}
RECORD = AdmissionRecord(creator="system:serviceaccount:ci:runner", ref="refs/heads/main", event="push")
CLAIMS = Claims(ScopePath("acme", "web", "production"), "web-ci", "deployer", {"app": "deploy"}, RECORD)
ORGANIZATION_WIDE = definition("acme/aws", labels={"tier": "gold"})
OF_PROJECT = definition("web/aws", scope=Scope.PROJECT, labels={"tier": "tin"})
OF_ENVIRONMENT = definition("production/aws", scope=Scope.ENVIRONMENT, environment="production")
OF_PATTERN = definition("web/aws-all", scope=Scope.ENVIRONMENT, environment="prod*", secret_name="aws")


def verdict(*given, about=ORGANIZATION_WIDE, claims=CLAIMS, access=Access.ALLOW_IN_SCOPE):
    snapshot = inventory(NAMESPACES, [about], given)
    slotted = snapshot.get(about.location)
    assert isinstance(slotted, SlottedDefinition)
    return evaluate(snapshot.policies("acme", "web"), slotted, claims, access, NOW)


def allow(location="acme/allow", **rule):
    return policy(location, rules=(Rule("only", **rule),))


SOON = NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("sentence", "rule", "failing"),
    [
        ("a rule without claims holds for everybody", {}, None),
        ("a project that is named", {"projects": ("api", "web")}, None),
        ("a project by its family", {"projects": ("w*",)}, None),
        ("a project that is not named", {"projects": ("api",)}, "projects"),
        ("an environment that is named", {"environments": ("production",)}, None),
        ("an environment that is not named", {"environments": ("staging", "review/*")}, "environments"),
        ("a namespace that is named", {"namespaces": ("web-*",)}, None),
        ("a namespace that is not named", {"namespaces": ("web",)}, "namespaces"),
        ("an account that is named", {"service_accounts": ("deployer",)}, None),
        ("an account that is not named", {"service_accounts": ("deploy",)}, "serviceAccounts"),
        ("labels that match", {"pod_selector": selector(app="deploy"), "projects": ("web",)}, None),
        ("labels that do not match", {"pod_selector": selector(app="x"), "projects": ("web",)}, "podSelector"),
        ("the creator", {"creators": ("someone", "system:serviceaccount:ci:runner")}, None),
        ("another creator", {"creators": ("runner",)}, "creators"),
        ("a creator is no pattern", {"creators": ("system:serviceaccount:ci:*",)}, "creators"),
        ("the ref", {"refs": ("refs/heads/main",)}, None),
        ("a pattern of the ref", {"refs": ("refs/heads/m*",)}, None),
        ("another ref", {"refs": ("refs/heads/release", "refs/tags/*")}, "refs"),
        ("a pattern of refs does not cross a slash", {"refs": ("refs/*",)}, "refs"),
        ("the event", {"events": ("tag", "push")}, None),
        ("another event", {"events": ("pull_request",)}, "events"),
        ("a time that begins now", {"not_before": NOW}, None),
        ("a time that has not begun", {"not_before": SOON}, "notBefore"),
        ("a time that ends soon", {"not_after": SOON}, None),
        ("a time that ends now", {"not_after": NOW}, "notAfter"),
        ("all claims must hold", {"projects": ("web",), "namespaces": ("x",)}, "namespaces"),
        ("the first claim that fails is told", {"projects": ("x",), "namespaces": ("x",)}, "projects"),
        ("a claim is anchored", {"projects": ("we",)}, "projects"),
    ],
)
def test_a_rule_holds_when_all_its_claims_do(sentence, rule, failing):
    expected = (
        PolicyAllowed("acme/allow", "only")
        if failing is None
        else PolicyDenied(Reason.POLICY_DENIED, "acme/allow", "only", failing)
    )
    assert verdict(allow(**rule)) == expected


def test_a_job_without_project_or_environment_meets_no_claim_about_them():
    at_home = Claims(ScopePath("acme"), "acme", "default")
    assert verdict(allow(projects=("*",)), claims=at_home).claim == "projects"
    assert verdict(allow(environments=("*",)), claims=at_home).claim == "environments"


def deny(location="acme/deny", **rule):
    return policy(location, effect=Effect.DENY, rules=(Rule("no", **rule),))


@pytest.mark.parametrize(
    ("sentence", "given", "access", "expected"),
    [
        ("no policy, open by default", [], Access.ALLOW_IN_SCOPE, PolicyAllowed()),
        ("no policy, closed by default", [], Access.DENY, PolicyDenied(Reason.POLICY_DENIED)),
        ("an Allow that holds opens what is closed", [allow()], Access.DENY, PolicyAllowed("acme/allow", "only")),
        ("an Allow without rules allows nobody", [policy("acme/allow")], Access.ALLOW_IN_SCOPE,
         PolicyDenied(Reason.POLICY_DENIED, "acme/allow")),
        ("one Allow is enough", [allow("acme/a", projects=("x",)), allow("acme/b")], Access.ALLOW_IN_SCOPE,
         PolicyAllowed("acme/b", "only")),
        ("a Deny that holds beats an Allow", [allow(), deny()], Access.ALLOW_IN_SCOPE,
         PolicyDenied(Reason.POLICY_DENIED, "acme/deny", "no")),
        ("a Deny that does not hold denies nobody", [deny(projects=("x",))], Access.ALLOW_IN_SCOPE, PolicyAllowed()),
        ("a Deny that does not hold opens nothing", [deny(projects=("x",))], Access.DENY,
         PolicyDenied(Reason.POLICY_DENIED)),
        ("a Deny without rules denies everybody", [policy("acme/deny", effect=Effect.DENY)], Access.ALLOW_IN_SCOPE,
         PolicyDenied(Reason.POLICY_DENIED, "acme/deny", "*")),
        ("a broken policy denies", [allow(), policy("acme/broken", broken=True)], Access.ALLOW_IN_SCOPE,
         PolicyDenied(Reason.POLICY_ERROR, "acme/broken")),
        ("a broken policy about other bundles does not",
         [policy("acme/broken", broken=True, secret_names=("db",))], Access.ALLOW_IN_SCOPE, PolicyAllowed()),
        ("a policy of another organization says nothing", [policy("rival/deny", effect=Effect.DENY)],
         Access.ALLOW_IN_SCOPE, PolicyAllowed()),
        ("a policy outside every path says nothing", [policy("nowhere/deny", effect=Effect.DENY)],
         Access.ALLOW_IN_SCOPE, PolicyAllowed()),
    ],
)  # fmt: skip
def test_policies_are_evaluated_without_an_order(sentence, given, access, expected):
    assert verdict(*given, access=access) == expected
    assert verdict(*reversed(given), access=access) == expected


def test_denial_names_the_rule_that_matches_most_claims():
    rules = (Rule("far", projects=("x",)), Rule("near", projects=("web",), namespaces=("x",)))
    told = verdict(policy("acme/allow", rules=rules))
    assert (told.rule, told.claim) == ("near", "namespaces")
    assert told.detail == "denied by policy 'acme/allow', rule 'near': `namespaces` does not match"


@pytest.mark.parametrize(
    ("sentence", "given", "selected"),
    [
        ("nothing given selects all", {}, {"org", "project", "environment", "pattern"}),
        ("a name", {"secret_names": ("aws",)}, {"org", "project", "environment", "pattern"}),
        ("another name", {"secret_names": ("db", "a")}, set()),
        ("a family of names", {"secret_names": ("a*",)}, {"org", "project", "environment", "pattern"}),
        ("labels", {"selector": selector(tier="gold")}, {"org"}),
        ("a scope", {"scopes": (Scope.ENVIRONMENT,)}, {"environment", "pattern"}),
        ("scopes are alternatives", {"scopes": (Scope.ORGANIZATION, Scope.PROJECT)}, {"org", "project"}),
        ("all that is given must hold", {"scopes": (Scope.PROJECT,), "selector": selector(tier="gold")}, set()),
    ],
)
def test_policy_selects_bundles_that_meet_all_its_conditions(sentence, given, selected):
    assert governed("acme", **given) == selected


@pytest.mark.parametrize(
    ("sentence", "namespace", "governs"),
    [
        ("in the organization's home it governs everything", "acme", {"org", "project", "environment", "pattern"}),
        ("in a project it governs what stands there", "web", {"project", "pattern"}),
        ("in an environment it governs what stands there", "production", {"environment"}),
        ("in another project it governs nothing of this one", "api", set()),
        ("in another organization it governs nothing of this one", "rival", set()),
    ],
)
def test_a_policy_governs_its_own_namespace_and_in_the_home_everything(sentence, namespace, governs):
    assert governed(namespace) == governs


def governed(namespace, **given):
    """Return which definitions a Deny in a namespace denies."""
    denial = policy(f"{namespace}/deny", effect=Effect.DENY, **given)
    definitions = {
        "org": ORGANIZATION_WIDE,
        "project": OF_PROJECT,
        "environment": OF_ENVIRONMENT,
        "pattern": OF_PATTERN,
    }
    return {name for name, about in definitions.items() if isinstance(verdict(denial, about=about), PolicyDenied)}


@pytest.mark.parametrize(
    ("operator", "values", "matching"),
    [
        (Operator.IN, ("gold", "tin"), {"gold", "tin"}),
        (Operator.NOT_IN, ("gold",), {"tin", None}),
        (Operator.EXISTS, (), {"gold", "tin"}),
        (Operator.DOES_NOT_EXIST, (), {None}),
    ],
)
def test_selectors_match_as_in_kubernetes(operator, values, matching):
    wanted = LabelSelector((Requirement("tier", operator, values),))
    found = {value for value in ("gold", "tin", None) if wanted.matches({} if value is None else {"tier": value})}
    assert found == matching


@examples(5)
@given(about=definitions(), store=st.lists(policies(), min_size=1, max_size=5), job=JOBS)
def test_decision_matches_an_independent_implementation_of_the_design(about, store, job: Job):
    unique = {item.location: item for item in store}
    snapshot = Store((about,), tuple(unique.values())).inventory()
    slotted = snapshot.get(about.location)
    if not isinstance(slotted, SlottedDefinition):
        return
    path = oracle.Place(slotted.slot.organization, slotted.slot.project or "web", job.environment)
    claims = Claims(
        ScopePath(path.organization, path.project, path.environment), job.namespace, job.account, job.labels, job.record
    )

    found = evaluate(snapshot.policies(path.organization, path.project), slotted, claims, Access.ALLOW_IN_SCOPE, NOW)

    expected = oracle.policy_denial(unique.values(), about, job, path)
    assert (found.reason if isinstance(found, PolicyDenied) else None) == expected


UNSTATED = replace(CLAIMS, record=AdmissionRecord(creator="someone"))
EITHER = replace(CLAIMS, record=replace(RECORD, ref="refs/heads/main refs/tags/main"))
A_TRAP = replace(CLAIMS, record=replace(RECORD, ref="refs/heads/refs/heads/main"))


@pytest.mark.parametrize(
    ("sentence", "rule", "claims", "is_allowed", "is_denied"),
    [
        ("a ref that nothing states allows nothing and excludes nothing from a denial",
         {"refs": ("refs/heads/*",)}, UNSTATED, False, True),
        ("nor does an event that nothing states", {"events": ("push",)}, UNSTATED, False, True),
        ("nor does a creator that is not recorded",
         {"creators": ("someone",)}, replace(CLAIMS, record=AdmissionRecord()), False, True),
        ("a name that may be a tag is no branch for a rule that allows",
         {"refs": ("refs/heads/main",)}, EITHER, False, True),
        ("but a rule may allow both", {"refs": ("refs/heads/main", "refs/tags/*")}, EITHER, True, True),
        ("a name that is neither", {"refs": ("refs/heads/release",)}, EITHER, False, False),
        ("a branch with the name refs/heads/main is not main", {"refs": ("refs/heads/main",)}, A_TRAP, False, False),
    ],
)  # fmt: skip
def test_doubt_about_a_claim_never_gives_a_job_more(sentence, rule, claims, is_allowed, is_denied):
    assert isinstance(verdict(allow(**rule), claims=claims), PolicyAllowed) == is_allowed
    assert isinstance(verdict(deny(**rule), claims=claims), PolicyDenied) == is_denied


@pytest.mark.parametrize("more", [{}, {"not_before": NOW}, {"not_after": SOON}])
def test_a_rule_that_asks_only_for_labels_allows_no_job(more):
    denial = verdict(allow(pod_selector=selector(app="deploy"), **more))

    assert isinstance(denial, PolicyDenied)
    assert "`podSelector` is its only claim and allows no job" in denial.detail


def test_a_rule_that_asks_only_for_labels_denies_the_pods_that_have_them():
    assert isinstance(verdict(deny(pod_selector=selector(app="deploy"))), PolicyDenied)
    assert isinstance(verdict(deny(pod_selector=selector(app="other"))), PolicyAllowed)


def test_in_the_home_a_project_is_what_a_trusted_issuer_states():
    at_home = Claims(ScopePath("acme"), "acme", "default", {}, AdmissionRecord(creator="ci", project="web"))
    unmapped = replace(at_home, record=AdmissionRecord(creator="ci", project="-"))

    assert isinstance(verdict(allow(projects=("web",)), claims=at_home), PolicyAllowed)
    assert isinstance(verdict(allow(projects=("api",)), claims=at_home), PolicyDenied)
    assert isinstance(verdict(allow(projects=("*",)), claims=unmapped), PolicyDenied)


def test_a_denial_says_that_no_issuer_states_the_ref():
    denial = verdict(allow(refs=("refs/heads/main",)), claims=UNSTATED)

    assert isinstance(denial, PolicyDenied)
    assert denial.detail == "denied by policy 'acme/allow', rule 'only': `refs` is stated by no trusted issuer"
