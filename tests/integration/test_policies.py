"""Who may use which bundles: every claim that this version knows, as Allow and as Deny."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
NAMESPACE = "NAMESPACE"
# For each claim one that the job's pod satisfies and one that it does not.
CLAIMS: dict[str, tuple[Any, Any]] = {
    "projects": (["api", "w*"], ["api"]),
    "environments": (["prod*"], ["staging"]),
    "namespaces": ([NAMESPACE], ["another-*"]),
    "serviceAccounts": (["builder", "deployer"], ["builder"]),
    "podSelector": (
        {"matchExpressions": [{"key": "app", "operator": "In", "values": ["deploy"]}]},
        {"matchLabels": {"app": "test"}},
    ),
    "notBefore": (PAST, FUTURE),
    "notAfter": (FUTURE, PAST),
}


@dataclass(frozen=True)
class Firm:
    """An organization with a production namespace and bundles under every kind of policy."""

    company: Company
    web: str

    def job(self, name: str, secrets: str, **fields: Any) -> dict[str, Any]:
        """Return the pod that the claims above are about."""
        fields = {"serviceAccountName": "deployer", "labels": {"app": "deploy"}, **fields}
        return pod(f"{self.web}/{name}", secrets, **fields)


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> Firm:
    company = found()
    web, home = company.namespace("web-production", "web", "production"), company.home
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer", "namespace": web}}

    def bundle(name: str, **fields: Any) -> dict[str, Any]:
        return scoped_secret(f"{home}/{name}", "Organization", env={variable(name): canary.value(name)}, **fields)

    bodies = [account]
    for claim, values in CLAIMS.items():
        for effect in ("Allow", "Deny"):
            for holds, given in zip((True, False), values, strict=True):
                name = bundle_name(effect, claim, holds)
                rule = {"name": "the-rule", claim: [web] if given == [NAMESPACE] else given}
                bodies += [bundle(name), secret_policy(f"{home}/{name}", name, effect=effect, rules=[rule])]
    everybody = {"name": "everybody"}
    nobody = {"name": "staging-only", "environments": ["staging"], "serviceAccounts": ["nobody"]}
    bodies += [
        bundle("unruled"),
        bundle("nobody"),
        secret_policy(f"{home}/nobody", "nobody", effect="Allow"),
        bundle("contested"),
        secret_policy(f"{home}/contested-allow", "contested", effect="Allow", rules=[everybody]),
        secret_policy(f"{home}/contested-deny", "contested", effect="Deny", rules=[everybody]),
        bundle("either"),
        secret_policy(f"{home}/either", "either", effect="Allow", rules=[nobody, everybody]),
        bundle("both"),
        secret_policy(
            f"{home}/both", "both", effect="Allow", rules=[{"name": "and", "projects": ["web"], "environments": ["no"]}]
        ),
        bundle("labelled", labels={"tier": "gold"}),
        secret_policy(f"{home}/gold", effect="Deny", secrets={"selector": {"matchLabels": {"tier": "gold"}}}),
        scoped_secret(f"{web}/narrow", "Environment", environment="production", env={"NARROW": canary.value("narrow")}),
        secret_policy(f"{home}/narrow", effect="Deny", secrets={"names": ["narrow", "unruled"], "scopes": ["Project"]}),
        # A policy of a project's namespace does not govern what the organization defines.
        secret_policy(f"{web}/overreach", "unruled", effect="Deny"),
        bundle("strict-one"),
        scoped_secret(f"{home}/strict-two", "Organization", env={"STRICT_ONE": canary.value("strict two")}),
        secret_policy(f"{home}/strict", "strict-two", effect="Allow", rules=[everybody], keyConflict="Fail"),
    ]
    console.apply(*bodies)
    company.settle(web)
    return Firm(company, web)


def bundle_name(effect: str, claim: str, holds: bool) -> str:
    return f"{effect}-{claim}-{'holds' if holds else 'fails'}".lower()


def variable(bundle: str) -> str:
    return bundle.upper().replace("-", "_")


def test_job_gets_every_allowed_bundle_and_the_allowing_rule(firm: Firm, console: Console, canary: Canary):
    allowed = [bundle_name("Allow", claim, holds=True) for claim in CLAIMS]
    allowed += [bundle_name("Deny", claim, holds=False) for claim in CLAIMS]
    allowed += ["unruled", "either", "narrow"]
    console.create(firm.job("allowed", ", ".join(allowed)))

    view = console.seen(firm.web, "allowed")

    assert view.visible == {variable(name): canary.value(name) for name in allowed}
    stored = console.cluster.get("pod", "allowed", "-n", firm.web)
    bundles = json.loads(stored["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])["bundles"]
    home = firm.company.home
    assert {bundle["name"]: bundle.get("allowedBy") for bundle in bundles} == {
        **dict.fromkeys(allowed),
        **{
            name: [{"policy": f"{home}/{name}", "rule": "the-rule"}]
            for claim in CLAIMS
            for name in [bundle_name("Allow", claim, holds=True)]
        },
        "either": [{"policy": f"{home}/either", "rule": "everybody"}],
    }


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_does_not_hold_denies_and_is_named(claim: str, firm: Firm, console: Console):
    name = bundle_name("Allow", claim, holds=False)

    message = console.refusal(firm.job("refused", name))

    policy = f"policy '{firm.company.home}/{name}', rule 'the-rule'"
    for words in ("PolicyDenied", f"bundle '{name}'", policy, f"`{claim}`", "ask the policy's owner"):
        assert words in message
    assert not console.exists("pod", firm.web, "refused")


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_denying_rule_whose_claim_holds_denies(claim: str, firm: Firm, console: Console):
    name = bundle_name("Deny", claim, holds=True)

    message = console.refusal(firm.job("refused", name))

    assert "PolicyDenied" in message
    assert f"denied by policy '{firm.company.home}/{name}', rule 'the-rule' (effect Deny)" in message


@pytest.mark.parametrize(
    ("bundle", "policy"),
    [("nobody", "nobody"), ("contested", "contested-deny"), ("both", "both"), ("labelled", "gold")],
)
def test_bundle_without_a_matching_rule_is_denied(bundle: str, policy: str, firm: Firm, console: Console):
    message = console.refusal(firm.job("refused", bundle))

    assert "PolicyDenied" in message
    assert f"policy '{firm.company.home}/{policy}'" in message


def test_a_policy_can_refuse_equal_variables_of_two_bundles(firm: Firm, console: Console):
    message = console.refusal(firm.job("refused", "strict-one, strict-two"))

    assert "KeyConflict: variable 'STRICT_ONE' is in bundles 'strict-one' and 'strict-two'" in message


def test_a_denied_optional_bundle_is_left_out_and_reported(firm: Firm, console: Console, canary: Canary):
    console.create(firm.job("optional", "unruled, nobody?, missing?"))

    view = console.seen(firm.web, "optional")

    assert view.visible == {"UNRULED": canary.value("unruled")}
    stored = console.cluster.get("pod", "optional", "-n", firm.web)
    left_out = json.loads(stored["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])["leftOut"]
    assert left_out == [{"name": "nobody", "reason": "PolicyDenied"}, {"name": "missing", "reason": "NotFound"}]


def test_a_jobs_event_says_why_its_pod_was_refused(firm: Firm, console: Console):
    body = firm.job("unused", "nobody")
    template = {"metadata": {key: body["metadata"][key] for key in ("labels", "annotations")}}
    template["spec"] = {**body["spec"], "restartPolicy": "Never"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "refused", "namespace": firm.web}}
    console.create({**job, "spec": {"backoffLimit": 0, "template": template}})

    event = console.wait_event(firm.web, "refused", "FailedCreate")

    for words in ("PolicyDenied", "bundle 'nobody'", f"policy '{firm.company.home}/nobody'"):
        assert words in event["message"]
    assert not console.items("pods", firm.web, "--selector=job-name=refused")


def test_a_job_controllers_pod_gets_its_bundle(firm: Firm, console: Console, canary: Canary):
    body = firm.job("unused", "unruled")
    template = {"metadata": {key: body["metadata"][key] for key in ("labels", "annotations")}}
    template["spec"] = {**body["spec"], "restartPolicy": "Never"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "granted", "namespace": firm.web}}
    console.create({**job, "spec": {"backoffLimit": 0, "template": template}})
    selector = "--selector=job-name=granted"
    console.cluster.kubectl("wait", "pods", "-n", firm.web, selector, "--for=create", "--timeout=20s")

    (name,) = console.items("pods", firm.web, selector)

    assert console.seen(firm.web, name).visible == {"UNRULED": canary.value("unruled")}


def test_rule_can_grant_an_environment_to_an_account(company: Company, console: Console, canary: Canary):
    web = company.namespace("web", "web")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer", "namespace": web}}
    production = scoped_secret(
        f"{web}/aws", "Environment", environment="production", env={"KEY": canary.value("granted environment")}
    )
    rule = {"name": "deployers", "environments": ["production"], "serviceAccounts": ["deployer"]}
    # A project cannot let its own accounts into an environment: the policy of the home grants.
    console.apply(account, production, secret_policy(f"{web}/grant", "*", effect="Allow", rules=[rule]))
    company.settle(web)
    environment = {"environment": "production"}
    own = console.refusal(pod(f"{web}/own", "aws", annotations=environment, serviceAccountName="deployer"))
    console.apply(secret_policy(f"{company.home}/grant", "*", effect="Allow", rules=[rule]))
    company.settle(web)

    console.create(pod(f"{web}/deploy", "aws", annotations=environment, serviceAccountName="deployer"))
    message = console.refusal(pod(f"{web}/refused", "aws", annotations=environment))

    assert console.seen(web, "deploy").visible == {"KEY": canary.value("granted environment")}
    assert "EnvironmentNotAllowed" in message
    assert "EnvironmentNotAllowed" in own
    assert "in the environment's namespace must grant it to the pod's service account" in " ".join(message.split())


def test_changed_policy_applies_to_the_next_pod(company: Company, console: Console, canary: Canary):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("changed policy")}))
    company.settle(web)
    console.create(pod(f"{web}/before", "aws"))
    console.apply(secret_policy(f"{web}/close", "aws", effect="Deny"))
    company.settle(web)

    message = console.refusal(pod(f"{web}/during", "aws"))
    console.cluster.kubectl("delete", "secretpolicy", "close", "-n", web)
    company.settle(web)
    console.create(pod(f"{web}/after", "aws"))

    assert "PolicyDenied" in message
    expected = {"KEY": canary.value("changed policy")}
    seen = console.delivered(web, "before", "after")
    assert [view["job"].visible for view in seen.values()] == [expected, expected]


def test_status_of_a_policy_follows_definitions_namespaces_and_time(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    """The status counts what the policy governs, and says why the policy has no effect, without other writes."""
    web = company.namespace("web", "web")
    ends = (datetime.now(UTC) + timedelta(seconds=25)).isoformat(timespec="seconds").replace("+00:00", "Z")
    rules = [{"name": "shop", "projects": ["shop"]}, {"name": "soon", "notAfter": ends}]

    warning = console.cluster.kubectl(
        "apply", "-f", "-", input=json.dumps(secret_policy(f"{web}/early", "aws", effect="Allow", rules=rules))
    ).stderr

    def status() -> dict[str, Any]:
        found: dict[str, Any] = console.cluster.get("spol", "early", "-n", web).get("status", {})
        return found

    def reason() -> str:
        conditions = console.conditions({"status": status()})
        assert conditions.get("Accepted", {"status": "True"})["status"] == "True"
        return conditions["Ineffective"]["reason"] if "Ineffective" in conditions else ""

    assert "SelectsNothing: no definition that the policy governs matches" in warning
    wait_until(lambda: reason() == "SelectsNothing", "the policy selects nothing", seconds=SECONDS)
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("early")}))
    wait_until(lambda: status().get("matched") == [f"{web}/aws"], "the definition is counted", seconds=SECONDS)
    assert (status()["matchedCount"], reason()) == (1, "")
    wait_until(lambda: reason() == "NeverAllows", "the last rule that could match has ended", seconds=60)
    version = console.cluster.get("spol", "early", "-n", web)["metadata"]["resourceVersion"]
    company.namespace("shop", "shop")
    # A policy in a namespace of a project is about jobs of this project only.
    console.apply(secret_policy(f"{company.home}/wide", "aws", effect="Allow", rules=rules[:1]))
    wait_until(lambda: "status" in console.cluster.get("spol", "wide", "-n", company.home), "a status", seconds=SECONDS)
    wide = console.cluster.get("spol", "wide", "-n", company.home)
    assert set(console.conditions(wide)) == {"Accepted", "Ready"}
    assert console.cluster.get("spol", "early", "-n", web)["metadata"]["resourceVersion"] == version
    (controller,) = operator.controllers
    assert 'kind="SecretPolicy",reason="NeverAllows",status="True",type="Ineffective"' in controller.metrics()
