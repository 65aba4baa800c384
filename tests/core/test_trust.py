"""An object changes nothing for a namespace that is trusted more than its own (DESIGN section 3)."""

# ruff: noqa: S106 - `secret_name` is a name

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import JOBS, SEATS, Job, Store, definitions, examples, policies, stores
from tests.support.builders import (
    NOW,
    container,
    decide_about,
    definition,
    definition_at,
    denied,
    granted,
    home_and_project,
    inventory,
    pod_body,
    policy,
    scope_labels,
)
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.resolution.definitions import Attach
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.core.status import status_of
from scoped_secrets.names import ConditionType, Reason

ENVIRONMENT = scope_labels("acme", "web", "production")
NAMESPACES = home_and_project(**{names.ALLOW_ENVIRONMENTS_ANNOTATION: "staging"}) | {
    "web-production": {"labels": ENVIRONMENT}
}
CONSENTING = NAMESPACES | {
    "web-production": {"labels": ENVIRONMENT, "annotations": {names.ALLOW_PROJECT_ATTACH_ANNOTATION: "true"}}
}
DEPLOYER = Rule("deployer", environments=("production",), service_accounts=("deployer",))


def world(*objects, namespaces=None):
    stored = [item for item in objects if hasattr(item, "secret_name")]
    return inventory(namespaces or NAMESPACES, stored, [item for item in objects if item not in stored])


def in_production(secrets: str = ""):
    return pod_body(secrets, namespace="web-production", containers=[container()])


def variables(body, snapshot):
    return view(body, granted(body, snapshot)).visible


OWN = definition("web-production/db", scope=Scope.ENVIRONMENT, environment="production", env={"HOST": "own"})
HOME = definition("acme/aws", env={"KEY": "home"})


# The attacks that succeeded before the rule, one by one


def test_a_project_cannot_let_its_own_account_into_an_environment():
    body = pod_body("db", annotations={names.ENVIRONMENT_ANNOTATION: "production"}, serviceAccountName="deployer")

    assert denied(body, world(OWN, policy("web/g", rules=(DEPLOYER,)))).reason is Reason.ENVIRONMENT_NOT_ALLOWED
    for trusted in ("acme/g", "web-production/g"):
        assert variables(body, world(OWN, policy(trusted, rules=(DEPLOYER,)))) == {"HOST": "own"}


def test_a_project_attaches_nothing_to_the_jobs_of_an_environment_that_does_not_consent():
    attached = definition(
        "web/tools", scope=Scope.PROJECT, attach=Attach.ALWAYS, env={"NODE_OPTIONS": "x"}, files={"~/bin/git": "x"}
    )

    assert variables(in_production(), world(attached)) == {}
    assert variables(in_production(), world(attached, namespaces=CONSENTING)) == {"NODE_OPTIONS": "x"}
    assert variables(in_production("tools"), world(attached)) == {"NODE_OPTIONS": "x"}
    assert variables(pod_body(), world(attached)) == {"NODE_OPTIONS": "x"}


@pytest.mark.parametrize("pattern", ["production", "prod*", "*"])
def test_a_project_defines_nothing_for_an_environment_with_namespaces_of_its_own(pattern):
    intruder = definition(
        "web/db", scope=Scope.ENVIRONMENT, environment=pattern, created="2025-01-01T00:00:00Z", env={"HOST": "intruder"}
    )

    assert variables(in_production("db"), world(OWN, intruder)) == {"HOST": "own"}
    assert denied(in_production("db"), world(intruder)).reason is Reason.NOT_FOUND


def test_a_pattern_of_a_project_applies_where_the_project_is_trusted():
    pattern = definition("web/db", scope=Scope.ENVIRONMENT, environment="*", env={"HOST": "staging"})
    body = pod_body("db", annotations={names.ENVIRONMENT_ANNOTATION: "staging"})

    assert variables(body, world(pattern)) == {"HOST": "staging"}


def test_a_policy_of_a_project_widens_no_policy_of_the_organization():
    strict = policy("acme/strict", rules=(Rule("none", service_accounts=("nobody",)),))
    wide = policy("web/wide", rules=(Rule("all"),))

    for body in (in_production("aws"), pod_body("aws")):
        assert denied(body, world(HOME, strict, wide)).reason is Reason.POLICY_DENIED


@pytest.mark.parametrize("namespace", ["web", "web-production"])
def test_a_policy_outside_of_the_home_denies_only_what_stands_beside_it(namespace):
    denial = policy(f"{namespace}/deny", effect=Effect.DENY)

    assert variables(in_production("aws"), world(HOME, denial)) == {"KEY": "home"}
    beside = definition("web-production/aws", scope=Scope.ENVIRONMENT, environment="production")
    is_denied = isinstance(decide_about(in_production("aws"), world(HOME, beside, denial)), Denied)
    assert is_denied is (namespace == "web-production")


def test_final_outside_of_the_home_replaces_nothing():
    final = definition("web/db", scope=Scope.PROJECT, final=True, env={"HOST": "intruder"})

    assert variables(in_production("db"), world(OWN, final)) == {"HOST": "own"}


# Slots


@pytest.mark.parametrize("scope", [Scope.PROJECT, Scope.ENVIRONMENT])
def test_the_home_takes_a_slot_from_an_older_definition_of_the_project(scope):
    place = {"scope": scope, "environment": "staging" if scope is Scope.ENVIRONMENT else None}
    older = definition("web/x", secret_name="aws", created="2025-01-01T00:00:00Z", env={"KEY": "intruder"}, **place)
    ours = definition("acme/aws", project="web", env={"KEY": "home"}, **place)
    body = pod_body("aws", annotations={names.ENVIRONMENT_ANNOTATION: "staging"})

    assert variables(body, world(older, ours)) == {"KEY": "home"}
    assert conditions(older, older, ours)[ConditionType.CONFLICTED] == (True, Reason.SLOT_TAKEN)


def test_an_attached_name_of_the_home_is_not_detached_by_a_project():
    attached = definition("acme/ca", attach=Attach.ALWAYS, env={"CA": "home"})
    detaching = definition("web/ca", scope=Scope.PROJECT, env={"CA": "intruder"})

    assert variables(in_production(), world(attached, detaching)) == {"CA": "home"}
    assert variables(pod_body(), world(attached, detaching)) == {}


# What no longer counts says so


def conditions(about, *objects, namespaces=None):
    snapshot = world(*objects, namespaces=namespaces)
    found = status_of(definition_at(snapshot, about.location), snapshot, NOW).conditions
    return {item.type: (item.is_true, item.reason) for item in found}


@pytest.mark.parametrize(
    ("sentence", "about", "is_restricted", "is_ready"),
    [
        ("an environment with namespaces", definition("web/a", scope="Environment", environment="production"),
         True, False),
        ("a pattern that meets one", definition("web/a", scope="Environment", environment="prod*"), True, True),
        ("another environment", definition("web/a", scope="Environment", environment="staging"), False, True),
        ("final in a project", definition("web/a", scope="Project", final=True), True, True),
        ("final in an environment", definition("web-production/a", scope="Environment", environment="production",
         final=True), True, True),
        ("final in the home", definition("acme/a", final=True), False, True),
        ("attached by a project", definition("web/a", scope="Project", attach="Always"), True, True),
        ("attached by the home", definition("acme/a", scope="Project", project="web", attach="Always"), False, True),
        ("a definition of a project", definition("web/a", scope="Project"), False, True),
    ],
)  # fmt: skip
def test_condition_restricted_says_what_does_not_count(sentence, about, is_restricted, is_ready):
    found = conditions(about, about)
    assert found.get(ConditionType.RESTRICTED) == ((True, Reason.NOT_TRUSTED) if is_restricted else None)
    assert found[ConditionType.READY] == (is_ready, Reason.AVAILABLE if is_ready else Reason.NOT_TRUSTED)


def test_consent_ends_the_restriction():
    attached = definition("web/a", scope="Project", attach="Always")
    assert ConditionType.RESTRICTED not in conditions(attached, attached, namespaces=CONSENTING)


def test_a_namespace_that_comes_or_goes_affects_the_definitions_of_its_project():
    about = definition("web/a", scope="Environment", environment="production")
    other = definition("acme/b")
    snapshot = world(about, other)
    binding = snapshot.binding("web-production")

    assert "web/a" in snapshot.put_binding("web-production", None, 1.0)
    assert snapshot.environments("acme", "web") == {}
    affected = snapshot.put_binding("web-production", binding, 2.0)
    assert "web/a" in affected
    assert "acme/b" not in affected


# Properties

PROJECT_SEATS = [seat for seat in SEATS if seat[0] == "web"]
ANYWHERE_ELSE = [seat for seat in SEATS if seat[0] != "acme"]


def outcome(store: Store, job: Job):
    """Return what the job gets, or why it gets nothing."""
    decision = decide_about(job.body(), store.inventory())
    if isinstance(decision, Denied):
        return decision
    assert isinstance(decision, Granted)
    left = {(each.name, each.reason) for each in decision.grant.left_out}
    return decision.grant.pins, left, decision.injection.operations[:-1], view(job.body(), decision)


@examples(10)
@given(
    store=stores(),
    intruders=st.lists(definitions(PROJECT_SEATS), min_size=1, max_size=4),
    strict=st.lists(policies(), max_size=3),
    job=JOBS,
)
def test_a_project_changes_for_an_environment_only_what_the_job_names(store, intruders, strict, job):
    job = replace(job, namespace="web-production", environment=None)
    named = {reference.strip().removesuffix("?") for reference in job.references.split(",")}
    kept = [item for item in store.definitions if item.namespace != "web" or item.secret_name in named]
    trusted = [item for item in store.policies if item.namespace != "web"]
    # What the job names may change with what stands in the project; everything else may not.
    before = Store(tuple(kept), tuple(trusted))
    names_taken = {item.location for item in kept}
    added = [item for item in intruders if item.secret_name not in named and item.location not in names_taken]

    after = Store((*kept, *added), tuple(trusted))
    assert outcome(after, job) == outcome(before, job)

    without = Store(tuple(item for item in kept if item.namespace != "web"), tuple(trusted))
    of_project = tuple(replace(item, namespace="web") for item in strict)
    assert outcome(Store(without.definitions, (*trusted, *of_project)), job) == outcome(without, job)


@examples(5)
@given(
    store=stores(),
    added=st.lists(definitions(ANYWHERE_ELSE), max_size=4),
    strict=st.lists(policies(), max_size=3),
    job=JOBS,
)
def test_nothing_outside_changes_a_job_of_the_home(store, added, strict, job):
    job = replace(job, namespace="acme", environment=None)
    definitions_there = tuple(item for item in store.definitions if item.namespace == "acme")
    policies_there = tuple(item for item in store.policies if item.namespace == "acme")
    outside = tuple(replace(item, namespace="web") for item in strict)

    after = Store((*definitions_there, *added), (*policies_there, *outside))
    assert outcome(after, job) == outcome(Store(definitions_there, policies_there), job)
