"""Where definitions may stand: refused at admission, and never used when they were stored without admission."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# Stored with the webhooks off, such a value stays readable: it must not be one of the canary's.
READABLE = {"value": "not a secret", "sensitive": False}


def test_a_definition_in_a_foreign_path_is_refused_with_the_remedy(company: Company, console: Console):
    web = company.namespace("web", "web")
    production = company.namespace("web-production", "web", "production")
    home, outside = company.home, company.outside()
    environment: dict[str, Any] = {"scope": "Environment", "environment": "staging"}
    # Admission knows the namespaces as soon as it knows something that stands in the last one.
    console.apply(scoped_secret(f"{production}/known", "Environment", environment="production", env={"A": READABLE}))
    wrong = {
        "`spec.scope` Organization is only for the home": scoped_secret(f"{web}/aws", "Organization"),
        "`spec.project` must be 'web'": scoped_secret(f"{web}/aws", project="api"),
        "may only define `spec.scope` Environment with `spec.environment` 'production'": scoped_secret(
            f"{production}/aws", **environment
        ),
        "this namespace may only define": scoped_secret(f"{production}/aws"),
        "`spec.project` must name the project": scoped_secret(f"{home}/aws"),
        "the namespace has no scope path; an administrator must label it": scoped_secret(f"{outside}/aws"),
    }

    for sentence, body in wrong.items():
        message = console.refusal(body)
        assert sentence in message
    assert not console.items("ssec", web)
    assert not console.items("ssec", outside)


def test_a_policy_outside_every_scope_path_is_refused(company: Company, console: Console):
    outside = company.outside()

    message = console.refusal(secret_policy(f"{outside}/policy", "aws"))

    assert "NamespaceOutside: the namespace has no scope path, so the policy would govern nothing" in message


def test_a_taken_slot_is_refused_and_its_holder_named(company: Company, console: Console, canary: Canary):
    web, other = company.namespace("web", "web"), company.namespace("web-two", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("holder")}))
    company.settle(other)

    same = console.refusal(scoped_secret(f"{web}/second", secretName="aws", env={"KEY": READABLE}))
    elsewhere = console.refusal(scoped_secret(f"{other}/aws", env={"KEY": READABLE}))

    for message in (same, elsewhere):
        assert f"SlotTaken: '{web}/aws' has the same organization" in message
        assert "choose another `spec.secretName`" in message
    console.create(pod(f"{other}/job", "aws"))
    assert console.seen(other, "job").visible == {"KEY": canary.value("holder")}
    # The home is trusted more than the project, and takes the slot.
    console.apply(scoped_secret(f"{company.home}/aws", project="web", env={"KEY": READABLE}))
    assert f"'{company.home}/aws'" in console.wait_condition(web, "aws", "Conflicted", "True")["message"]


def test_foreign_definition_stored_without_admission_is_unusable(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web, api = company.namespace("web", "web"), company.namespace("api", "api")
    console.apply(scoped_secret(f"{company.home}/aws", "Organization", env={"KEY": canary.value("rightful")}))
    with operator.webhooks_off():
        console.apply(
            # It would be narrower for project web, and everybody's in the organization.
            scoped_secret(f"{api}/aws", project="web", env={"KEY": READABLE}),
            scoped_secret(f"{api}/everybody", "Organization", attach="Always", env={"STOLEN": READABLE}),
            secret_policy(f"{api}/everybody", "aws", effect="Deny"),
        )
    company.settle(web)

    console.create(pod(f"{web}/job", "aws"))
    message = console.refusal(pod(f"{web}/refused", "everybody"))

    assert console.seen(web, "job").visible == {"KEY": canary.value("rightful")}
    assert "NotFound: bundle 'everybody' has no definition" in message
    foreign = console.wait_condition(api, "aws", "Ready", "False")
    assert foreign["reason"] == "ScopeNotAllowed"
    assert "`spec.project` must be 'api'" in foreign["message"]
    assert console.wait_condition(api, "everybody", "Ready", "False")["reason"] == "ScopeNotAllowed"


def test_older_definition_of_a_slot_wins(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/zebra", secretName="aws", env={"KEY": canary.value("older")}))
    born = console.cluster.get("ssec", "zebra", "-n", web)["metadata"]["creationTimestamp"]
    # Times of creation have whole seconds, and within one second the name decides.
    wait_until(lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > born, "the next second begins", seconds=5)
    with operator.webhooks_off():
        console.apply(scoped_secret(f"{web}/antelope", secretName="aws", env={"KEY": READABLE}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))

    loser = console.wait_condition(web, "antelope", "Conflicted", "True")

    assert loser["reason"] == "SlotTaken"
    assert f"'{web}/zebra' is older" in loser["message"]
    assert console.wait_condition(web, "antelope", "Ready", "False")["reason"] == "SlotTaken"
    assert console.wait_condition(web, "zebra", "Conflicted", "False")["reason"] == "Unique"
    assert console.seen(web, "job").visible == {"KEY": canary.value("older")}

    console.cluster.kubectl("delete", "ssec", "zebra", "-n", web)

    assert console.wait_condition(web, "antelope", "Ready", "True")["reason"] == "Available"
    company.settle(web)
    console.create(pod(f"{web}/next", "aws"))
    assert console.seen(web, "next").visible == {"KEY": READABLE["value"]}


def test_a_value_stored_without_admission_is_not_used_until_it_is_sealed(
    company: Company, console: Console, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    definition = scoped_secret(f"{web}/aws", env={"KEY": "readable by a mistake"})
    with operator.webhooks_off():
        console.apply(definition)
    condition = console.wait_condition(web, "aws", "Ready", "False")
    company.settle(web)

    message = console.refusal(pod(f"{web}/refused", "aws"))

    assert condition["reason"] == "PlaintextRefused"
    assert "`kubectl replace -f`" in condition["message"]
    assert "NotReady: bundle 'aws'" in message

    console.write("replace", bodies=[definition])

    console.wait_condition(web, "aws", "Ready", "True")
    assert "readable by a mistake" not in console.cluster.kubectl("get", "ssec", "aws", "-n", web, "-o", "yaml").stdout
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    assert console.seen(web, "job").visible == {"KEY": "readable by a mistake"}


def test_namespace_without_labels_removes_its_definitions(company: Company, console: Console, canary: Canary):
    web = company.namespace("web", "web")
    console.apply(
        scoped_secret(f"{company.home}/aws", "Organization", env={"KEY": canary.value("wide")}),
        scoped_secret(f"{company.home}/web", project="web", env={"OTHER": canary.value("of home")}),
    )
    second = company.namespace("web-two", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("narrow")}))
    company.settle(second)
    console.create(pod(f"{second}/before", "aws, web"))

    console.cluster.kubectl("label", "namespace", web, "scopedsecrets.dev/organization-", "scopedsecrets.dev/project-")

    assert console.wait_condition(web, "aws", "Ready", "False")["reason"] == "NamespaceOutside"
    outside = pod(f"{web}/outside", "aws")
    wait_until(lambda: console.is_refused(outside, "NamespaceOutside"), "admission knows the labels", seconds=SECONDS)
    console.create(pod(f"{second}/after", "aws, web"))
    views = console.delivered(second, "before", "after")
    other = {"OTHER": canary.value("of home")}
    assert views["before"]["job"].visible == {"KEY": canary.value("narrow")} | other
    assert views["after"]["job"].visible == {"KEY": canary.value("wide")} | other
    # What nobody can use cannot be sealed anew either, and another test reseals everything.
    console.cluster.kubectl("delete", "scopedsecret", "aws", "-n", web)


def test_pod_that_waits_gets_its_bundle_at_once_when_its_namespace_has_its_scope_again(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("waiting")}),
        secret_policy(f"{web}/aws", "aws", effect="Allow", rules=[{"name": "everybody"}]),
    )
    company.settle(web)
    operator.stop_controllers()
    console.create(pod(f"{web}/job", "aws"))
    labels = console.cluster.get("namespace", web)["metadata"]["labels"]
    scope = {name: value for name, value in labels.items() if name.startswith(f"{names.GROUP}/")}
    console.cluster.kubectl("label", "namespace", web, *(f"{name}-" for name in scope))
    operator.start()
    console.wait_event(web, "job", "NamespaceOutside")
    assert console.wait_condition(web, "aws", "Ready", "False")["reason"] == "NamespaceOutside"
    policy = console.conditions(console.cluster.get("spol", "aws", "-n", web))
    assert policy["Ready"]["reason"] == "NamespaceOutside"

    console.cluster.kubectl("label", "namespace", web, *(f"{name}={value}" for name, value in scope.items()))

    # A denied pod is looked at every 30 seconds; this comes before.
    secrets = named_secrets(console.cluster.get("pod", "job", "-n", web))
    wait_until(lambda: secrets <= console.bundles(web).keys(), "the bundle exists", seconds=10)
    assert console.wait_condition(web, "aws", "Ready", "True")["reason"] == "Available"
