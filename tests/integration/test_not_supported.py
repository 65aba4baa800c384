"""What this version does not enforce is refused with a sentence, and never silently ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.console import pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

PLAIN = {"value": "x", "sensitive": False}
SECRETS: dict[str, dict[str, Any]] = {
    "spec.publish": {"publish": {"name": "registry"}},
}
POLICIES: dict[str, dict[str, Any]] = {
    "spec.rules[0].refs": {"rules": [{"name": "a", "refs": ["refs/heads/main"]}]},
    "spec.rules[1].events": {"rules": [{"name": "a"}, {"name": "b", "events": ["push"]}]},
    "spec.rules[0].creators": {"rules": [{"name": "a", "creators": ["system:serviceaccount:ci:runner"]}]},
    "spec.interactive": {"interactive": {"exec": "Deny"}},
}


@pytest.fixture(scope="module")
def web(found: Founder) -> str:
    """A project's namespace in which everything is refused."""
    return found().namespace("web", "web")


@pytest.mark.parametrize("field", SECRETS)
def test_a_field_of_a_secret_is_refused(field: str, web: str, console: Console):
    console.apply(scoped_secret(f"{web}/known", env={"A": PLAIN}))

    message = console.refusal(scoped_secret(f"{web}/aws", **SECRETS[field]))

    assert f"NotSupported: `{field}` is not enforced by this version yet; remove it" in message
    assert not console.exists("ssec", web, "aws")


@pytest.mark.parametrize("field", POLICIES)
def test_a_field_of_a_policy_is_refused(field: str, web: str, console: Console):
    console.apply(secret_policy(f"{web}/known", "unused"))

    message = console.refusal(secret_policy(f"{web}/policy", "aws", **POLICIES[field]))

    assert f"NotSupported: `{field}` is not enforced by this version yet; remove it" in message
    assert not console.exists("spol", web, "policy")


def test_a_field_cannot_come_with_an_update_either(company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"A": PLAIN}), secret_policy(f"{web}/policy", "unused"))

    secret = console.refusal(scoped_secret(f"{web}/aws", **SECRETS["spec.publish"]), command=("apply",))
    policy = console.refusal(
        secret_policy(f"{web}/policy", "unused", **POLICIES["spec.interactive"]), command=("apply",)
    )

    assert "`spec.publish` is not enforced" in secret
    assert "`spec.interactive` is not enforced" in policy


def test_what_was_stored_without_admission_is_used_by_nobody(
    company: Company, console: Console, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/governed", env={"A": PLAIN}))
    with operator.webhooks_off():
        console.apply(
            scoped_secret(f"{web}/aws", env={"A": PLAIN}, **SECRETS["spec.publish"]),
            secret_policy(f"{web}/policy", "governed", **POLICIES["spec.rules[0].refs"]),
        )
    company.settle(web)

    secret = console.refusal(pod(f"{web}/one", "aws"))
    policy = console.refusal(pod(f"{web}/two", "governed"))

    assert "NotReady: bundle 'aws'" in secret
    assert "(NotSupported)" in secret
    assert f"PolicyError: bundle 'governed' is denied by policy '{web}/policy'" in policy
    assert console.wait_condition(web, "aws", "Ready", "False")["reason"] == "NotSupported"
