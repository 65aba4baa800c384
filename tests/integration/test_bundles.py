"""A bundle Secret belongs to one pod and does not outlive the pod's need of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.integration.console import named_secrets, pod, scoped_secret

if TYPE_CHECKING:
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def web(found: Founder, console: Console, canary: Canary) -> str:
    """A project's namespace with one definition."""
    company = found()
    namespace = company.namespace("web", "web")
    console.apply(scoped_secret(f"{namespace}/aws", env={"KEY": canary.value("bundles")}))
    company.settle(namespace)
    return namespace


def injected(console: Console, web: str, name: str) -> tuple[dict[str, Any], str]:
    """Create a pod, and return it and the name of its bundle, which is there."""
    console.create(pod(f"{web}/{name}", "aws"))
    console.seen(web, name)
    stored = console.cluster.get("pod", name, "-n", web)
    (bundle,) = named_secrets(stored)
    return stored, bundle


def test_a_bundle_is_immutable_owned_by_its_pod_and_labelled(web: str, console: Console):
    stored, bundle = injected(console, web, "owned")

    secret = console.cluster.get("secret", bundle, "-n", web)

    assert secret["immutable"] is True
    assert secret["type"] == "Opaque"
    assert secret["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "owned",
            "uid": stored["metadata"]["uid"],
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]
    assert secret["metadata"]["labels"] == {
        names.MANAGED_BY_LABEL: names.DISTRIBUTION,
        names.POD_UID_LABEL: stored["metadata"]["uid"],
    }
    assert "annotations" not in secret["metadata"]
    assert secret["data"].keys() == {"aws.KEY", names.RESOLUTION_FILE}
    patch = json.dumps({"data": {"aws.KEY": ""}})
    result = console.cluster.kubectl("patch", "secret", bundle, "-n", web, "-p", patch, check=False)
    assert "field is immutable when `immutable` is set" in result.stderr


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pod_loses_its_bundle_and_stays_unchanged(phase: str, web: str, console: Console):
    name = f"job-{phase.lower()}"
    _, bundle = injected(console, web, name)
    console.set_phase(web, name, "Running", started=True)

    console.set_phase(web, name, phase)

    console.wait_gone("secrets", web, bundle)
    assert console.cluster.get("pod", name, "-n", web)["status"]["phase"] == phase


def test_a_deleted_pod_takes_its_bundle_with_it(web: str, console: Console):
    """Complaint 22: no Secret of a job is left over."""
    _, bundle = injected(console, web, "deleted")
    _, other = injected(console, web, "stays")

    console.cluster.kubectl("delete", "pod", "deleted", "-n", web, "--grace-period=0", "--force")

    console.wait_gone("secrets", web, bundle)
    assert console.exists("secret", web, other)


def test_a_running_pod_keeps_its_bundle_when_its_definition_goes(found: Founder, console: Console, canary: Canary):
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("kept")}))
    company.settle(web)
    _, bundle = injected(console, web, "running")
    console.set_phase(web, "running", "Running", started=True)
    before = console.cluster.get("secret", bundle, "-n", web)

    console.cluster.kubectl("delete", "ssec", "aws", "-n", web)
    company.settle(web)

    assert "NotFound" in console.refusal(pod(f"{web}/next", "aws"))
    assert console.cluster.get("secret", bundle, "-n", web) == before


def test_a_changed_value_reaches_the_next_pod_and_not_the_present_one(found: Founder, console: Console, canary: Canary):
    """Complaint 20: a job is a snapshot; the next one gets the new value."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("first value")}))
    company.settle(web)
    injected(console, web, "present")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("second value")}))
    company.settle(web)
    injected(console, web, "next")

    views = console.delivered(web, "present", "next")

    assert views["present"]["job"].env["KEY"] == canary.value("first value")
    assert views["next"]["job"].env["KEY"] == canary.value("second value")


def test_all_pods_get_their_bundles_after_a_quota_is_raised(found: Founder, console: Console, canary: Canary):
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("quota")}))
    company.settle(web)
    hard = {"count/secrets": "0"}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": web},
        "spec": {"hard": hard},
    }
    console.apply(quota)
    pods = [f"waits-{number}" for number in range(4)]
    for name in pods:
        console.create(pod(f"{web}/{name}", "aws"))
        assert "quota" in console.wait_event(web, name, Reason.BUNDLE_FAILED)["message"]

    console.cluster.kubectl("delete", "resourcequota", "q", "-n", web)

    views = console.delivered(web, *pods)
    assert {name: seen["job"].env["KEY"] for name, seen in views.items()} == dict.fromkeys(pods, canary.value("quota"))


def test_pod_with_another_value_of_the_label_gets_an_event_and_no_bundle(web: str, console: Console):
    body = pod(f"{web}/mislabeled", "aws")
    body["metadata"]["labels"][names.INJECT_LABEL] = "True"
    console.create(body)

    assert "write 'true'" in console.wait_event(web, "mislabeled", Reason.NOT_INJECTED)["message"]
    assert not named_secrets(console.cluster.get("pod", "mislabeled", "-n", web))


def test_container_that_cannot_start_gets_an_event_that_repeats_nothing(web: str, console: Console):
    injected(console, web, "stuck")
    state = {"waiting": {"reason": "RunContainerError", "message": 'exec: "what-the-kubelet-says": not found'}}
    fields = {"name": "job", "ready": False, "restartCount": 0, "image": "x", "imageID": ""}
    patch = json.dumps({"status": {"containerStatuses": [{"state": state, **fields}]}})
    console.cluster.kubectl("patch", "pod", "stuck", "-n", web, "--subresource=status", "--type=merge", "-p", patch)

    message = console.wait_event(web, "stuck", Reason.CONTAINER_NOT_STARTED)["message"]

    assert "the variables 'KEY'" in message
    assert "what-the-kubelet-says" not in message


def test_two_unicode_forms_of_a_path_are_two_files_with_values_of_their_own(
    found: Founder, console: Console, canary: Canary
):
    company = found()
    namespace = company.namespace("web", "web")
    composed, decomposed = "/data/caf\u00e9", "/data/cafe\u0301"
    files = {composed: canary.value("composed"), decomposed: canary.value("decomposed")}
    console.apply(scoped_secret(f"{namespace}/forms", files=files))
    stored = console.cluster.get("ssec", "forms", "-n", namespace)
    company.settle(namespace)

    console.create(pod(f"{namespace}/job", "forms"))

    assert [file["path"] for file in stored["spec"]["files"]] == [composed, decomposed]
    seen = console.seen(namespace, "job").files
    assert {path: seen[path] for path in files} == files
