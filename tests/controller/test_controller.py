"""The real controller with its real roles against a real API server; the tests act as the kubelet."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.controller.lab import part_names, scoped_secret
from tests.support.fault_proxy import Cut, Fault, FaultProxy

from scoped_secrets import names
from scoped_secrets.controller.pod_decision import INFORMER_LAG_SECONDS
from scoped_secrets.crypto.keys import KeyRing

pytestmark = pytest.mark.integration

CANARY = secrets.token_hex(16)


@pytest.fixture
def organization():
    return f"acme-{secrets.token_hex(4)}"


@pytest.fixture
def web(lab, organization):
    """A project's namespace with one bundle, ``registry``."""
    namespace = lab.namespace(organization, "web")
    lab.apply(scoped_secret(namespace, "registry", env={"TOKEN": "one"}))
    return namespace


def sealed_bundle(lab, namespace, name="sealed", ring=None):
    """Create a definition with a value that only the controller can unseal."""
    lab.apply(scoped_secret(namespace, name))
    text = lab.sealed(CANARY.encode(), namespace, name, "PASSWORD", ring=ring)
    lab.apply(scoped_secret(namespace, name, env=[{"name": "PASSWORD", "sealed": text}]))


def test_injected_pod_gets_its_bundle(lab, web):
    sealed_bundle(lab, web)
    pod = lab.admit(web, "registry, sealed")
    lab.create(pod)

    assert lab.content(pod) == {"registry.TOKEN": b"one", "sealed.PASSWORD": CANARY.encode()}
    bundle = lab.bundle(pod)
    (owner,) = bundle["metadata"]["ownerReferences"]
    assert bundle["immutable"] is True
    assert owner["uid"] == lab.get("pod", web, pod["metadata"]["name"])["metadata"]["uid"]
    assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("Pod", False, False)


def test_bundle_larger_than_one_secret_gets_all_parts(lab, web):
    for number in range(4):
        content = [{"path": f"/data/{number}", "content": "x" * 500_000, "sensitive": False}]
        lab.apply(scoped_secret(web, f"large-{number}", files=content))
    pod = lab.admit(web, "large-0, large-1, large-2, large-3")
    lab.create(pod)

    lab.content(pod)
    assert len(part_names(pod)) > 1
    assert all(lab.get("secret", web, part) is not None for part in part_names(pod))


@pytest.fixture
def account(lab, web):
    """A bundle of two files from one native Secret, each of which may be large: they are in two bundle Secrets."""
    # A role for this namespace only: the admission process detects a role for all namespaces.
    lab.plane.kubectl("create", "role", "reader", "-n", web, "--verb=get", "--resource=secrets")
    account = f"{names.DEFAULT_NAMESPACE}:{names.CONTROLLER_ACCOUNT}"
    lab.plane.kubectl("create", "rolebinding", "reader", "-n", web, "--role=reader", f"--serviceaccount={account}")
    lab.plane.kubectl(
        "create", "secret", "generic", "account", "-n", web, "--from-literal=user=u", "--from-literal=key=k"
    )
    references = {key: {"secretKeyRef": {"name": "account", "key": key}} for key in ("user", "key")}
    files = [{"path": f"/data/{key}", "valueFrom": reference} for key, reference in references.items()]
    lab.apply(scoped_secret(web, "account", files=files))
    lab.wait(lambda: lab.status("scopedsecret", web, "account").get("Ready") == ("True", "Available"), "the sources")


def create_leftovers(lab, pod, *parts):
    """Create Secrets as a controller leaves them that ends in the middle of a bundle."""
    for part in parts:
        lab.plane.kubectl("create", "secret", "generic", part, "-n", pod["metadata"]["namespace"], "--from-literal=a=b")


@pytest.mark.usefixtures("account")
def test_bundle_from_native_secrets_is_made_from_one_read(lab, web):
    pod = lab.admit(web, "account")
    first, second = part_names(pod)
    lab.controller.program.stop()
    create_leftovers(lab, pod, second)
    lab.create(pod)
    lab.ensure_running()

    lab.wait(lambda: "BundleFailed" in lab.events(web, pod["metadata"]["name"]), "the event")
    (message,) = lab.messages(web, pod["metadata"]["name"])
    assert "were read twice" in message
    assert "delete the pod and create it again" in message
    assert lab.get("secret", web, first) is None

    whole = lab.admit(web, "account")
    lab.create(whole)
    assert len(lab.content(whole)) == 1


@pytest.mark.usefixtures("account")
def test_complete_bundle_from_native_secrets_is_left_unchanged(lab, web):
    pod, next_pod = lab.admit(web, "account"), lab.admit(web, "account")
    lab.controller.program.stop()
    create_leftovers(lab, pod, *part_names(pod))
    lab.create(pod)
    lab.create(next_pod)
    lab.ensure_running()

    lab.content(next_pod)
    lab.plane.kubectl("delete", "secret", "account", "-n", web)
    last = lab.admit(web, "account")
    lab.create(last)
    lab.wait(lambda: "SourceMissing" in lab.events(web, last["metadata"]["name"]), "the event of the last one")

    assert lab.events(web, pod["metadata"]["name"]) == set()


def test_deleted_bundle_is_created_again_while_the_pod_waits(lab, web):
    pod = lab.admit(web, "registry")
    lab.create(pod)
    before = lab.content(pod)

    lab.plane.kubectl("delete", "secret", part_names(pod)[0], "-n", web)

    assert lab.content(pod) == before


def gate(pod, *others):
    """Give a pod the gate that admission adds, behind other gates."""
    pod["spec"]["schedulingGates"] = [{"name": name} for name in (*others, names.BUNDLE_GATE)]
    return pod


def gates(lab, pod):
    """Return the scheduling gates of a stored pod."""
    stored = lab.get("pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
    return [each["name"] for each in stored["spec"].get("schedulingGates", ())]


@pytest.mark.parametrize("others", [(), ("kueue.x-k8s.io/admission",)], ids=["alone", "beside another"])
def test_the_gate_goes_once_the_bundle_exists_and_gates_of_others_stay(lab, web, others):
    pod = gate(lab.admit(web, "registry"), *others)
    lab.create(pod)

    lab.wait(lambda: gates(lab, pod) == list(others), "the removal of the gate")

    assert lab.bundle(pod) is not None


def test_a_pod_without_a_bundle_stays_gated(lab, web):
    pod = gate(lab.admit(web, "registry"))
    policy = {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": "nobody", "namespace": web},
        "spec": {"secrets": {"names": ["registry"]}, "effect": "Deny"},
    }
    lab.apply(policy)
    lab.wait(lambda: "Ready" in lab.status("secretpolicy", web, "nobody"), "the policy seen")
    lab.create(pod)

    lab.wait(lambda: "PolicyDenied" in lab.events(web, pod["metadata"]["name"]), "the event")
    assert gates(lab, pod) == [names.BUNDLE_GATE]

    lab.plane.kubectl("delete", "secretpolicy", "nobody", "-n", web)
    lab.wait(lambda: gates(lab, pod) == [], "the removal of the gate", seconds=60)


def test_a_gated_pod_gets_its_bundle_and_loses_its_gate_after_a_restart(lab, web):
    lab.controller.program.stop()
    waiting, planted = gate(lab.admit(web, "registry")), gate(lab.admit(web, "registry"))
    # Whatever stands there: no kubelet has read it, so that it can be replaced.
    uid = plant(lab, planted)
    lab.create(waiting, planted)
    lab.ensure_running()

    for pod in (waiting, planted):
        lab.wait(lambda pod=pod: gates(lab, pod) == [], "the removal of the gate")
        assert lab.content(pod) == {"registry.TOKEN": b"one"}
    assert lab.bundle(planted)["metadata"]["uid"] != uid


def plant(lab, pod):
    """Create a Secret with the name of a pod's bundle, as a user may where the guard is off; return its UID."""
    name, namespace = part_names(pod)[0], pod["metadata"]["namespace"]
    lab.plane.kubectl("create", "secret", "generic", name, "-n", namespace, "--from-literal=registry.TOKEN=planted")
    return lab.bundle(pod)["metadata"]["uid"]


def wait_for_leadership_of_its_own(lab, web):
    """Wait until no former leader can have created the bundle of a new pod."""
    began = time.monotonic()
    lab.wait(lambda: time.monotonic() - began > INFORMER_LAG_SECONDS, "the end of the time of a former leader")


def test_a_secret_that_was_planted_before_the_bundle_is_replaced_and_reported(lab, web):
    wait_for_leadership_of_its_own(lab, web)
    pod = lab.admit(web, "registry")
    planted = plant(lab, pod)
    lab.create(pod)

    lab.wait(lambda: "BundleReplaced" in lab.events(web, pod["metadata"]["name"]), "the event")
    assert lab.content(pod) == {"registry.TOKEN": b"one"}
    assert lab.bundle(pod)["metadata"]["uid"] != planted


def test_a_secret_that_was_planted_in_the_place_of_a_deleted_bundle_is_not_deleted_as_ours(lab, web):
    pod = lab.admit(web, "registry")
    lab.create(pod)
    lab.content(pod)

    planted = replace_bundle(lab, web, pod)
    end(lab, web, pod)

    assert lab.bundle(pod)["metadata"]["uid"] == planted
    # A later controller cannot know whose it is.
    lab.plane.kubectl("delete", "secret", part_names(pod)[0], "-n", web)


def test_a_secret_in_the_place_of_a_bundle_whose_creation_had_no_answer_is_not_deleted_as_ours(lab, web, tmp_path):
    lab.controller.program.stop()
    with FaultProxy(lab.plane.server, lab.plane.certificate_authority) as proxy:
        fault = Fault("POST", f"/api/v1/namespaces/{web}/secrets", Cut.BEFORE_RESPONSE, times=1)
        proxy.faults.append(fault)
        controller = lab.begin(proxy.kubeconfig(lab.kubeconfig, tmp_path / "kubeconfig"))
        lab.ensure_running()
        pod = lab.admit(web, "registry")
        lab.create(pod)
        lab.content(pod)

        planted = replace_bundle(lab, web, pod)
        end(lab, web, pod)

        assert fault.served == 1
        assert lab.bundle(pod)["metadata"]["uid"] == planted
        controller.program.stop()
    lab.plane.kubectl("delete", "secret", part_names(pod)[0], "-n", web)


def replace_bundle(lab, web, pod):
    """Plant a Secret in the place of a running pod's bundle; a pod that waits would get its bundle again."""
    lab.finish(pod, "Running")
    wait_until_seen(lab, web)
    lab.plane.kubectl("delete", "secret", part_names(pod)[0], "-n", web)
    return plant(lab, pod)


def end(lab, web, pod):
    """Finish a pod, and wait until the controller has done what it does with its bundle."""
    lab.finish(pod)
    wait_until_seen(lab, web)


def wait_until_seen(lab, web):
    """Wait until the controller has worked on a pod that came, and ended, later than what it is to have seen."""
    probe = lab.admit(web, "registry")
    lab.create(probe)
    lab.content(probe)
    lab.finish(probe)
    lab.wait(lambda: lab.bundle(probe) is None, "the deletion of a bundle that ended later")


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_pod_that_loses_its_label_keeps_its_bundle_until_it_ends(lab, web, phase):
    pod = lab.admit(web, "registry")
    name = pod["metadata"]["name"]
    lab.create(pod)
    before = lab.content(pod)
    if phase != "Pending":
        lab.finish(pod, phase)

    lab.plane.kubectl("label", "pod", name, "-n", web, f"{names.INJECT_LABEL}-")
    wait_until_seen(lab, web)
    assert lab.content(pod) == before

    lab.plane.kubectl("delete", "pod", name, "-n", web, "--grace-period=0", "--force")
    lab.wait(lambda: lab.bundle(pod) is None, "the deletion of the bundle")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_bundle_of_a_finished_pod_is_deleted_and_the_pod_stays(lab, web, phase):
    pod = lab.admit(web, "registry")
    lab.create(pod)
    lab.content(pod)

    lab.finish(pod, phase)

    lab.wait(lambda: lab.bundle(pod) is None, "the deletion of the bundle")
    assert lab.get("pod", web, pod["metadata"]["name"]) is not None


def test_bundle_of_a_deleted_pod_is_deleted(lab, web):
    pod = lab.admit(web, "registry")
    lab.create(pod)
    lab.content(pod)

    lab.plane.kubectl("delete", "pod", pod["metadata"]["name"], "-n", web, "--grace-period=0", "--force")

    lab.wait(lambda: lab.bundle(pod) is None, "the deletion of the bundle")


def test_pod_labelled_after_creation_gets_an_event_and_no_bundle(lab, web):
    name = f"late-{secrets.token_hex(4)}"
    lab.plane.kubectl("run", name, "-n", web, "--image=none", "--restart=Never")
    before = len(lab.plane.get("secrets", "-n", web)["items"])

    lab.plane.kubectl("label", "pod", name, "-n", web, f"{names.INJECT_LABEL}={names.INJECT_VALUE}")

    lab.wait(lambda: "NotInjected" in lab.events(web, name), "the event")
    assert len(lab.plane.get("secrets", "-n", web)["items"]) == before


def test_pod_with_a_foreign_bundle_name_gets_an_event_and_no_bundle(lab, web):
    pod = lab.admit(web, "registry")
    pod["metadata"]["name"] += "-copy"
    lab.create(pod)

    lab.wait(lambda: "NotInjected" in lab.events(web, pod["metadata"]["name"]), "the event")
    assert lab.bundle(pod) is None


def test_older_of_two_pods_with_one_bundle_owns_it(lab, web):
    # A user copies a pod with a generateName: the two pods differ only in their UIDs.
    body = lab.admit(web, "registry", generate_name="copy-")
    older, younger = (lab.create_generated(body) for _ in range(2))

    lab.wait(lambda: lab.bundle(body) is not None, "the bundle")
    lab.wait(lambda: "BundleTaken" in lab.events(web, younger), "the event")
    owners = [owner["name"] for owner in lab.bundle(body)["metadata"]["ownerReferences"]]
    assert owners == [older]
    # If both were created in the same second, the first one that a controller sees owns the bundle; a later controller
    # cannot know which one that was.
    lab.plane.kubectl("delete", "pod", older, younger, "-n", web, "--grace-period=0", "--force")


def test_definition_changed_after_admission_is_rendered_as_admitted(lab, web):
    pod = lab.admit(web, "registry")
    lab.apply(scoped_secret(web, "registry", env={"TOKEN": "two"}))
    lab.wait(lambda: observed_generation(lab, web, "registry") == 2, "the change seen")
    lab.create(pod)

    assert lab.content(pod) == {"registry.TOKEN": b"one"}
    later = lab.admit(web, "registry")
    lab.create(later)
    assert lab.content(later) == {"registry.TOKEN": b"two"}


def test_definition_created_after_admission_is_not_rendered(lab, organization, web):
    home = lab.namespace(organization)
    lab.apply(scoped_secret(home, "deploy", "Organization", env={"WHO": "organization"}))
    pod = lab.admit(web, "deploy")
    lab.apply(scoped_secret(web, "deploy", env={"WHO": "project", "EXTRA": "x"}))
    lab.wait(lambda: observed_generation(lab, web, "deploy") == 1, "the new definition seen")
    lab.create(pod)

    assert lab.content(pod) == {"deploy.WHO": b"organization"}


def test_policy_that_denies_the_pod_after_admission_is_enforced(lab, web):
    pod = lab.admit(web, "registry")
    lab.apply(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.SECRET_POLICY_KIND,
            "metadata": {"name": "deny", "namespace": web},
            "spec": {"secrets": {"names": ["registry"]}, "effect": "Deny"},
        }
    )
    seen = {"Accepted": ("True", "Accepted"), "Ready": ("True", "Available")}
    lab.wait(lambda: lab.status("secretpolicy", web, "deny") == seen, "the policy seen")
    lab.create(pod)

    lab.wait(lambda: "PolicyDenied" in lab.events(web, pod["metadata"]["name"]), "the event")
    assert lab.bundle(pod) is None


def test_pod_admitted_before_an_expiry_gets_no_bundle_after_it(lab, web):
    """A late bundle would bypass the expiry: the pod waits, and an event says why."""
    expires = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    lab.apply(scoped_secret(web, "short", env={"TOKEN": "one"}, expireTime=expires))
    early, late = lab.admit(web, "short"), lab.admit(web, "short")
    lab.create(early)
    before = lab.content(early)
    lab.wait(lambda: lab.status("scopedsecret", web, "short").get("Expired") == ("True", "Expired"), "the expiry")

    lab.create(late)

    lab.wait(lambda: "Expired" in lab.events(web, late["metadata"]["name"]), "the event")
    assert lab.bundle(late) is None
    assert lab.status("scopedsecret", web, "short")["Ready"] == ("False", "Expired")
    assert "Expired" in lab.events(web, "short")
    assert lab.content(early) == before == {"short.TOKEN": b"one"}


def test_definition_with_a_lost_key_is_not_ready_until_it_is_stored_again(lab, web):
    sealed_bundle(lab, web, "lost", ring=KeyRing.generate(datetime.now(UTC)))
    lab.wait(lambda: lab.status("scopedsecret", web, "lost").get("Ready") == ("False", "KeyLost"), "the condition")

    sealed_bundle(lab, web, "lost")
    lab.wait(lambda: lab.status("scopedsecret", web, "lost").get("Ready") == ("True", "Available"), "the recovery")


def test_value_that_cannot_be_unsealed_is_reported_at_pod_and_definition(lab, web):
    lab.apply(scoped_secret(web, "damaged"))
    text = lab.sealed(CANARY.encode(), web, "damaged", "PASSWORD")
    middle = len(text) // 2
    text = text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]
    lab.apply(scoped_secret(web, "damaged", env=[{"name": "PASSWORD", "sealed": text}]))
    pod = lab.admit(web, "registry, damaged")
    lab.create(pod)

    lab.wait(lambda: "BundleFailed" in lab.events(web, pod["metadata"]["name"]), "the pod's event")
    lab.wait(lambda: "BundleFailed" in lab.events(web, "damaged"), "the definition's event")
    assert lab.bundle(pod) is None


def test_statuses_report_conflicts_finals_and_shadows(lab, organization, web):
    home = lab.namespace(organization)
    lab.apply(
        scoped_secret(home, "registry", "Organization", env={"TOKEN": "wide"}),
        scoped_secret(home, "locked", "Organization", final=True),
        scoped_secret(web, "locked"),
        scoped_secret(web, "second", secretName="registry"),
        scoped_secret(home, "stranger", "Environment", environment="production", project="web"),
        scoped_secret(web, "outside", "Organization"),
    )

    def conditions(namespace, name):
        return lab.status("scopedsecret", namespace, name)

    lab.wait(lambda: conditions(web, "second").get("Conflicted") == ("True", "SlotTaken"), "the conflict")
    lab.wait(lambda: conditions(web, "locked").get("Blocked") == ("True", "ShadowedByFinal"), "the block")
    lab.wait(lambda: conditions(web, "outside") == {"Ready": ("False", "ScopeNotAllowed")}, "the refusal")

    def shadowed_by():
        return lab.get("scopedsecret", home, "registry")["status"].get("shadowedBy")

    lab.wait(lambda: shadowed_by() == [f"{web}/registry"], "the shadow")
    lab.plane.kubectl("delete", "scopedsecret", "registry", "-n", web)
    lab.wait(lambda: shadowed_by() == [f"{web}/second"], "the other's shadow")
    lab.wait(lambda: conditions(web, "second").get("Conflicted") == ("False", "Unique"), "the end of the conflict")


def test_status_is_written_once_for_each_change(lab, web):
    lab.wait(lambda: observed_generation(lab, web, "registry") == 1, "the first status")
    lab.apply(scoped_secret(web, "registry", env={"TOKEN": "two", "MORE": "x"}))
    lab.wait(lambda: observed_generation(lab, web, "registry") == 2, "the second status")
    # Any further write for the first object would come before the status of a later object.
    lab.apply(scoped_secret(web, "later"))
    lab.wait(lambda: observed_generation(lab, web, "later") == 1, "a later status")

    written = [entry for entry in lab.writes() if entry["objectRef"].get("namespace") == web]
    assert Counter(entry["objectRef"]["name"] for entry in written) == {"registry": 2, "later": 1}
    stored = lab.get("scopedsecret", web, "registry")
    times = {condition["lastTransitionTime"] for condition in stored["status"]["conditions"]}
    assert len(times) == 1


def test_restart_writes_nothing(lab, web):
    sealed_bundle(lab, web)
    aging: dict[str, Any] = {"rotation": {"intervalDays": 90}, "expireTime": "2099-01-01T00:00:00Z"}
    lab.apply(scoped_secret(web, "aging", env={"TOKEN": "old"}, **aging))
    # Rendered as admitted; a later process cannot know that state any more.
    outdated = lab.admit(web, "registry")
    lab.apply(scoped_secret(web, "registry", env={"TOKEN": "two", "MORE": "x"}))
    lab.wait(lambda: observed_generation(lab, web, "registry") == 2, "the change seen")
    waiting, running, finished = (lab.admit(web, "registry, sealed") for _ in range(3))
    lab.create(outdated, waiting, running, finished)
    for pod in (outdated, waiting, running, finished):
        lab.content(pod)
    lab.finish(running, "Running")
    lab.finish(finished)
    late = f"late-{secrets.token_hex(4)}"
    lab.plane.kubectl("run", late, "-n", web, "--image=none", f"--labels={names.INJECT_LABEL}=true")
    lab.wait(lambda: lab.bundle(finished) is None, "the deletion of the bundle")
    lab.wait(lambda: "NotInjected" in lab.events(web, late), "the event")
    lab.wait(lambda: observed_generation(lab, web, "sealed") == 2, "the statuses")
    lab.wait(lambda: observed_generation(lab, web, "aging") == 1, "the statuses")
    lab.controller.program.stop()
    before = len(lab.writes())

    lab.ensure_running()
    # The queue works in order of priority: when this pod's bundle is removed, all that was due before is done.
    probe = lab.admit(web, "registry")
    lab.create(probe)
    lab.content(probe)
    lab.finish(probe)
    lab.wait(lambda: lab.bundle(probe) is None, "the deletion of the probe's bundle")

    after = [(entry["verb"], entry["objectRef"]["name"]) for entry in lab.writes()[before:]]
    part = part_names(probe)[0]
    assert after == [("create", part), ("delete", part)]


def test_standby_takes_over_from_a_killed_leader(lab, web):
    leader = lab.controller
    standby = lab.start()
    assert not standby.leads
    pods = [lab.admit(web, "registry") for _ in range(12)]
    lab.create(*pods[:6])
    lab.wait(lambda: any(lab.bundle(pod) for pod in pods), "the first bundle")
    os.kill(leader.program.pid, signal.SIGKILL)
    leader.program.wait_for_end()
    lab.controllers.remove(leader)
    lab.create(*pods[6:])

    lab.wait(lambda: standby.leads, "the new leader")
    for pod in pods:
        assert lab.content(pod) == {"registry.TOKEN": b"one"}
    made = Counter(
        entry["objectRef"]["name"]
        for entry in lab.writes()
        if entry["verb"] == "create" and entry["objectRef"]["resource"] == "secrets"
    )
    assert {made[part_names(pod)[0]] for pod in pods} == {1}


def test_standby_is_ready_and_writes_nothing(lab, web):
    standby = lab.start()
    pod = lab.admit(web, "registry")
    lab.create(pod)
    lab.content(pod)

    assert standby.probe("/readyz") == 200
    assert standby.probe("/healthz") == 200
    assert standby.probe("/elsewhere") == 404
    assert not standby.leads


def test_controller_survives_a_restart_of_the_api_server(lab, web):
    lab.plane.restart_api_server()
    pod = lab.admit(web, "registry")
    lab.create(pod)

    assert lab.content(pod) == {"registry.TOKEN": b"one"}


def test_sigterm_releases_leadership_and_exits_with_0(lab):
    controller = lab.controller
    controller.program.stop(grace_seconds=20)

    assert controller.program._process.returncode == 0
    lease = lab.get("lease", names.DEFAULT_NAMESPACE, names.LEASE_NAME)
    assert not lease["spec"].get("holderIdentity")
    assert "the controller has stopped" in controller.log


def test_no_value_is_in_any_log_event_or_status(lab, web):
    sealed_bundle(lab, web)
    pod = lab.admit(web, "sealed")
    lab.create(pod)
    assert lab.content(pod) == {"sealed.PASSWORD": CANARY.encode()}

    logs = [path.read_text() for path in lab.folder.glob("*.log")]
    listed = lab.plane.kubectl("get", "pods,events,scopedsecrets,leases", "-A", "-o", "yaml", "--show-managed-fields")
    assert logs
    assert not any(CANARY in text for text in (*logs, listed.stdout))


def observed_generation(lab, namespace, name):
    stored = lab.get("scopedsecret", namespace, name) or {}
    return stored.get("status", {}).get("observedGeneration", 0)
