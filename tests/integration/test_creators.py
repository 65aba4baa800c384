"""Who created a pod: the API server vouches for it, through workloads and controllers too, and it is not forged."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret, workload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

ALICE, MALLORY = "alice", "mallory"
CONTROLLER = "system:serviceaccount:kube-system:{}-controller"


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """An organization whose project has a bundle, and the project's namespace, which two people administer."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("creators")}))
    company.settle(web)
    for user in (ALICE, MALLORY):
        console.cluster.kubectl("create", "rolebinding", user, "-n", web, "--clusterrole=admin", f"--user={user}")
    return company, web


def act(console: Console, user: str, *command: str, body: Mapping[str, Any]) -> CompletedProcess[str]:
    """Run a command as a user, with an object as its input."""
    return console.cluster.kubectl(*command, "-f", "-", input=json.dumps(body), user=user, check=False)


def created(console: Console, user: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Create an object as a user, and return it as stored."""
    result = act(console, user, "create", "-o", "json", body=body)
    assert result.returncode == 0, result.stderr
    stored: dict[str, Any] = json.loads(result.stdout)
    return stored


def template_of(body: Mapping[str, Any]) -> dict[str, Any]:
    spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def pod_of(owner: Mapping[str, Any], controller: str, console: Console) -> dict[str, Any]:
    """Return a pod of a workload that its controller has created or, of a DaemonSet without nodes, would create."""
    metadata = owner["metadata"]
    if owner["kind"] != "DaemonSet":
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            pods = console.items("pods", metadata["namespace"]).values()
            found[:] = [pod for pod in pods if owners(pod) == {metadata["uid"]}]
            return bool(found)

        wait_until(is_there, f"a pod of {metadata['name']}", seconds=SECONDS)
        return found[0]
    template = copy.deepcopy(template_of(owner))
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    template["metadata"] |= {
        "generateName": f"{metadata['name']}-",
        "namespace": metadata["namespace"],
        "ownerReferences": [{**reference, "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": False}],
    }
    return created(console, CONTROLLER.format(controller), {"apiVersion": "v1", "kind": "Pod", **template})


def owners(body: Mapping[str, Any]) -> set[str]:
    return {reference["uid"] for reference in body["metadata"].get("ownerReferences", ())}


def claims(body: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = json.loads(body["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    return found


def test_the_creator_of_a_bare_pod_is_the_user_who_created_it(firm: tuple[Company, str], console: Console):
    _, web = firm
    forged = {names.CLAIMS_ANNOTATION: json.dumps({"creator": ALICE, "owner": "x"})}
    body = pod(f"{web}/bare", "aws")
    body["metadata"]["annotations"] |= forged

    assert claims(created(console, MALLORY, body)) == {"creator": MALLORY}


@pytest.mark.parametrize(
    ("kind", "controller"),
    [
        ("Job", "job"),
        ("ReplicaSet", "replicaset"),
        ("StatefulSet", "statefulset"),
        ("DaemonSet", "daemon-set"),
        ("ReplicationController", "replication"),
    ],
)
def test_the_creator_of_a_workloads_pod_is_the_user_who_wrote_its_template(
    kind: str, controller: str, firm: tuple[Company, str], console: Console
):
    _, web = firm
    owner = created(console, ALICE, workload(kind, f"{web}/{kind.lower()}"))

    stored = pod_of(owner, controller, console)

    assert claims(stored) == {"creator": ALICE, "owner": owner["metadata"]["uid"]}
    console.seen(web, stored["metadata"]["name"])


@pytest.mark.parametrize(
    ("outer", "outer_controller", "inner", "inner_controller"),
    [("CronJob", "cronjob", "Job", "job"), ("Deployment", "deployment", "ReplicaSet", "replicaset")],
)
def test_a_controller_passes_the_record_on_to_the_workload_that_it_creates(
    outer: str, outer_controller: str, inner: str, inner_controller: str, firm: tuple[Company, str], console: Console
):
    _, web = firm
    owner = created(console, ALICE, workload(outer, f"{web}/{outer.lower()}"))
    body = workload(inner, f"{web}/{outer.lower()}-1")
    body["spec"]["template"] = copy.deepcopy(template_of(owner))
    if inner == "ReplicaSet":
        body["spec"]["selector"] = owner["spec"]["selector"]

    made = created(console, CONTROLLER.format(outer_controller), body)

    assert claims(pod_of(made, inner_controller, console))["creator"] == ALICE


def test_a_user_cannot_bring_another_users_record_into_a_template(firm: tuple[Company, str], console: Console):
    _, web = firm
    alices = created(console, ALICE, workload("Job", f"{web}/alices"))
    body = workload("Job", f"{web}/mallorys")
    annotation = template_of(alices)["metadata"]["annotations"][names.CREATOR_ANNOTATION]
    body["spec"]["template"]["metadata"]["annotations"][names.CREATOR_ANNOTATION] = annotation

    owner = created(console, MALLORY, body)

    assert claims(pod_of(owner, "job", console))["creator"] == MALLORY


def test_a_user_who_changes_the_template_is_its_creator_and_one_who_scales_it_is_not(
    firm: tuple[Company, str], console: Console
):
    _, web = firm
    location = f"{web}/scaled"
    created(console, ALICE, workload("Deployment", location))

    def record() -> str:
        stored = console.cluster.get("deployment", "scaled", "-n", web)
        found: str = template_of(stored)["metadata"]["annotations"][names.CREATOR_ANNOTATION]
        return found

    before = record()
    for patch in ('{"spec":{"replicas":0}}', '{"metadata":{"labels":{"x":"y"}}}'):
        console.cluster.kubectl(
            "patch", "deployment", "scaled", "-n", web, "--type=merge", "-p", patch, user=MALLORY, groups=()
        )
        assert record() == before

    image = json.dumps({"spec": {"template": {"spec": {"containers": [{"name": "job", "image": "another"}]}}}})
    console.cluster.kubectl("patch", "deployment", "scaled", "-n", web, "-p", image, user=MALLORY)
    assert json.loads(record())["creator"] == MALLORY


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_applying_a_workload_again_changes_nothing(flags: tuple[str, ...], firm: tuple[Company, str], console: Console):
    _, web = firm
    name = f"applied-{len(flags)}"
    body = workload("CronJob", f"{web}/{name}")
    act(console, ALICE, "apply", *flags, body=body)
    before = console.cluster.get("cronjob", name, "-n", web)["metadata"]

    again = act(console, ALICE, "apply", *flags, body=body)
    difference = act(console, ALICE, "diff", *flags, body=body)

    after = console.cluster.get("cronjob", name, "-n", web)["metadata"]
    assert again.returncode == 0, again.stderr
    assert (difference.returncode, difference.stdout) == (0, "")
    assert after["generation"] == before["generation"] == 1
    assert after["resourceVersion"] == before["resourceVersion"]


def test_the_writer_of_a_workload_is_warned_of_the_denial_of_its_pods(firm: tuple[Company, str], console: Console):
    _, web = firm

    result = act(console, ALICE, "apply", body=workload("CronJob", f"{web}/warned", "missing"))

    assert result.returncode == 0
    assert "Warning: pods of this CronJob would be denied now: NotFound: bundle 'missing'" in result.stderr
    assert "Warning" not in act(console, ALICE, "apply", body=workload("CronJob", f"{web}/fine")).stderr


def test_a_copy_of_a_pod_with_its_name_as_generate_name_is_denied(firm: tuple[Company, str], console: Console):
    _, web = firm
    victim = created(console, ALICE, pod(f"{web}/victim", "aws"))
    body = copied(victim)
    del body["metadata"]["name"]
    body["metadata"]["generateName"] = "victim"

    result = act(console, ALICE, "create", body=body)

    assert "ReservedName" in result.stderr


def test_a_copy_of_a_jobs_pod_with_a_forged_owner_is_denied(firm: tuple[Company, str], console: Console):
    _, web = firm
    victim = pod_of(created(console, ALICE, workload("Job", f"{web}/forged-owner")), "job", console)
    body = copied(victim)
    del body["metadata"]["name"]

    for user in (ALICE, MALLORY):
        assert "ReservedName" in act(console, user, "create", body=body).stderr


def test_a_copy_of_a_pod_by_another_user_is_denied(firm: tuple[Company, str], console: Console):
    _, web = firm
    victim = created(console, ALICE, pod(f"{web}/taken", "aws"))
    console.seen(web, "taken")
    console.cluster.kubectl("delete", "pod", "taken", "-n", web, "--grace-period=0", "--force")

    assert "ReservedName" in act(console, MALLORY, "create", body=copied(victim)).stderr


def copied(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored pod as a person submits it again, with everything that was injected."""
    copy_of = copy.deepcopy(dict(body))
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        copy_of["metadata"].pop(field, None)
    copy_of.pop("status", None)
    return copy_of
