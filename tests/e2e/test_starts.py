"""What cannot start is denied with the remedy, what is admitted starts, and what fails all the same is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.cluster.node_image import CI_USER
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

PATH = "/data/app/key"
LARGE = 32_700
VARIABLES = 63


def below(name: str, source: dict[str, Any], **mount: Any) -> dict[str, Any]:
    """Return the fields of a pod whose container mounts a volume above the file."""
    return {
        "main": {"volumeMounts": [{"name": name, "mountPath": "/data", **mount}]},
        "volumes": [{"name": name, **source}],
    }


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> str:
    namespace = lab.organization().namespace("web")
    lab.define(
        definition(namespace, "app", env={"TOKEN": lab.value()}, files=[file(PATH, lab.value())]),
        definition(namespace, "strange", files=[file("/etc/passwd/key", lab.value())]),
        definition(namespace, "maven", files=[file("~/.m2/settings.xml", lab.value())]),
        *(
            definition(namespace, f"large-{part}", env={
                f"V{part}_{index:02}": lab.value("x" * LARGE)[:LARGE] for index in range(VARIABLES // 3)
            })
            for part in range(3)
        ),
        definition(namespace, "one-more", env={f"W{index}": lab.value("x" * LARGE)[:LARGE] for index in range(3)}),
    )  # fmt: skip
    lab.wait_until_known(
        pod_run(namespace, "known", "app, strange, maven, large-0, large-1, large-2", Probe()),
        pod_run(namespace, "known", "one-more", Probe()),
    )
    return namespace


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("config-map", below("settings", {"configMap": {"name": "x"}})),
        ("secret", below("old", {"secret": {"secretName": "x"}})),
        ("projected", below("all", {"projected": {"sources": [{"configMap": {"name": "x"}}]}})),
        ("downward", below("pod", {"downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}})),
        ("read-only", below("scratch", {"emptyDir": {}}, readOnly=True)),
        ("claim", below("claim", {"persistentVolumeClaim": {"claimName": "x"}})),
        ("host", below("host", {"hostPath": {"path": "/var/empty"}})),
    ],
)  # fmt: skip
def test_file_below_a_volume_that_cannot_take_it_is_denied(lab: Lab, namespace: str, name: str, fields: dict[str, Any]):
    accepted, said = lab.try_create(pod_run(namespace, name, "app", Probe(), **fields))

    assert not accepted
    assert f"PathConflict: file '{PATH}' lies below '/data'" in said
    assert "`env` and no `path`" in said


def test_our_folder_below_a_read_only_mount_is_denied(lab: Lab, namespace: str):
    fields = below("run", {"emptyDir": {}}, readOnly=True)
    fields["main"]["volumeMounts"][0]["mountPath"] = "/run"
    accepted, said = lab.try_create(pod_run(namespace, "run", "app", Probe(), **fields))

    assert not accepted
    assert names.MOUNT_PATH in said


def test_annotation_allows_a_file_below_a_persistent_volume(lab: Lab, namespace: str):
    annotations = {"allow-volume-paths": "true"}
    fields = below("host", {"hostPath": {"path": "/var/empty"}})
    accepted, said = lab.try_create(pod_run(namespace, "host", "app", Probe(), annotations=annotations, **fields))

    assert accepted, said


def test_as_much_environment_as_linux_accepts_starts_and_more_is_denied(lab: Lab, namespace: str):
    bundles = "large-0, large-1, large-2"
    run = pod_run(namespace, "large", bundles, Probe().no_variable("ABSENT"))
    lab.start(run)
    accepted, said = lab.try_create(pod_run(namespace, "too-large", f"{bundles}, one-more", Probe()))

    assert not accepted
    assert "LimitExceeded: container 'main' would have" in said
    lab.finish(run)


@pytest.fixture(scope="module")
def failing(lab: Lab, namespace: str) -> dict[str, Run]:
    runs = [
        pod_run(namespace, "no-folder", "strange", Probe(), securityContext={"runAsUser": 0}),
        pod_run(namespace, "no-program", "app", Probe(), main={"command": ["/nothing"], "args": []}),
    ]
    lab.start(*runs)
    return {run.name: run for run in runs}


def test_mount_that_fails_all_the_same_is_an_event_with_the_path(lab: Lab, failing: dict[str, Run]):
    message = lab.wait_for_event(failing["no-folder"], Reason.CONTAINER_NOT_STARTED)

    assert "container 'main' cannot start, because '/etc/passwd/key'" in message


def test_another_failure_is_an_event_with_our_part(lab: Lab, failing: dict[str, Run]):
    message = lab.wait_for_event(failing["no-program"], Reason.CONTAINER_NOT_STARTED)

    assert f"the files '{PATH}', the variables 'TOKEN'" in message


def test_folder_that_belongs_to_root_is_an_event(lab: Lab, namespace: str):
    run = pod_run(
        namespace,
        "maven",
        "maven",
        Probe().write("/home/ci/.m2/repository", is_allowed=False).write("/home/ci/beside", is_allowed=True),
        annotations={"home": "/home/ci"},
        securityContext={"runAsUser": CI_USER},
    )
    lab.start(run)
    lab.finish(run)

    message = lab.wait_for_event(run, Reason.FOLDER_NOT_WRITABLE)
    assert "'/home/ci/.m2'" in message
    assert "`env` and no `path`" in message
