"""With which mode each container sees a file (DESIGN section 8)."""

import json

import pytest
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body
from tests.support.container_view import patched, view, views

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.names import Reason


def world(mode: int = 0o600, **annotations: str) -> ClusterSnapshot:
    aws = definition("acme/aws", files={"/etc/key": ("key", mode)})
    return inventory(home_and_project(**annotations), [aws])


@pytest.mark.parametrize(
    ("sentence", "mode", "pod_security", "container_security", "projected", "seen"),
    [
        ("an unstated user gets the declared mode", 0o600, {}, {}, 0o600, 0o600),
        ("root gets the declared mode", 0o600, {"runAsUser": 0}, {}, 0o600, 0o600),
        ("another user gets a copy that it can read", 0o600, {"runAsUser": 1000}, {}, 0o644, 0o644),
        ("a user without number too", 0o400, {"runAsNonRoot": True}, {}, 0o444, 0o444),
        ("a script can be executed", 0o700, {"runAsUser": 1000}, {}, 0o755, 0o755),
        ("the right to write stays with root", 0o622, {"runAsUser": 1000}, {}, 0o666, 0o666),
        ("a mode that suffices stays", 0o555, {"runAsUser": 1000}, {}, 0o555, 0o555),
        ("the container's user counts", 0o600, {}, {"runAsUser": 1000}, 0o644, 0o644),
        ("the container's root counts over the pod's user", 0o600, {"runAsUser": 1}, {"runAsUser": 0}, 0o600, 0o600),
        ("with fsGroup the kubelet lets the group read", 0o600, {"runAsUser": 1000, "fsGroup": 7}, {}, 0o600, 0o640),
        ("with group 0 too", 0o400, {"runAsUser": 1000, "fsGroup": 0}, {}, 0o400, 0o440),
        ("and does not let it execute", 0o700, {"runAsUser": 1000, "fsGroup": 7}, {}, 0o710, 0o750),
        ("the group of root reads as well", 0o600, {"fsGroup": 7}, {}, 0o600, 0o640),
    ],
)
def test_mode_in_a_container(sentence, mode, pod_security, container_security, projected, seen):
    body = pod_body("aws", containers=[container(securityContext=container_security)], securityContext=pod_security)
    decision = granted(body, world(mode))
    assert view(body, decision).modes["/etc/key"] == projected
    assert json.loads(decision.injection.resolution)["files"]["job"]["/etc/key"]["mode"] == f"{seen:04o}"
    assert patched(body, decision)["spec"]["securityContext"] == pod_security


def test_each_way_of_reading_has_one_copy_of_the_same_data_key():
    containers = [container("root"), *(container(name, securityContext={"runAsUser": 5}) for name in ("a", "b"))]
    body = pod_body("aws", containers=containers)
    decision = granted(body, world())
    modes = {name: seen.modes["/etc/key"] for name, seen in views(body, decision).items()}
    assert modes == {"root": 0o600, "a": 0o644, "b": 0o644}
    (volume,) = patched(body, decision)["spec"]["volumes"]
    (source,) = volume["projected"]["sources"]
    items = [item for item in source["secret"]["items"] if item["key"] != names.RESOLUTION_FILE]
    assert len(items) == 2
    assert len({item["key"] for item in items}) == 1
    assert granted(patched(body, decision), world()).injection.operations == ()


@pytest.mark.parametrize(
    ("sentence", "pod", "namespace", "security", "mode"),
    [
        ("the pod's annotation states the user", "1000", None, {}, 0o644),
        ("the namespace's is the default", None, "1000", {}, 0o644),
        ("the pod's counts over the namespace's", "0", "1000", {}, 0o600),
        ("what the container states counts over both", "1000", "1000", {"runAsUser": 0}, 0o600),
        ("also when it states only what it is not", "0", None, {"runAsNonRoot": True}, 0o644),
    ],
)
def test_user_that_an_annotation_states(sentence, pod, namespace, security, mode):
    snapshot = world(**({} if namespace is None else {names.RUN_AS_USER_ANNOTATION: namespace}))
    annotations = {} if pod is None else {names.RUN_AS_USER_ANNOTATION: pod}
    body = pod_body("aws", annotations=annotations, containers=[container(securityContext=security)])
    decision = granted(body, snapshot)
    assert view(body, decision).modes["/etc/key"] == mode
    assert decision.injection.warnings == ()


@pytest.mark.parametrize("text", ["", "ci", "-1", "1000 ", "1.5", "\u0661"])
def test_annotation_that_is_no_user_is_denied(text):
    for snapshot, annotations in (
        (world(), {names.RUN_AS_USER_ANNOTATION: text}),
        (world(**{names.RUN_AS_USER_ANNOTATION: text}), {}),
    ):
        refused = denied(pod_body("aws", annotations=annotations), snapshot)
        assert refused.reason is Reason.INVALID_ANNOTATION
        assert ("namespace's" in refused.message) is (not annotations)


def test_user_that_another_webhook_sets_after_us_gets_what_it_can_read():
    files = {"/etc/key": "key", "=KUBECONFIG": "config"}
    snapshot = inventory(home_and_project(), [definition("acme/aws", files=files)])
    body = pod_body("aws", containers=[container("a"), container("b", env=[{"name": "X", "value": "x"}])])
    pod = patched(body, granted(body, snapshot))
    pod["spec"]["securityContext"] = {"runAsUser": 1000}
    decision = granted(pod, snapshot)
    for seen in views(pod, decision).values():
        assert seen.modes["/etc/key"] == 0o644
        assert seen.env["KUBECONFIG"] == "/run/scoped-secrets/readable/aws.KUBECONFIG"
        assert seen.files[seen.env["KUBECONFIG"]] == "config"
    again = patched(pod, decision)
    assert granted(again, snapshot).injection.operations == ()
    fresh = {**body, "spec": {**body["spec"], "securityContext": {"runAsUser": 1000}}}
    assert decision.injection.resolution == granted(fresh, snapshot).injection.resolution


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o044, 0o100])
def test_mode_without_owner_read_is_denied(mode):
    refused = denied(pod_body("aws"), world(mode))
    assert refused.reason is Reason.UNREADABLE_FILE
    assert f"{mode:04o}" in refused.message
