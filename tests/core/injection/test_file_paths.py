"""Where files go in a container (DESIGN section 4, rule B)."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body
from tests.support.container_view import view, views

from scoped_secrets import names
from scoped_secrets.core.injection.file_paths import collapse, normalise
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason


@pytest.mark.parametrize(
    ("sentence", "path", "expected"),
    [
        ("absolute", "/etc/pip.conf", "/etc/pip.conf"),
        ("relative to the home", ".ssh/id", "/home/ci/.ssh/id"),
        ("below the home", "~/.ssh/id", "/home/ci/.ssh/id"),
        ("double slashes", "/etc//x///y", "/etc/x/y"),
        ("dots", "/etc/./x", "/etc/x"),
        ("parents", "a/../b", "/home/ci/b"),
        ("parents beyond the home", "../../etc/x", "/etc/x"),
        ("a tilde inside is a letter", "a/~/b", "/home/ci/a/~/b"),
        ("a tilde that names a user is a letter", "~x/y", "/home/ci/~x/y"),
        ("three dots are a name", "/a/.../b", "/a/.../b"),
        ("above the root", "/../x", None),
        ("above the root and back", "/a/../../a/x", None),
        ("above the root from the home", "../../../x", None),
        ("the root itself", "/", None),
        ("the root by parents", "/a/..", None),
    ],
)
def test_paths_are_made_absolute(sentence, path, expected):
    if expected is None:
        with pytest.raises(DeniedError) as refusal:
            normalise(path, "/home/ci")
        assert refusal.value.reason is Reason.PATH_CONFLICT
    else:
        assert normalise(path, "/home/ci") == expected


@examples(5)
@given(path=st.text(alphabet="a./", max_size=12))
def test_collapsing_agrees_with_the_standard_library_within_the_root(path):
    collapsed = collapse(path)
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        if depth < 0:
            assert collapsed is None
            return
    assert collapsed == posixpath.normpath(f"/{path.lstrip('/')}")


def decide_files(*paths, annotations=None, refused=False, **fields):
    snapshot = inventory(home_and_project(), [definition("acme/aws", files=dict.fromkeys(paths, "x"))])
    body = pod_body("aws", annotations=annotations, containers=[container(**fields)])
    return denied(body, snapshot) if refused else set(view(body, granted(body, snapshot)).files)


@pytest.mark.parametrize(
    ("sentence", "paths"),
    [
        ("a file below a file", ("/etc/x", "/etc/x/y")),
        ("a file far below a file", ("/etc/x", "/etc/x/y/z")),
        ("a file below a file, spelt otherwise", ("/etc/./x", "/etc//x/y")),
        ("a file below a file by the home", ("/root/.ssh", ".ssh/id")),
        ("a process's directory", ("/proc/1/environ",)),
        ("a kernel's directory", ("/sys/x",)),
        ("a device", ("/dev/null",)),
        ("a system directory itself", ("/dev",)),
        ("a system directory by parents", ("/etc/../proc/x",)),
        ("the account's token", ("/var/run/secrets/kubernetes.io/serviceaccount/token",)),
        ("the account's token behind the usual link", ("/run/secrets/kubernetes.io/serviceaccount/token",)),
        ("a directory above the account's token", ("/var/run",)),
        ("our own directory", (f"{names.MOUNT_PATH}/x",)),
        ("the directory above our own", ("/run",)),
        ("above the root", ("/../x",)),
    ],
)
def test_impossible_paths_are_denied(sentence, paths):
    assert decide_files(*paths, refused=True).reason is Reason.PATH_CONFLICT


@pytest.mark.parametrize("path", ["/process", "/device/x", "/system", "/procx/y", "/etc/xy"])
def test_paths_with_a_common_prefix_are_allowed(path):
    assert path in decide_files(path, "/etc/x")


@pytest.mark.parametrize(
    ("sentence", "mount", "path"),
    [
        ("the same path", "/etc/x", "/etc/x"),
        ("the same path with a slash", "/etc/x/", "/etc/x"),
        ("the same path, spelt otherwise", "/etc/./a/../x", "/etc/x"),
        ("a mount below the file", "/etc/x/y", "/etc/x"),
    ],
)
def test_file_at_a_mount_of_the_container_is_denied(sentence, mount, path):
    refused = decide_files(path, volumeMounts=[{"name": "own", "mountPath": mount}], refused=True)
    assert refused.reason is Reason.PATH_CONFLICT
    assert "container 'job'" in refused.message


def test_a_file_below_a_mount_of_the_container_is_allowed():
    assert "/data/x" in decide_files("/data/x", volumeMounts=[{"name": "own", "mountPath": "/data"}])


@pytest.mark.parametrize("mount", [names.MOUNT_PATH, f"{names.MOUNT_PATH}/"])
def test_mount_at_the_reserved_path_is_denied(mount):
    refused = decide_files(volumeMounts=[{"name": "own", "mountPath": mount}], refused=True)
    assert refused.reason is Reason.PATH_CONFLICT


def home(value):
    return [{"name": "HOME", "value": value}]


@pytest.mark.parametrize(
    ("sentence", "fields", "expected"),
    [
        ("nothing said, root by default", {}, "/root/x"),
        ("the container's variable", {"env": home("/home/ci")}, "/home/ci/x"),
        ("the last of two variables", {"env": home("/a") + home("/b")}, "/b/x"),
        ("a home with a slash", {"env": home("/home/ci/")}, "/home/ci/x"),
        ("the annotation before the variable", {"annotations": {names.HOME_ANNOTATION: "/opt"}, "env": home("/a")},
         "/opt/x"),
        ("a user who is root", {"securityContext": {"runAsUser": 0, "runAsNonRoot": None}}, "/root/x"),
        ("a user who is not root and says its home", {"securityContext": {"runAsUser": 7}, "env": home("/u")}, "/u/x"),
    ],
)  # fmt: skip
def test_relative_paths_start_at_the_home_directory(sentence, fields, expected):
    assert expected in decide_files("x", **fields)


@pytest.mark.parametrize(
    ("sentence", "fields"),
    [
        ("a user who is not root", {"securityContext": {"runAsUser": 7}}),
        ("a user who shall not be root", {"securityContext": {"runAsNonRoot": True}}),
        ("a variable that is relative", {"env": home("ci")}),
        ("a variable that is empty", {"env": home("")}),
        ("a variable that expands another", {"env": home("/home/$(USER)")}),
        ("a variable that uses a secret", {"env": home("/home/${secrets.aws.USER}")}),
        ("a variable from somewhere else",
         {"env": [{"name": "HOME", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]}),
    ],
)  # fmt: skip
def test_unknown_home_is_denied_with_the_remedy(sentence, fields):
    snapshot = inventory(home_and_project(), [definition("acme/aws", env={"USER": "ci"}, files={"x": "x"})])
    refused = denied(pod_body("aws", containers=[container(**fields)]), snapshot)
    assert refused.reason is Reason.HOME_UNKNOWN
    assert names.HOME_ANNOTATION in refused.message


def test_home_from_a_bundle_is_unknown_at_admission():
    snapshot = inventory(home_and_project(), [definition("acme/aws", env={"HOME": "/home/ci"}, files={"x": "x"})])
    assert denied(pod_body("aws"), snapshot).reason is Reason.HOME_UNKNOWN
    told = pod_body("aws", annotations={names.HOME_ANNOTATION: "/home/ci"})
    assert "/home/ci/x" in view(told, granted(told, snapshot)).files


def test_unknown_home_matters_only_for_relative_paths():
    assert "/etc/x" in decide_files("/etc/x", securityContext={"runAsNonRoot": True})


def test_a_home_annotation_must_be_absolute():
    annotations = {names.HOME_ANNOTATION: "home"}
    assert decide_files("x", annotations=annotations, refused=True).reason is Reason.INVALID_ANNOTATION


def test_two_containers_may_have_two_homes():
    snapshot = inventory(home_and_project(), [definition("acme/aws", files={".ssh/id": "key"})])
    body = pod_body("aws", containers=[container("a"), container("b", env=home("/home/b"))])
    seen = views(body, granted(body, snapshot))
    assert "/root/.ssh/id" in seen["a"].files
    assert "/home/b/.ssh/id" in seen["b"].files
