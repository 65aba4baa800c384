"""What a policy asks for and this version does not enforce is denied with a sentence, and never silently ignored."""

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
POLICIES: dict[str, dict[str, Any]] = {
    "spec.rules[0].refs": {"rules": [{"name": "a", "refs": ["refs/heads/main"]}]},
    "spec.rules[1].events": {"rules": [{"name": "a"}, {"name": "b", "events": ["push"]}]},
    "spec.rules[0].creators": {"rules": [{"name": "a", "creators": ["system:serviceaccount:ci:runner"]}]},
}


@pytest.fixture(scope="module")
def web(found: Founder) -> str:
    """A project's namespace in which everything is refused."""
    return found().namespace("web", "web")


def test_publish_is_an_unknown_field_of_a_secret(web: str, console: Console):
    message = console.refusal(scoped_secret(f"{web}/aws", publish={"name": "registry"}))

    assert 'unknown field "publish"' in message
    assert not console.exists("ssec", web, "aws")


@pytest.mark.parametrize("field", POLICIES)
def test_unsupported_field_of_a_policy_is_denied(field: str, web: str, console: Console):
    console.apply(secret_policy(f"{web}/known", "unused"))

    message = console.refusal(secret_policy(f"{web}/policy", "aws", **POLICIES[field]))

    assert f"NotSupported: `{field}` is not enforced by this version yet; remove it" in message
    assert not console.exists("spol", web, "policy")


def test_a_field_of_a_policy_is_refused_in_an_update_too(company: Company, console: Console):
    web = company.namespace("web", "web")
    console.apply(secret_policy(f"{web}/policy", "unused"))

    policy = console.refusal(
        secret_policy(f"{web}/policy", "unused", **POLICIES["spec.rules[0].refs"]), command=("apply",)
    )

    assert "`spec.rules[0].refs` is not enforced" in policy


def test_a_policy_stored_without_admission_denies_what_it_selects(
    company: Company, console: Console, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/governed", env={"A": PLAIN}))
    with operator.webhooks_off():
        console.apply(
            secret_policy(f"{web}/policy", "governed", **POLICIES["spec.rules[0].refs"]),
        )
    company.settle(web)

    policy = console.refusal(pod(f"{web}/two", "governed"))

    assert f"PolicyError: bundle 'governed' is denied by policy '{web}/policy'" in policy
