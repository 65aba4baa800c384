"""The control plane starts, answers to several users, and survives a restart of its API server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.errors import CommandError

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.control_plane import ControlPlane
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration


def test_the_api_server_is_ready_and_of_the_pinned_version(control_plane: Cluster):
    version = json.loads(control_plane.kubectl("version", "-o", "json").stdout)

    assert version["serverVersion"]["gitVersion"].startswith("v1.")
    assert control_plane.kubectl("get", "--raw", "/readyz").stdout == "ok"


@pytest.mark.parametrize(
    "arguments",
    [
        ("configmaps", "-n", "{namespace}"),
        ("configmap", "one", "-n", "{namespace}", "--show-managed-fields"),
        ("cm", "one", "-n", "{namespace}"),
        ("configmaps", "-n", "{namespace}", "-l", "kept=yes"),
        ("configmaps", "-A", "--field-selector=metadata.name=one"),
        ("events", "-n", "{namespace}"),
        ("clusterroles.rbac.authorization.k8s.io", "view"),
        ("namespace", "{namespace}"),
    ],
)
def test_objects_are_read_as_kubectl_prints_them(
    arguments: tuple[str, ...], control_plane: Cluster, namespace: NamespaceFactory
):
    name = namespace("read")
    control_plane.kubectl("create", "configmap", "one", "-n", name, "--from-literal=a=b")
    control_plane.kubectl("label", "configmap", "one", "-n", name, "kept=yes")
    given = [argument.replace("{namespace}", name) for argument in arguments]

    printed = json.loads(control_plane.kubectl("get", *given, "-o", "json").stdout)

    assert control_plane.get(*given) == printed


def test_what_kubectl_refuses_is_refused_in_its_words(control_plane: Cluster, namespace: NamespaceFactory):
    name = namespace("refused")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Wrong", "namespace": name}}
    create = ("create", "--dry-run=server", "-f", "-")

    printed = control_plane.kubectl(*create, input=json.dumps(body), check=False).stderr
    refusal = control_plane.refusal(body)
    body["metadata"] = {"name": "right", "namespace": name}

    assert refusal.partition(": ")[2] in printed
    assert "Wrong" in refusal
    assert control_plane.refusal(body) == ""
    assert "right" not in [item["metadata"]["name"] for item in control_plane.get("configmaps", "-n", name)["items"]]
    with pytest.raises(CommandError, match=r'Error from server \(NotFound\): configmaps "right" not found'):
        control_plane.get("configmap", "right", "-n", name)


def test_a_new_namespace_can_take_pods_at_once(control_plane: Cluster, namespace: NamespaceFactory):
    name = namespace("pods", labels={"team": "web"}, annotations={"note": "a sentence"})

    stored = control_plane.get("namespace", name)
    assert stored["metadata"]["labels"]["team"] == "web"
    assert stored["metadata"]["annotations"]["note"] == "a sentence"
    run = ("run", "idle", "-n", name, "--image=none", "--restart=Never")
    assert control_plane.kubectl(*run).returncode == 0


def test_objects_survive_a_restart_of_the_api_server(own_control_plane: ControlPlane, namespace: NamespaceFactory):
    name = namespace()
    own_control_plane.kubectl("create", "configmap", "kept", "-n", name, "--from-literal=a=b")

    own_control_plane.stop_api_server()
    refused = own_control_plane.kubectl("get", "configmaps", "-n", name, check=False)
    own_control_plane.start_api_server()

    assert refused.returncode != 0
    assert own_control_plane.get("configmap", "kept", "-n", name)["data"] == {"a": "b"}


def test_a_kubeconfig_for_a_user_is_that_user_in_those_groups(control_plane: Cluster):
    kubeconfig = control_plane.kubeconfig_for("alice", ["developers"])

    asked = ("auth", "whoami", "-o", "json", f"--kubeconfig={kubeconfig}")
    user = json.loads(control_plane.kubectl(*asked).stdout)["status"]["userInfo"]

    assert user["username"] == "alice"
    assert sorted(user["groups"]) == ["developers", "system:authenticated"]
    with pytest.raises(CommandError, match='User "alice" cannot list resource "secrets"'):
        control_plane.kubectl("get", "secrets", "-A", f"--kubeconfig={kubeconfig}")


def test_command_can_impersonate_a_user(control_plane: Cluster):
    result = control_plane.kubectl("auth", "can-i", "create", "pods", user="bob", groups=["developers"], check=False)

    assert result.stdout.strip() == "no"


def test_a_kubeconfig_for_a_service_account_has_its_token(control_plane: Cluster, namespace: NamespaceFactory):
    name = namespace()
    kubeconfig = control_plane.service_account_kubeconfig(name, "default")

    asked = ("auth", "whoami", "-o", "json", f"--kubeconfig={kubeconfig}")
    user = json.loads(control_plane.kubectl(*asked).stdout)["status"]["userInfo"]

    assert user["username"] == f"system:serviceaccount:{name}:default"


def test_the_revision_grows_with_a_write(control_plane: Cluster, namespace: NamespaceFactory):
    name = namespace()
    before = control_plane.etcd_revision()

    control_plane.kubectl("create", "configmap", "one", "-n", name)

    assert control_plane.etcd_revision() > before


def test_the_audit_log_names_who_wrote_what(own_control_plane: ControlPlane, namespace: NamespaceFactory):
    name = namespace()
    own_control_plane.kubectl("create", "configmap", "audited", "-n", name)

    writes = [
        entry
        for entry in own_control_plane.audit_entries()
        if entry["verb"] == "create" and entry["objectRef"].get("name") == "audited"
    ]

    assert [entry["user"]["username"] for entry in writes] == ["administrator"]


def test_kubectl_reads_nothing_from_the_home_folder(control_plane: Cluster, tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("not: a kubeconfig\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    view = json.loads(control_plane.kubectl("config", "view", "-o", "json").stdout)

    assert [cluster["cluster"]["server"] for cluster in view["clusters"]] == [control_plane.server]
