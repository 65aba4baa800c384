"""Events of containers that cannot start: they name what the operator added, and nothing of the kubelet's message."""

from __future__ import annotations

import pytest
from tests.controller.snapshots import admitted, inventory_of_pods, job, record_of, stored
from tests.support.builders import container, definition, home_and_project, inventory

from scoped_secrets import names

FILES = {"/data/app/key": "y", "=F": "x"}
SNAPSHOT = inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": "a"}, files=FILES)])
RUNC = 'runc create failed: error mounting "/var/lib/x" to rootfs at "/data/app/key": read-only file system'


def failing(reason: str, message: str = "", *, state: str = "waiting", name: str = "job", last: bool = False):
    detail = {state: {"reason": reason, "message": message}}
    return [{"name": name, "state": {} if last else detail, "lastState": detail if last else {}}]


def failures(statuses, field="containerStatuses", body=None):
    return record_of(stored(body or admitted(job(), SNAPSHOT), **{field: statuses})).start_failures


@pytest.mark.parametrize(
    ("reason", "state", "last"),
    [
        ("RunContainerError", "waiting", False),
        ("CreateContainerError", "waiting", False),
        ("StartError", "terminated", False),
        ("StartError", "terminated", True),
        ("ContainerCannotRun", "terminated", True),
    ],
)
def test_path_that_cannot_be_mounted_is_named_with_the_remedy(reason, state, last):
    (message,) = failures(failing(reason, RUNC, state=state, last=last))
    assert "container 'job' cannot start" in message
    assert "'/data/app/key'" in message
    assert "`env` and no `path`" in message
    assert "/var/lib" not in message


def test_environment_that_is_too_long_is_named():
    (message,) = failures(failing("StartError", "exec /bin/sh: argument list too long", state="terminated"))
    assert "longer than Linux accepts; 1 of the variables" in message


def test_other_causes_name_what_was_added_and_never_the_message():
    (message,) = failures(failing("StartError", 'exec: "canary-value": executable file not found', state="terminated"))
    assert "canary" not in message
    assert f"the volume {names.MOUNT_PATH}, the files '/data/app/key', the variables 'TOKEN'" in message


def test_missing_key_of_the_bundle_is_named_and_other_missing_objects_are_not():
    body = admitted(job(), SNAPSHOT)
    secret = body["spec"]["volumes"][0]["projected"]["sources"][0]["secret"]["name"]
    reason = "CreateContainerConfigError"
    (message,) = failures(failing(reason, f"couldn't find key x in Secret web/{secret}"), body=body)
    assert "bundle Secret lacks a key" in message
    assert failures(failing(reason, 'configmap "settings" not found'), body=body) == ()


def test_each_container_has_its_message_once():
    body = admitted(job(initContainers=[container("init")]), SNAPSHOT)
    assert len(failures(failing("StartError") + failing("StartError", last=True), body=body)) == 1
    assert len(failures(failing("StartError", name="init"), "initContainerStatuses", body)) == 1


@pytest.mark.parametrize(
    "statuses",
    [
        [],
        failing("ContainerCreating"),
        failing("ImagePullBackOff"),
        failing("CrashLoopBackOff"),
        failing("Error", state="terminated"),
        failing("StartError", name="another"),
    ],
)
def test_what_runs_or_fails_by_itself_is_not_told(statuses):
    assert failures(statuses) == ()


def test_container_without_secrets_is_not_told():
    body = job(annotations={names.CONTAINERS_ANNOTATION: "job"})
    body["spec"]["containers"].append(container("other"))
    assert failures(failing("StartError", RUNC, name="other"), body=admitted(body, SNAPSHOT)) == ()


def test_pod_without_a_bundle_is_not_told():
    record = inventory_of_pods().put(stored(job(), containerStatuses=failing("StartError")), 0.0)
    assert record is not None
    assert record.start_failures == ()
