"""Files whose paths are in variables (DESIGN section 8)."""

import json
import re
from typing import Any

import pytest
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body
from tests.support.container_view import patched, view, views

from scoped_secrets import names
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.names import Reason

IN_VOLUME = f"{names.MOUNT_PATH}/files/k8s.KUBECONFIG"
READABLE = f"{names.MOUNT_PATH}/readable/k8s.KUBECONFIG"


def world(*definitions) -> ClusterSnapshot:
    return inventory(home_and_project(), definitions)


K8S = definition("acme/k8s", files={"=KUBECONFIG": "config", "~/.npmrc=NPM_CONFIG_USERCONFIG": "npm"})
WORLD = world(K8S)


def mounts_of(pod: dict[str, Any]) -> list[str]:
    return [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]


def test_a_file_without_a_path_stays_in_the_volume_and_its_variable_holds_the_path():
    body = pod_body("k8s")
    decision = granted(body, WORLD)
    seen = view(body, decision)
    assert seen.env == {"KUBECONFIG": IN_VOLUME, "NPM_CONFIG_USERCONFIG": "/root/.npmrc"}
    assert seen.files[IN_VOLUME] == "config"
    assert seen.files["/root/.npmrc"] == "npm"
    assert mounts_of(patched(body, decision)) == [names.MOUNT_PATH, "/root/.npmrc"]


def test_the_path_is_that_of_the_copy_which_the_user_can_read():
    body = pod_body(
        "k8s",
        annotations={names.HOME_ANNOTATION: "/home/ci"},
        containers=[container("root"), container("ci", securityContext={"runAsUser": 7})],
    )
    seen = views(body, granted(body, WORLD))
    assert (seen["root"].env["KUBECONFIG"], seen["ci"].env["KUBECONFIG"]) == (IN_VOLUME, READABLE)
    assert seen["ci"].modes[READABLE] == 0o644
    assert seen["ci"].files[READABLE] == "config"


def test_a_second_pass_changes_nothing_and_reports_the_same():
    body = pod_body("k8s", containers=[container(args=["${secrets.k8s.KUBECONFIG}"])])
    first = granted(body, WORLD)
    again = granted(patched(body, first), WORLD)
    assert again.injection.operations == ()
    assert again.injection.resolution == first.injection.resolution
    assert "kept" not in first.injection.resolution


def test_the_resolution_names_the_variable_and_its_file():
    document = json.loads(granted(pod_body("k8s"), WORLD).injection.resolution)
    assert document["files"]["job"][IN_VOLUME]["env"] == "KUBECONFIG"
    assert document["files"]["job"]["/root/.npmrc"] == {
        "bundle": "k8s", "definition": "acme/k8s", "mode": "0600", "env": "NPM_CONFIG_USERCONFIG",
    }  # fmt: skip
    assert document["env"]["KUBECONFIG"]["bundle"] == "k8s"


def test_the_containers_own_variable_wins():
    body = pod_body("k8s", containers=[container(env=[{"name": "KUBECONFIG", "value": "/own"}])])
    decision = granted(body, WORLD)
    assert view(body, decision).env["KUBECONFIG"] == "/own"
    assert json.loads(decision.injection.resolution)["kept"] == {"job": ["KUBECONFIG"]}


def test_an_expression_expands_to_the_path():
    job = container(args=["--kubeconfig=${secrets.k8s.KUBECONFIG}"], env=[{"name": "KUBECONFIG", "value": "own"}])
    body = pod_body("k8s", containers=[job])
    decision = granted(body, WORLD)
    assert view(body, decision).args == (f"--kubeconfig={IN_VOLUME}",)
    assert granted(patched(body, decision), WORLD).injection.operations == ()


def test_a_path_with_a_dollar_sign_is_not_expanded():
    snapshot = world(definition("acme/k8s", env={"A": "a"}, files={"/etc/$(A)/x=F": "x"}))
    body = pod_body("k8s", containers=[container(args=["${secrets.k8s.F}"])])
    seen = view(body, granted(body, snapshot))
    assert seen.env["F"] == seen.args[0] == "/etc/$(A)/x"


def test_the_last_bundle_wins_a_variable_whatever_it_holds():
    other = definition("acme/other", env={"KUBECONFIG": "text"})
    body = pod_body("k8s, other", containers=[container(args=["${secrets.k8s.KUBECONFIG}"])])
    seen = view(body, granted(body, world(K8S, other)))
    assert (seen.env["KUBECONFIG"], seen.args) == ("text", (IN_VOLUME,))
    body = pod_body("other, k8s", annotations={names.KEY_CONFLICT_ANNOTATION: "Fail"})
    assert denied(body, world(K8S, other)).reason is Reason.KEY_CONFLICT


@pytest.mark.parametrize(
    ("sentence", "narrow", "env", "files"),
    [
        ("a value replaces the file that only the variable points to", {"env": {"KUBECONFIG": "text"}},
         {"KUBECONFIG": "text", "NPM_CONFIG_USERCONFIG": "/root/.npmrc"}, {"/root/.npmrc"}),
        ("a file replaces the file", {"files": {"=KUBECONFIG": "narrow"}},
         {"KUBECONFIG": IN_VOLUME, "NPM_CONFIG_USERCONFIG": "/root/.npmrc"}, {"/root/.npmrc", IN_VOLUME}),
        ("a file at the path takes the variable away", {"files": {"~/.npmrc": "narrow"}},
         {"KUBECONFIG": IN_VOLUME}, {"/root/.npmrc", IN_VOLUME}),
        ("a variable with a path leaves the other file where it is", {"files": {"/x=NPM_CONFIG_USERCONFIG": "narrow"}},
         {"KUBECONFIG": IN_VOLUME, "NPM_CONFIG_USERCONFIG": "/x"}, {"/root/.npmrc", "/x", IN_VOLUME}),
    ],
)  # fmt: skip
def test_a_narrower_definition_overrides_entry_by_entry(sentence, narrow, env, files):
    project = definition("web/own", secret_name="k8s", scope="Project", override="Merge", **narrow)  # noqa: S106
    body = pod_body("k8s")
    seen = view(body, granted(body, world(K8S, project)))
    assert seen.env == env
    of_mounts = re.compile(rf"{names.MOUNT_PATH}/(resolution\.json|files/k8s\.file-.*)")
    assert {path for path in seen.files if not of_mounts.fullmatch(path)} == files


@pytest.mark.parametrize("path", ["", "/etc/config"])
def test_an_optional_file_that_is_missing_takes_its_variable_with_it(path):
    source = SecretKeySource("s", "k", is_optional=True, is_missing=True)
    snapshot = world(definition("acme/k8s", files={f"{path}=F": source}))
    body = pod_body("k8s")
    decision = granted(body, snapshot)
    assert "F" not in view(body, decision).env
    missing = json.loads(decision.injection.resolution)["missing"]
    assert "F" in missing
    assert (path or f"{names.MOUNT_PATH}/files/k8s.F") in missing
    assert granted(patched(body, decision), snapshot).injection.operations == ()
    uses = pod_body("k8s", containers=[container(args=["${secrets.k8s.F}"])])
    assert denied(uses, snapshot).reason is Reason.SOURCE_MISSING


# Windows


@pytest.mark.parametrize("spec", [{"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}])
def test_a_windows_pod_finds_files_in_the_volume(spec):
    body = pod_body("k8s", **spec)
    decision = granted(body, WORLD)
    pod = patched(body, decision)
    assert view(body, decision).env["KUBECONFIG"] == "C:\\run\\scoped-secrets\\files\\k8s.KUBECONFIG"
    assert view(body, decision).env["NPM_CONFIG_USERCONFIG"].startswith("C:\\run\\scoped-secrets\\files\\k8s.file-")
    assert mounts_of(pod) == [names.MOUNT_PATH]
    assert "securityContext" not in pod["spec"]
    assert granted(pod, WORLD).injection.operations == ()


def test_windows_pod_whose_file_needs_a_mount_is_denied():
    refused = denied(pod_body("k8s", os={"name": "windows"}), world(definition("acme/k8s", files={"/etc/x": "x"})))
    assert refused.reason is Reason.PATH_CONFLICT
    assert "Windows" in refused.message
    assert "`env`" in refused.message
