"""A pod that opted in is injected or is not created, whatever becomes of the mutating webhook."""

from __future__ import annotations

import copy
import json
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, resubmitted, scoped_secret, secret_policy
from tests.support.builders import container
from tests.support.installed import INJECTED_POLICY, InstalledOperator
from tests.support.mutating_webhook import MutatingWebhook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.mutating_webhook import Change

pytestmark = pytest.mark.integration

LABEL = f"/metadata/labels/{names.INJECT_LABEL.replace('/', '~1')}"
CONFIGURATION = "mutatingwebhookconfiguration"
DENIED = f"ValidatingAdmissionPolicy '{INJECTED_POLICY}'"


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """An organization whose project has a bundle, and the project's namespace."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("required")}))
    company.settle(web)
    return company, web


@pytest.fixture
def web(firm: tuple[Company, str], operator: InstalledOperator) -> str:
    """The project's namespace, while the operator runs."""
    return firm[1]


def shown(console: Console, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod as a dry run injects it, in the form in which it can be created again."""
    command = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    found: dict[str, Any] = json.loads(console.cluster.kubectl(*command, input=json.dumps(body)).stdout)
    del found["metadata"]["uid"], found["metadata"]["creationTimestamp"], found["status"]
    found["metadata"].pop("managedFields", None)
    return found


def test_without_the_mutating_configuration_no_pod_that_opted_in_is_created(
    web: str, console: Console, operator: InstalledOperator
):
    plain = pod(f"{web}/plain", "aws")
    forged = shown(console, pod(f"{web}/forged", "aws"))
    generated = copy.deepcopy(plain)
    del generated["metadata"]["name"]
    generated["metadata"]["generateName"] = "plain-"
    without = pod(f"{web}/without")
    del without["metadata"]["labels"]

    with operator.webhooks_off(CONFIGURATION):
        refusals = [console.refusal(body) for body in (plain, forged, generated)]
        dry = console.refusal(plain, command=("create", "--dry-run=server"))
        console.create(without)

    for refusal in (*refusals, dry):
        assert DENIED in refusal, refusal


@pytest.fixture
def configuration(console: Console) -> Iterator[dict[str, Any]]:
    """The mutating configuration, which is given back as it was."""
    before = console.cluster.get(CONFIGURATION, names.WEBHOOK_CONFIGURATION)
    del before["metadata"]["resourceVersion"]
    yield copy.deepcopy(before)
    console.cluster.kubectl("replace", "-f", "-", input=json.dumps(before))


def replace(console: Console, body: Mapping[str, Any]) -> None:
    console.cluster.kubectl("replace", "-f", "-", input=json.dumps(body))


def test_a_namespace_that_the_mutating_configuration_exempts_gets_no_pod_that_opted_in(
    web: str, console: Console, operator: InstalledOperator, configuration: dict[str, Any]
):
    for webhook in configuration["webhooks"]:
        if webhook["name"] == "pods.mutate.scopedsecrets.dev":
            (expression,) = webhook["namespaceSelector"]["matchExpressions"]
            expression["values"].append(web)
    replace(console, configuration)
    wait_until(lambda: console.is_refused(pod(f"{web}/exempt", "aws"), DENIED), "the exemption", seconds=SECONDS)

    refusal = console.refusal(pod(f"{web}/exempt", "aws"))

    assert DENIED in refusal
    assert "NotInjected: the pod has the label" in refusal
    assert f"MutatingWebhookConfiguration '{names.WEBHOOK_CONFIGURATION}'" in refusal
    assert '"scoped-secrets doctor"' in refusal


def test_without_the_webhook_of_pods_a_forged_injection_is_denied_too(
    web: str, console: Console, operator: InstalledOperator, configuration: dict[str, Any]
):
    forged = shown(console, pod(f"{web}/forged", "aws"))
    kept = [each for each in configuration["webhooks"] if each["name"] != "pods.mutate.scopedsecrets.dev"]
    replace(console, configuration | {"webhooks": kept})
    wait_until(lambda: console.is_refused(forged, DENIED), "the webhook is gone", seconds=SECONDS)

    refusal = console.refusal(forged)

    assert "has no webhook pods.mutate.scopedsecrets.dev" in refusal
    assert '"scoped-secrets doctor"' in refusal


def test_a_webhook_that_fails_open_lets_no_pod_that_opted_in_pass(
    web: str, console: Console, operator: InstalledOperator, configuration: dict[str, Any]
):
    for webhook in configuration["webhooks"]:
        webhook["failurePolicy"] = "Ignore"
    replace(console, configuration)
    operator.stop()
    wait_until(lambda: console.is_refused(pod(f"{web}/open", "aws"), DENIED), "the webhook fails open", seconds=SECONDS)

    refusal = console.refusal(pod(f"{web}/open", "aws"))

    assert "NotInjected: the pod has the label" in refusal
    assert '"scoped-secrets doctor"' in refusal
    operator.start()


def test_a_value_of_the_label_that_does_not_opt_in_is_not_denied(web: str, console: Console, operator: Any):
    body = pod(f"{web}/other")
    body["metadata"]["labels"] = {names.INJECT_LABEL: "True"}

    console.create(body)

    assert console.exists("pod", web, "other")


def test_injected_pods_of_every_shape_pass(web: str, console: Console, canary: Canary, operator: InstalledOperator):
    bodies = [
        pod(f"{web}/shaped", "aws"),
        pod(f"{web}/nothing", ""),
        pod(f"{web}/optional", "gone?"),
        pod(f"{web}/windows", "aws", os={"name": "windows"}),
        pod(f"{web}/own-volumes", "aws", volumes=[{"name": "own", "emptyDir": {}}], containers=[container()]),
    ]

    console.create(*bodies)

    assert console.seen(web, "shaped").visible == {"KEY": canary.value("required")}


# Another webhook that is called after ours, and after ours has been called again


class Rival(Protocol):
    """Installs the webhook of another product."""

    def __call__(self, namespace: str, change: Change) -> MutatingWebhook:
        """Install it for a namespace, and wait until it is called."""
        ...


@pytest.fixture
def rival(console: Console, tmp_path: Path) -> Iterator[Rival]:
    """Another product, which is removed at the end."""
    with ExitStack() as stack:

        def install(namespace: str, change: Change) -> MutatingWebhook:
            webhook = stack.enter_context(MutatingWebhook(change, tmp_path))
            stack.callback(console.cluster.kubectl, "delete", CONFIGURATION, webhook.NAME)
            console.apply(webhook.configuration(namespace))

            def is_called() -> bool:
                console.cluster.refusal(pod(f"{namespace}/probe"))
                return webhook.calls > 0

            wait_until(is_called, "the other webhook is called", seconds=SECONDS)
            return webhook

        yield install


def test_a_pod_that_another_webhook_labels_after_ours_is_denied(web: str, console: Console, rival: Rival):
    def label(body: dict[str, Any]) -> list[dict[str, Any]]:
        has_label = names.INJECT_LABEL in body["metadata"].get("labels", {})
        return [] if has_label else [{"op": "add", "path": LABEL, "value": names.INJECT_VALUE}]

    rival(web, label)
    body = pod(f"{web}/labelled", "aws")
    body["metadata"]["labels"] = {"app": "job"}

    refusal = console.refusal(body)

    assert DENIED in refusal
    assert "is called after webhooks that add the label" in refusal


def test_a_copied_injection_that_another_webhook_labels_after_ours_is_denied(
    web: str, console: Console, operator: InstalledOperator, rival: Rival
):
    def label(body: dict[str, Any]) -> list[dict[str, Any]]:
        has_label = names.INJECT_LABEL in body["metadata"].get("labels", {})
        return [] if has_label else [{"op": "add", "path": LABEL, "value": names.INJECT_VALUE}]

    console.create(pod(f"{web}/victim", "aws"))
    console.seen(web, "victim")
    copied = resubmitted(console.cluster.get("pod", "victim", "-n", web), "thief")
    copied["metadata"]["labels"] = {"app": "job"}
    rival(web, label)

    refusal = console.refusal(copied)

    assert 'admission webhook "copies.mutate.scopedsecrets.dev" denied the request: ReservedName' in refusal
    assert not console.exists("pod", web, "thief")


def set_account(body: dict[str, Any]) -> list[dict[str, Any]]:
    is_set = body["spec"].get("serviceAccountName") == "other"
    return [] if is_set else [{"op": "add", "path": "/spec/serviceAccountName", "value": "other"}]


def set_label(body: dict[str, Any]) -> list[dict[str, Any]]:
    is_set = body["metadata"]["labels"].get("team") == "other"
    return [] if is_set else [{"op": "add", "path": "/metadata/labels/team", "value": "other"}]


def remove_environment(body: dict[str, Any]) -> list[dict[str, Any]]:
    has_any = "env" in body["spec"]["containers"][0]
    return [{"op": "remove", "path": "/spec/containers/0/env"}] if has_any else []


def move_mount(body: dict[str, Any]) -> list[dict[str, Any]]:
    mounts = body["spec"]["containers"][0].get("volumeMounts", [])
    places = (index for index, mount in enumerate(mounts) if mount["mountPath"] == names.MOUNT_PATH)
    return [
        {"op": "replace", "path": f"/spec/containers/0/volumeMounts/{place}/mountPath", "value": "/elsewhere"}
        for place in places
    ]


def set_references(body: dict[str, Any]) -> list[dict[str, Any]]:
    annotation = f"/metadata/annotations/{names.SECRETS_ANNOTATION.replace('/', '~1')}"
    is_set = body["metadata"]["annotations"][names.SECRETS_ANNOTATION] == "denied"
    return [] if is_set or not is_injected(body) else [{"op": "replace", "path": annotation, "value": "denied"}]


def set_claims(body: dict[str, Any]) -> list[dict[str, Any]]:
    wanted = '{"creator":"system:admin-of-all"}'
    annotation = f"/metadata/annotations/{names.CLAIMS_ANNOTATION.replace('/', '~1')}"
    is_set = body["metadata"]["annotations"].get(names.CLAIMS_ANNOTATION) in (None, wanted)
    return [] if is_set else [{"op": "replace", "path": annotation, "value": wanted}]


def is_injected(body: Mapping[str, Any]) -> bool:
    return any(volume["name"] == names.VOLUME_NAME for volume in body["spec"].get("volumes", ()))


def with_the_last_word(change: Change) -> Change:
    """Return a change that is made after the operator's webhook has been called for the last time.

    The first call removes a part of the injection. The operator's webhook is called again and repairs it, so that this
    one is called again too, and the operator's is not.
    """
    calls: Counter[str] = Counter()

    def change_late(body: dict[str, Any]) -> list[dict[str, Any]]:
        name = body["metadata"]["name"]
        calls[name] += 1
        if name != "contested":
            return []
        return remove_environment(body) if calls[name] == 1 else change(body)

    return change_late


@pytest.fixture
def contested(company: Company, console: Console, canary: Canary) -> str:
    """A namespace with a bundle for one account and one label, and another for no job."""
    web = company.namespace("web", "web")
    console.cluster.kubectl("create", "serviceaccount", "other", "-n", web)
    rules = [{"name": "own", "serviceAccounts": ["default"], "podSelector": {"matchLabels": {"team": "web"}}}]
    console.apply(
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("contested")}),
        scoped_secret(f"{web}/denied", env={"KEY": canary.value("denied to all")}),
        secret_policy(f"{web}/own", "aws", effect="Allow", rules=rules),
        secret_policy(f"{web}/nobody", "denied", effect="Deny"),
    )
    company.settle(web)
    return web


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(set_account, "PolicyDenied: ", id="account"),
        pytest.param(set_label, "PolicyDenied: ", id="label"),
        pytest.param(set_references, "PolicyDenied: ", id="references"),
    ],
)
def test_a_pod_that_another_webhook_changes_once_is_decided_again_before_it_is_stored(
    contested: str, console: Console, rival: Rival, change: Change, words: str
):
    rival(contested, lambda body: change(body) if body["metadata"]["name"] == "contested" else [])

    refusal = console.refusal(pod(f"{contested}/contested", "aws", labels={"team": "web"}))

    assert f'admission webhook "pods.mutate.scopedsecrets.dev" denied the request: {words}' in refusal


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        pytest.param(set_account, "PolicyDenied", "`serviceAccounts` does not match", id="account"),
        pytest.param(set_label, "PolicyDenied", "`podSelector` does not match", id="label"),
        pytest.param(remove_environment, "NotInjected", "incomplete at /spec/containers/0/env", id="environment"),
        pytest.param(move_mount, "DefinitionsChanged", "stop other webhooks", id="mount"),
        pytest.param(set_references, "PolicyDenied", "denied", id="references"),
        pytest.param(set_claims, "NotInjected", "was not made for this pod", id="claims"),
    ],
)
def test_a_pod_that_another_webhook_keeps_changing_gets_no_bundle_that_it_may_not_have(
    contested: str, console: Console, rival: Rival, change: Change, reason: str, words: str
):
    web = contested
    rival(web, with_the_last_word(change))

    console.create(pod(f"{web}/contested", "aws", labels={"team": "web"}))

    event = console.wait_event(web, "contested", reason)
    assert event["type"] == "Warning"
    assert words in event["message"]
    assert not console.bundles(web)
    assert not change(console.cluster.get("pod", "contested", "-n", web)), "the other webhook had the last word"
