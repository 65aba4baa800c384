"""Files below mounts of the container itself (DESIGN section 8)."""

from typing import Any

import pytest
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body

from scoped_secrets import names
from scoped_secrets.names import Reason

WORLD = inventory(home_and_project(), [definition("acme/aws", files={"/data/app/key": "key"})])

READ_ONLY: list[dict[str, Any]] = [
    {"configMap": {"name": "x"}},
    {"secret": {"secretName": "x"}},
    {"projected": {"sources": []}},
    {"projected": {"sources": [{"secret": {"name": "x", "items": [{"key": "a", "path": "a"}]}}]}},
    {"downwardAPI": {"items": []}},
    {"image": {"reference": "x"}},
    {"persistentVolumeClaim": {"claimName": "x", "readOnly": True}},
    {"csi": {"driver": "x", "readOnly": True}},
    {"nfs": {"server": "x", "path": "/", "readOnly": True}},
]
PERSISTENT: list[dict[str, Any]] = [
    {"persistentVolumeClaim": {"claimName": "x"}},
    {"hostPath": {"path": "/x"}},
    {"nfs": {"server": "x", "path": "/"}},
    {"aNewKind": {}},
]
OF_THE_POD: list[dict[str, Any]] = [
    {},
    {"emptyDir": {}},
    {"ephemeral": {"volumeClaimTemplate": {}}},
    {"csi": {"driver": "x"}},
]


def body(source: dict[str, Any], path: str = "/data", annotations: dict[str, str] | None = None, **mount: Any):
    return pod_body(
        "aws",
        annotations=annotations,
        containers=[container(volumeMounts=[{"name": "own", "mountPath": path, **mount}])],
        volumes=[{"name": "own", **source}],
    )


@pytest.mark.parametrize("source", READ_ONLY)
@pytest.mark.parametrize("path", ["/data", "/data/", "/data/app"])
def test_file_below_a_read_only_volume_is_denied(source, path):
    refused = denied(body(source, path), WORLD)
    assert refused.reason is Reason.PATH_CONFLICT
    assert "'/data/app/key'" in refused.message
    assert f"'{path.rstrip('/')}'" in refused.message
    assert "'own'" in refused.message
    assert "`env` and no `path`" in refused.message


@pytest.mark.parametrize("source", [*OF_THE_POD, *PERSISTENT])
def test_file_below_a_read_only_mount_is_denied(source):
    annotations = {names.ALLOW_VOLUME_PATHS_ANNOTATION: "true"}
    refused = denied(body(source, annotations=annotations, readOnly=True), WORLD)
    assert refused.reason is Reason.PATH_CONFLICT
    assert "read-only" in refused.message


@pytest.mark.parametrize("source", PERSISTENT)
def test_file_below_a_persistent_volume_is_denied_unless_the_annotation_allows_it(source):
    refused = denied(body(source), WORLD)
    assert refused.reason is Reason.PATH_CONFLICT
    assert "empty file" in refused.message
    assert f'{names.ALLOW_VOLUME_PATHS_ANNOTATION}: "true"' in refused.message
    granted(body(source, annotations={names.ALLOW_VOLUME_PATHS_ANNOTATION: "true"}), WORLD)
    denied(body(source, annotations={names.ALLOW_VOLUME_PATHS_ANNOTATION: "false"}), WORLD)
    invalid = denied(body(source, annotations={names.ALLOW_VOLUME_PATHS_ANNOTATION: "True"}), WORLD)
    assert invalid.reason is Reason.INVALID_ANNOTATION


@pytest.mark.parametrize("source", OF_THE_POD)
def test_file_below_a_volume_of_the_pod_is_allowed(source):
    granted(body(source), WORLD)


def test_the_innermost_mount_counts():
    mounts = [{"name": "own", "mountPath": "/data"}, {"name": "scratch", "mountPath": "/data/app"}]
    volumes = [{"name": "own", "configMap": {"name": "x"}}, {"name": "scratch", "emptyDir": {}}]
    granted(pod_body("aws", containers=[container(volumeMounts=mounts)], volumes=volumes), WORLD)
    volumes.reverse()
    swapped = [{"name": "scratch", "mountPath": "/data"}, {"name": "own", "mountPath": "/data/app"}]
    denied(pod_body("aws", containers=[container(volumeMounts=swapped)], volumes=volumes), WORLD)


def test_a_mount_beside_the_file_does_not_matter():
    granted(body({"configMap": {"name": "x"}}, "/data/ap"), WORLD)


@pytest.mark.parametrize("path", ["/", "/run", "/run/"])
def test_our_own_folder_below_a_read_only_mount_is_denied(path):
    refused = denied(body({"configMap": {"name": "x"}}, path), inventory(home_and_project(), []))
    assert refused.reason in (Reason.PATH_CONFLICT, Reason.NOT_FOUND)
    nothing = pod_body(
        "",
        containers=[container(volumeMounts=[{"name": "own", "mountPath": path, "readOnly": True}])],
        volumes=[{"name": "own", "emptyDir": {}}],
    )
    refused = denied(nothing, WORLD)
    assert refused.reason is Reason.PATH_CONFLICT
    assert names.MOUNT_PATH in refused.message


def test_a_container_that_gets_nothing_may_mount_what_it_likes():
    pod = body({"configMap": {"name": "x"}}, annotations={names.CONTAINERS_ANNOTATION: "other"})
    pod["spec"]["containers"].append(container("other"))
    granted(pod, WORLD)


@pytest.mark.parametrize(("length", "is_denied"), [(255, False), (256, True)])
@pytest.mark.parametrize("letter", ["a", "ä"])
def test_name_that_no_file_system_has_is_denied(length, is_denied, letter):
    name = letter * (length // len(letter.encode())) + "a" * (length % len(letter.encode()))
    snapshot = inventory(home_and_project(), [definition("acme/aws", files={f"/data/{name}/x": "key"})])
    if is_denied:
        assert "255 bytes" in denied(pod_body("aws"), snapshot).message
    else:
        granted(pod_body("aws"), snapshot)
