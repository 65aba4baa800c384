"""What a policy does in the cluster as it is: what it governs, and why it has no effect."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.builders import NOW, definition, inventory, policy, scope_labels, selector

from scoped_secrets import names
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.core.policy.policy import Effect
from scoped_secrets.core.policy_effect import PolicyEffect, policy_effect
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.names import Reason

PLACES = {
    "acme": {"labels": scope_labels("acme")},
    "web": {
        "labels": scope_labels("acme", "web"),
        "annotations": {names.ALLOW_ENVIRONMENTS_ANNOTATION: "review/*"},
    },
    "web-production": {"labels": scope_labels("acme", "web", "production")},
    "api": {"labels": scope_labels("acme", "api")},
    "other": {"labels": scope_labels("other", "web")},
}
KNOWN = [
    definition("acme/aws"),
    definition("acme/registry", labels={"tier": "gold"}),
    definition("web/db", scope="Project"),
    definition("web-production/aws", scope="Environment", environment="production"),
    definition("other/aws", scope="Project"),
]


def effect_of(location: str, *definitions: Any, **given: Any) -> PolicyEffect:
    snapshot = inventory(PLACES, [*KNOWN, *definitions], [policy(location, **given)])
    stored = snapshot.get_policy(location)
    assert stored is not None
    return policy_effect(stored, snapshot, NOW)


@pytest.mark.parametrize(
    ("location", "given", "matched"),
    [
        ("acme/p", {"secret_names": ("aws",)}, ("acme/aws", "web-production/aws")),
        ("acme/p", {"secret_names": ("a*", "db")}, ("acme/aws", "web-production/aws", "web/db")),
        ("acme/p", {"scopes": (Scope.ORGANIZATION,)}, ("acme/aws", "acme/registry")),
        ("acme/p", {"selector": selector(tier="gold")}, ("acme/registry",)),
        ("web/p", {"secret_names": ("*",)}, ("web/db",)),
        ("web-production/p", {"secret_names": ("aws",)}, ("web-production/aws",)),
    ],
)
def test_the_definitions_that_a_policy_governs_are_listed_in_order(location, given, matched):
    effect = effect_of(location, effect=Effect.DENY, **given)

    assert (effect.matched_count, effect.matched, effect.ineffective) == (len(matched), matched, None)


def test_at_most_20_definitions_are_listed():
    many = [definition(f"acme/many-{number:03}") for number in range(50)]

    effect = effect_of("acme/p", *reversed(many), secret_names=("many-*",))

    assert effect.matched_count == 50
    assert effect.matched == tuple(f"acme/many-{number:03}" for number in range(20))


@pytest.mark.parametrize(
    ("location", "given", "reason", "part"),
    [
        ("acme/p", {"secret_names": ("gone",)}, Reason.SELECTS_NOTHING, "no definition"),
        ("acme/p", {"secret_names": ("aws",), "selector": selector(tier="x")}, Reason.SELECTS_NOTHING, "selector"),
        ("api/p", {"secret_names": ("*",)}, Reason.SELECTS_NOTHING, "no definition"),
        ("web/p", {"secret_names": ("registry",)}, Reason.NOT_GOVERNED, "'registry'"),
        ("web/p", {"secret_names": ("db", "registry")}, Reason.NOT_GOVERNED, "'registry'"),
        ("web-production/p", {"secret_names": ("db",)}, Reason.NOT_GOVERNED, "'db'"),
        # Of another project nothing is told.
        ("api/p", {"secret_names": ("db",)}, Reason.SELECTS_NOTHING, "no definition"),
    ],
)
def test_a_policy_without_a_definition_says_so(location, given, reason, part):
    condition = effect_of(location, **given).ineffective

    assert condition is not None
    assert (condition.reason, condition.is_true) == (reason, True)
    assert part in condition.message


ENDED = NOW - timedelta(days=1)


@pytest.mark.parametrize(
    ("rule", "claim"),
    [
        (Rule("a", not_after=ENDED), "notAfter"),
        (Rule("a", not_after=NOW), "notAfter"),
        (Rule("a", projects=("shop",)), "projects"),
        (Rule("a", projects=("web",), namespaces=("shop-*",)), "namespaces"),
        (Rule("a", environments=("staging",)), "environments"),
        (Rule("a", projects=("api",), environments=("production",)), "environments"),
        (Rule("a", not_after=NOW + timedelta(days=1)), None),
        (Rule("a", not_before=NOW + timedelta(days=1)), None),
        (Rule("a", projects=("w*",), namespaces=("web",)), None),
        (Rule("a", environments=("review/7",)), None),
        (Rule("a", environments=("staging",), service_accounts=("deployer",)), None),
        (Rule("a", environments=("prod*",)), None),
    ],
)
def test_an_allow_policy_that_no_job_can_match_says_why(rule, claim):
    condition = effect_of("acme/p", secret_names=("aws",), rules=(rule,)).ineffective

    if claim is None:
        assert condition is None
    else:
        assert condition is not None
        assert condition.reason is Reason.NEVER_ALLOWS
        assert f"rule 'a': `{claim}`" in condition.message


@pytest.mark.parametrize(
    "given",
    [
        {"rules": ()},
        {"rules": (Rule("dead", not_after=ENDED), Rule("alive"))},
        {"effect": Effect.DENY, "rules": (Rule("dead", not_after=ENDED),)},
    ],
    ids=["no rules", "one rule can match", "a Deny policy"],
)
def test_other_policies_do_what_they_say(given):
    assert effect_of("acme/p", secret_names=("aws",), **given).ineffective is None


def test_the_end_of_the_next_rule_is_when_it_changes():
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    rules = (Rule("late", not_after=late), Rule("ended", not_after=ENDED), Rule("soon", not_after=soon))

    assert effect_of("acme/p", secret_names=("aws",), rules=rules).changes_at == soon
