"""An object changes nothing for a namespace that is trusted more than its own: attacks that once succeeded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, document, pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

EVERYONE = {"name": "everyone"}


class Shop:
    """A home, a project's namespace and the namespace of its environment, and what production gets untouched."""

    def __init__(self, company: Company, console: Console, canary: Canary) -> None:
        """Store what is trusted."""
        self.company, self.console, self.canary = company, console, canary
        self.home = company.home
        self.web = company.namespace("web", "web")
        self.production = company.namespace("web-production", "web", "production")
        none = {"name": "none", "serviceAccounts": ["nobody"]}
        console.apply(
            scoped_secret(f"{self.home}/aws", "Organization", env={"KEY": canary.value("trusted aws")}),
            secret_policy(f"{self.home}/aws", "aws", effect="Allow", rules=[none]),
            scoped_secret(
                f"{self.production}/database",
                "Environment",
                environment="production",
                env={"HOST": canary.value("trusted host")},
            ),
        )
        company.settle(self.production)

    def assert_production_is_unchanged(self, name: str) -> None:
        """Check that a job in production gets what the trusted namespaces define, and nothing more."""
        self.company.settle(self.production)
        self.console.create(pod(f"{self.production}/{name}", "database"))
        view = self.console.seen(self.production, name)
        assert view.visible == {"HOST": self.canary.value("trusted host")}
        assert {path for path in view.files if not path.startswith("/run/scoped-secrets")} == set()


@pytest.fixture(scope="module")
def shop(found: Founder, console: Console, canary: Canary) -> Shop:
    return Shop(found(), console, canary)


def test_project_policy_that_lets_its_account_into_production(shop: Shop, console: Console):
    rule = {"name": "me", "environments": ["production"], "serviceAccounts": ["default"]}
    console.apply(secret_policy(f"{shop.web}/let-me-in", "database", effect="Allow", rules=[rule]))
    shop.company.settle(shop.web)

    message = console.refusal(pod(f"{shop.web}/intruder", "database", annotations={"environment": "production"}))

    assert Reason.ENVIRONMENT_NOT_ALLOWED in message


def test_attached_bundle_of_a_project(shop: Shop, console: Console, canary: Canary):
    tools = scoped_secret(
        f"{shop.web}/tools",
        attach="Always",
        env={"NODE_OPTIONS": canary.value("intruder options")},
        files={"~/bin/git": canary.value("intruder git")},
    )
    console.apply(tools)

    shop.assert_production_is_unchanged("attached")
    assert console.wait_condition(shop.web, "tools", "Restricted", "True")["reason"] == Reason.NOT_TRUSTED
    console.create(pod(f"{shop.web}/own"))
    assert console.seen(shop.web, "own").visible == {"NODE_OPTIONS": canary.value("intruder options")}


def test_an_attached_bundle_does_not_take_over_a_container(shop: Shop, console: Console, canary: Canary):
    files = {"/usr/bin/git": canary.value("taken over")}
    apply = console.cluster.kubectl(
        "apply", "-f", "-", input=document([scoped_secret(f"{shop.web}/takeover", attach="Always", files=files)])
    )
    assert "Warning: `spec.files[0].path` lies outside of the home directory" in apply.stderr
    try:
        wait_until(lambda: console.is_refused(pod(f"{shop.web}/job"), "PathNotAllowed"), "a denial", seconds=SECONDS)
        # Who names the bundle chooses its files.
        console.create(pod(f"{shop.web}/chosen", "takeover"))
        assert console.seen(shop.web, "chosen").files["/usr/bin/git"] == files["/usr/bin/git"]
        console.cluster.kubectl(
            "annotate", "namespace", shop.web, f"{names.ALLOW_ATTACH_PATHS_ANNOTATION}=/usr/bin", "--overwrite"
        )
        wait_until(lambda: not console.cluster.refusal(pod(f"{shop.web}/job")), "consent", seconds=SECONDS)
    finally:
        console.cluster.kubectl("delete", "ssec", "takeover", "-n", shop.web)
        console.cluster.kubectl("annotate", "namespace", shop.web, f"{names.ALLOW_ATTACH_PATHS_ANNOTATION}-")


def test_slot_of_production_that_a_project_takes(shop: Shop, console: Console, canary: Canary):
    intruder = scoped_secret(
        f"{shop.web}/database", "Environment", environment="production", env={"HOST": canary.value("intruder host")}
    )
    assert Reason.NOT_TRUSTED in console.refusal(intruder)
    console.apply(
        scoped_secret(
            f"{shop.web}/pattern", "Environment", environment="*", secretName="database",
            env={"HOST": canary.value("intruder host")},
        )
    )  # fmt: skip

    shop.assert_production_is_unchanged("slot")


def test_policy_of_a_project_that_widens_the_home(shop: Shop, console: Console):
    console.apply(secret_policy(f"{shop.web}/widen", "*", effect="Allow", rules=[EVERYONE]))
    shop.company.settle(shop.web)

    for namespace in (shop.web, shop.production):
        assert Reason.POLICY_DENIED in console.refusal(pod(f"{namespace}/widened", "aws"))


def test_policy_of_a_project_that_denies_production(shop: Shop, console: Console):
    console.apply(secret_policy(f"{shop.web}/deny", "database", effect="Deny"))

    shop.assert_production_is_unchanged("denied")


def test_final_definition_of_a_project(shop: Shop, console: Console, canary: Canary):
    final = scoped_secret(f"{shop.web}/final", final=True, env={"HOST": canary.value("intruder final")})

    assert Reason.NOT_TRUSTED in console.refusal(final)


def test_definition_older_than_the_namespaces_of_its_environment_makes_way(
    found: Founder, console: Console, canary: Canary
):
    company = found()
    web = company.namespace("web", "web", allow_environments="production")
    definition = scoped_secret(
        f"{web}/db", "Environment", environment="production", env={"HOST": canary.value("older")}
    )
    console.apply(definition)
    console.wait_condition(web, "db", "Ready", "True")
    born = console.cluster.get("ssec", "db", "-n", web)["metadata"]["creationTimestamp"]
    # Times of creation have whole seconds, and within one second the name decides.
    wait_until(lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > born, "the next second begins", seconds=5)

    production = company.namespace("web-production", "web", "production")
    found_reason = console.wait_condition(web, "db", "Restricted", "True")["reason"]
    console.apply(
        scoped_secret(f"{production}/db", "Environment", environment="production", env={"HOST": canary.value("own")})
    )
    company.settle(production)
    for namespace, asked in ((production, {}), (web, {"environment": "production"})):
        console.create(pod(f"{namespace}/job", "db", annotations=asked))
        assert console.seen(namespace, "job").visible == {"HOST": canary.value("own")}

    assert found_reason == Reason.NOT_TRUSTED
    console.cluster.kubectl("label", "namespace", production, f"{names.ENVIRONMENT_LABEL}-")
    wait_until(lambda: "Restricted" not in console.conditions(console.cluster.get("ssec", "db", "-n", web)),
               "the restriction to end", seconds=SECONDS)  # fmt: skip
