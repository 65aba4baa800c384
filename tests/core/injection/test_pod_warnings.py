"""What the author of a pod is told although the pod is admitted."""

from typing import Any

import pytest
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body

from scoped_secrets import names
from scoped_secrets.names import Reason

DEFINITIONS = [
    definition("acme/home", files={"~/.npmrc": "x"}),
    definition("acme/public", files={"/etc/public": ("x", 0o444)}),
    definition("acme/private", files={"/etc/private": "x"}),
    definition("acme/maven", files={"~/.m2/settings.xml": "x", "/etc/app/x": "x", "/work/dir/x": "x", "/srv/x": "x"}),
    definition("acme/env", env={"KEY": "k", "TOKEN": "t"}, files={"=FILE": ("x", 0o444)}),
]


def warnings(body: dict[str, Any], **annotations: str) -> list[tuple[Reason, str]]:
    snapshot = inventory(home_and_project(**annotations), DEFINITIONS)
    found = granted(body, snapshot).injection.warnings
    assert all(len(warning.message.encode()) <= 1024 for warning in found)
    return [(warning.reason, warning.message) for warning in found]


def one(found: list[tuple[Reason, str]], reason: Reason) -> str:
    assert [each for each, _ in found] == [reason], found
    return found[0][1]


ROOT: dict[str, Any] = {"securityContext": {"runAsUser": 0}}
CI: dict[str, Any] = {"securityContext": {"runAsUser": 1000}}
HOME = {names.HOME_ANNOTATION: "/home/ci"}


def test_private_file_of_an_unstated_user_names_the_container_and_the_line():
    message = one(warnings(pod_body("private")), Reason.USER_UNKNOWN)
    assert "container 'job'" in message
    assert "'/etc/private'" in message
    assert f'`{names.RUN_AS_USER_ANNOTATION}: "1000"`' in message
    assert names.HOME_ANNOTATION not in message


def test_home_that_is_not_stated_names_both_lines():
    message = one(warnings(pod_body("home")), Reason.USER_UNKNOWN)
    assert "'~' is /root" in message
    assert f'`{names.RUN_AS_USER_ANNOTATION}: "1000"` and `{names.HOME_ANNOTATION}: /home/ci`' in message


def test_stated_root_without_a_home_is_told_where_the_file_is():
    message = one(warnings(pod_body("home", containers=[container(**ROOT)])), Reason.HOME_UNKNOWN)
    assert "/root" in message
    assert names.HOME_ANNOTATION in message


@pytest.mark.parametrize(
    ("sentence", "body", "namespace"),
    [
        ("everyone may read the file", pod_body("public"), {}),
        ("there are only variables", pod_body("env"), {}),
        ("user and home are stated", pod_body("home", annotations=HOME, containers=[container(**CI)]), {}),
        ("HOME is a variable", pod_body("home", containers=[
            container(**ROOT, env=[{"name": "HOME", "value": "/x"}])]), {}),
        ("the namespace states both", pod_body("home"), {
            names.RUN_AS_USER_ANNOTATION: "1000", names.HOME_ANNOTATION: "/home/ci"}),
        ("the container gets nothing", pod_body("private", annotations={names.CONTAINERS_ANNOTATION: "other"},
            containers=[container(), container("other", **ROOT)]), {}),
    ],
)  # fmt: skip
def test_nothing_to_tell(sentence, body, namespace):
    assert warnings(body, **namespace) == []


def test_the_namespace_states_the_home():
    snapshot = inventory(home_and_project(**{names.HOME_ANNOTATION: "/home/ci"}), DEFINITIONS)
    decision = granted(pod_body("home", containers=[container(**CI)]), snapshot)
    assert '"/home/ci/.npmrc"' in decision.injection.resolution
    relative = inventory(home_and_project(**{names.HOME_ANNOTATION: "home/ci"}), DEFINITIONS)
    refused = denied(pod_body("home"), relative)
    assert refused.reason is Reason.INVALID_ANNOTATION
    assert "namespace's" in refused.message


def test_folder_that_may_belong_to_root_is_told_to_another_user():
    body = pod_body("maven", annotations=HOME, containers=[container(**CI)])
    message = one(warnings(body), Reason.FOLDER_NOT_WRITABLE)
    assert "'/home/ci/.m2'" in message
    assert "'/work/dir'" in message
    assert "/etc/app" not in message
    assert "`env` and no `path`" in message
    assert warnings(pod_body("maven", annotations=HOME, containers=[container(**ROOT)])) == []


def test_mounted_folder_exists():
    mounts = [{"name": "w", "mountPath": "/work/dir"}, {"name": "w", "mountPath": "/home/ci/.m2/"}]
    job = container(**CI, volumeMounts=mounts)
    assert (
        warnings(pod_body("maven", annotations=HOME, containers=[job], volumes=[{"name": "w", "emptyDir": {}}])) == []
    )


def test_fs_group_that_opens_a_private_file_of_root_is_a_warning():
    body = pod_body("private", containers=[container(**ROOT)], securityContext={"fsGroup": 7})
    message = one(warnings(body), Reason.UNREADABLE_FILE)
    assert "fsGroup 7" in message
    assert "'/etc/private'" in message
    assert warnings(pod_body("private", containers=[container(**CI)], securityContext={"fsGroup": 7})) == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("scopedsecrets.dev/secret", names.SECRETS_ANNOTATION),
        ("scopedsecrets.dev/Secrets", names.SECRETS_ANNOTATION),
        ("scopedsecrets.dev/run_as_user", names.RUN_AS_USER_ANNOTATION),
        ("scopedsecrets.dev/inject", "is a label"),
        ("scopedsecrets.dev/0123456789-and-more-that-is-far-from-each", "remove it"),
    ],
)
def test_unknown_annotation_is_told_with_the_nearest_known_one(name, remedy):
    message = one(warnings(pod_body("env", annotations={name: "x"})), Reason.UNKNOWN_ANNOTATION)
    assert name in message
    assert remedy in message


def test_unknown_label_is_told():
    body = pod_body("env")
    body["metadata"]["labels"]["scopedsecrets.dev/secrets"] = "aws"
    message = one(warnings(body), Reason.UNKNOWN_ANNOTATION)
    assert f"annotation {names.SECRETS_ANNOTATION}" in message


def test_foreign_names_are_none_of_our_business():
    body = pod_body("env", annotations={"scopedsecrets.dev.example.org/x": "y", "example.org/secrets": "z"})
    assert warnings(body) == []


def test_known_annotations_are_not_told():
    annotations = dict.fromkeys(names.POD_ANNOTATIONS, "false") | {
        names.SECRETS_ANNOTATION: "env",
        names.CONTAINERS_ANNOTATION: "job",
        names.HOME_ANNOTATION: "/x",
        names.RUN_AS_USER_ANNOTATION: "0",
        names.KEY_CONFLICT_ANNOTATION: "LastWins",
    }
    del annotations[names.ENVIRONMENT_ANNOTATION]
    assert warnings(pod_body(annotations=annotations)) == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"configMapRef": {"name": "settings"}}, ["ConfigMap 'settings'", "'FILE', 'KEY', 'TOKEN'"]),
        ({"secretRef": {"name": "old"}}, ["Secret 'old'"]),
        ({"prefix": "TO", "secretRef": {"name": "old"}}, ["('TOKEN')"]),
        ({"prefix": "X_", "secretRef": {"name": "old"}}, None),
    ],
)
def test_env_from_whose_variables_may_be_overridden_is_told(source, told):
    found = warnings(pod_body("env", containers=[container(envFrom=[source])]))
    if told is None:
        assert found == []
    else:
        message = one(found, Reason.VARIABLE_OVERRIDDEN)
        assert all(text in message for text in told), message


UNEXPANDED: list[tuple[str, dict[str, Any]]] = [
    ("livenessProbe/exec/command/0", {"livenessProbe": {"exec": {"command": ["${secrets.env.KEY}"]}}}),
    ("readinessProbe/httpGet/httpHeaders/0/value", {
        "readinessProbe": {"httpGet": {"httpHeaders": [{"name": "a", "value": "Bearer ${secrets.env.KEY}"}]}}}),
    ("startupProbe/httpGet/path", {"startupProbe": {"httpGet": {"path": "/${secrets.env.KEY}"}}}),
    ("lifecycle/postStart/exec/command/1", {"lifecycle": {"postStart": {"exec": {"command": [
        "sh", "${secrets.env.KEY}"]}}}}),
    ("workingDir", {"workingDir": "/${secrets.env.KEY}"}),
    ("image", {"image": "${secrets.env.KEY}"}),
    ("volumeMounts/0/subPathExpr", {"volumeMounts": [
        {"name": "x", "mountPath": "/x", "subPathExpr": "${secrets.env.KEY}"}]}),
    ("envFrom/0/prefix", {"envFrom": [{"prefix": "${secrets.env.KEY}", "configMapRef": {"name": "x"}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("pointer", "fields"), UNEXPANDED)
@pytest.mark.parametrize("field", ["containers", "initContainers"])
def test_expression_that_would_reach_the_job_as_text_is_denied(pointer, fields, field):
    body = pod_body("env", containers=[container("main")])
    body["spec"][field] = [container(**fields)]
    refused = denied(body, inventory(home_and_project(), DEFINITIONS))
    assert refused.reason is Reason.INVALID_REFERENCE
    assert f"/spec/{field}/0/{pointer}" in refused.message
    assert "`env`" in refused.message


def test_expression_elsewhere_in_the_spec_is_denied():
    body = pod_body("env", hostname="${secrets.env.KEY}")
    assert "/spec/hostname" in denied(body, inventory(home_and_project(), DEFINITIONS)).message
