"""Which cluster and which programs are used, and that a person's own cluster is never chosen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cluster import node_tools
from tests.cluster.assets import Assets, existing_kubeconfig, find_assets, helm_binary
from tests.cluster.cluster import ExistingCluster
from tests.cluster.control_plane import ControlPlane, open_cluster
from tests.cluster.errors import AssetsError, NodeUnavailableError, NotOurClusterError
from tests.cluster.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def existing(own_control_plane: ControlPlane) -> Iterator[ExistingCluster]:
    environment = {
        "USE_EXISTING_CLUSTER": "true",
        "KUBECONFIG": str(own_control_plane.kubeconfig),
        "KUBEBUILDER_ASSETS": str(own_control_plane.assets.folder),
    }
    with open_cluster(environment) as cluster:
        assert isinstance(cluster, ExistingCluster)
        yield cluster


def test_existing_cluster_needs_an_explicit_choice(tmp_path: Path):
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()

    assert existing_kubeconfig({"KUBECONFIG": str(kubeconfig)}) is None
    asked = {"KUBECONFIG": str(kubeconfig), "USE_EXISTING_CLUSTER": "true"}
    assert existing_kubeconfig(asked) == kubeconfig


def test_existing_cluster_never_comes_from_the_home_folder(tmp_path: Path):
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()

    with pytest.raises(AssetsError, match="KUBECONFIG names no file"):
        existing_kubeconfig({"HOME": str(tmp_path), "USE_EXISTING_CLUSTER": "true"})


def test_named_assets_without_a_required_program_are_rejected(tmp_path: Path):
    (tmp_path / "etcd").touch()

    with pytest.raises(AssetsError, match="has no kube-apiserver"):
        find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})


def fake_helm(folder: Path, version: str) -> Path:
    program = folder / "helm"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return program


def test_named_helm_takes_precedence_over_path(tmp_path: Path):
    named, found = fake_helm(tmp_path / "named", "v4.1.4"), fake_helm(tmp_path / "found", "v4.2.0")

    assert helm_binary({"HELM_BINARY": str(named), "PATH": f"{found.parent}:/bin"}) == named
    assert helm_binary({"PATH": f"{found.parent}:/bin"}) == found


@pytest.mark.parametrize("version", ["v3.19.0", "unknown"])
def test_named_helm_of_another_version_is_rejected(tmp_path: Path, version: str):
    with pytest.raises(AssetsError, match="HELM_BINARY names no helm of version 4"):
        helm_binary({"HELM_BINARY": str(fake_helm(tmp_path, version)), "PATH": "/bin"})


def test_missing_named_helm_is_rejected(tmp_path: Path):
    with pytest.raises(AssetsError, match="HELM_BINARY names no helm of version 4"):
        helm_binary({"HELM_BINARY": str(tmp_path / "helm"), "PATH": "/bin"})


@pytest.mark.integration
def test_existing_cluster_serves_namespaces_and_users(existing: ExistingCluster):
    name = existing.create_namespace("of-existing")
    kubeconfig = existing.kubeconfig_for("alice", ["developers"])
    asked = ("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")

    assert existing.get("namespace", name)["status"]["phase"] == "Active"
    assert existing.kubectl(*asked, f"--kubeconfig={kubeconfig}").stdout == "alice"
    existing.delete_namespace(name)


@pytest.mark.integration
def test_an_existing_cluster_is_not_stopped(existing: ExistingCluster, own_control_plane: ControlPlane):
    with pytest.raises(NotOurClusterError):
        existing.restart_api_server()

    existing.close()

    assert own_control_plane.kubectl("get", "--raw", "/readyz").stdout == "ok"


@pytest.mark.integration
def test_an_existing_cluster_gets_no_node(existing: ExistingCluster):
    with pytest.raises(NodeUnavailableError, match="unset USE_EXISTING_CLUSTER"):
        Node.start(existing)


@pytest.mark.integration
def test_envtest_assets_are_sufficient(own_control_plane: ControlPlane, tmp_path: Path):
    for program in ("etcd", "kube-apiserver", "kubectl"):
        (tmp_path / program).symlink_to(own_control_plane.assets.program(program))

    with ControlPlane.start(Assets(tmp_path)) as control_plane:
        name = control_plane.create_namespace("without-controllers")

        assert control_plane.get("serviceaccount", "default", "-n", name)
        assert sorted(control_plane.logs()) == ["etcd", "kube-apiserver"]
        with pytest.raises(NodeUnavailableError, match="has no kubelet"):
            Node.start(control_plane)


def test_offline_node_names_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(node_tools, "SYSTEM_FOLDERS", "")
    monkeypatch.setattr(node_tools, "PLUGIN_FOLDERS", ())
    for program in node_tools.REQUIRED_PROGRAMS:
        (tmp_path / program).touch(0o755)
    environment = {
        "PATH": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "SCOPED_SECRETS_INSTALL": "never",
    }

    with pytest.raises(NodeUnavailableError, match=r"containerd .* runc: install them") as told:
        node_tools.find_node_tools(environment)

    assert "\n" not in str(told.value)
    assert not (tmp_path / "cache").exists()


def test_node_without_root_states_the_requirement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(NodeUnavailableError, match="job pods need root"):
        node_tools.find_node_tools({})
