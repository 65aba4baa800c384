"""Watches of the real API server through kopf: they report, survive, end when told, and leave no trace."""

from __future__ import annotations

import asyncio
import contextlib
import pwd
import threading
from typing import TYPE_CHECKING, Any

import kopf
import pytest
from tests.kube.conftest import apply, eventually, scoped_secret
from tests.kube.fake import FakeServer

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.watches import PODS, WatchSupervisor, watch, watch_inventory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster as TestCluster
    from tests.cluster.control_plane import ControlPlane
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

PROJECT = {"scopedsecrets.dev/organization": "acme", "scopedsecrets.dev/project": "web"}


@contextlib.asynccontextmanager
async def running(supervisor: WatchSupervisor) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


def feed_of(cluster: Cluster, installed: TestCluster, **options: Any) -> tuple[Informer, WatchSupervisor]:
    informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
    registry = kopf.OperatorRegistry()
    watch_inventory(registry, asyncio.get_running_loop(), informer)
    supervisor = WatchSupervisor(
        registry, lambda: informer.relist(cluster), kubeconfig=str(installed.kubeconfig), **options
    )
    return informer, supervisor


def pods_seen(supervisor: WatchSupervisor, namespace: str) -> list[str]:
    """Watch pods too, and return a list that the names of a namespace's pods are added to."""
    seen: list[str] = []

    def note(_: str | None, body: dict[str, Any]) -> None:
        if body["metadata"]["namespace"] == namespace:
            seen.append(body["metadata"]["name"])

    watch(supervisor._registry, asyncio.get_running_loop(), PODS, note)
    return seen


def run_pod(installed: TestCluster, namespace: str, name: str, *, labelled: bool = False) -> None:
    label = ["-l", "scopedsecrets.dev/inject=true"] if labelled else []
    installed.kubectl("run", name, "-n", namespace, "--image=none", "--restart=Never", *label)


def labels_of(informer: Informer, location: str) -> object:
    entry = informer.inventory.get(location)
    return None if entry is None else entry.definition.labels


async def test_changes_in_the_cluster_reach_the_inventory(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    before = namespace(labels=PROJECT)
    apply(installed, scoped_secret(before, "aws"))
    informer, supervisor = feed_of(cluster, installed)

    async with running(supervisor):
        await eventually(lambda: informer.is_complete and supervisor.is_watching)
        assert informer.inventory.get(f"{before}/aws") is not None
        later = namespace(labels=PROJECT)
        apply(installed, scoped_secret(later, "gcp"))
        await eventually(lambda: informer.inventory.get(f"{later}/gcp") is not None)
        assert informer.inventory.binding(later) == Binding(later, "acme", "web")
        installed.kubectl("delete", "scopedsecret", "gcp", "-n", later)
        await eventually(lambda: informer.inventory.get(f"{later}/gcp") is None)

    assert not [thread for thread in threading.enumerate() if thread.name == "kopf"]


async def test_watches_run_for_a_user_without_a_name(
    installed: TestCluster,
    cluster: Cluster,
    namespace: NamespaceFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """In a container the user is a number, of which the container's list of users knows nothing."""

    def unknown(user: int) -> object:
        raise KeyError(user)

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    informer, supervisor = feed_of(cluster, installed)

    async with running(supervisor):
        await eventually(lambda: informer.is_complete and supervisor.is_watching)
        later = namespace(labels=PROJECT)
        await eventually(lambda: informer.inventory.binding(later) == Binding(later, "acme", "web"))

    # The lists before each new start would have told of the namespace, too.
    assert "the watches ended" not in caplog.text


async def test_watching_writes_nothing_to_the_objects(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    run_pod(installed, name, "job", labelled=True)
    informer, supervisor = feed_of(cluster, installed)
    seen = pods_seen(supervisor, name)

    async with running(supervisor):
        await eventually(lambda: informer.inventory.get(f"{name}/aws") is not None and seen)
        installed.kubectl("label", "scopedsecret", "aws", "-n", name, "tier=changed")
        await eventually(lambda: labels_of(informer, f"{name}/aws") == {"tier": "changed"})

    stored = installed.get("scopedsecret", "aws", "-n", name, "--show-managed-fields")
    assert set(stored["metadata"]["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "finalizers" not in stored["metadata"]
    writers = {entry["manager"] for entry in stored["metadata"]["managedFields"]}
    assert writers == {"kubectl-client-side-apply", "kubectl-label"}
    pod = installed.get("pod", "job", "-n", name, "--show-managed-fields")
    assert {entry["manager"] for entry in pod["metadata"]["managedFields"]} == {"kubectl-run"}
    assert installed.get("events", "-n", name)["items"] == []


async def test_only_pods_with_the_label_are_watched(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    run_pod(installed, name, "plain")
    run_pod(installed, name, "ours", labelled=True)
    _, supervisor = feed_of(cluster, installed, label_selectors={PODS: "scopedsecrets.dev/inject=true"})
    seen = pods_seen(supervisor, name)

    async with running(supervisor):
        await eventually(lambda: "ours" in seen)
        run_pod(installed, name, "other")
        run_pod(installed, name, "later", labelled=True)
        await eventually(lambda: "later" in seen)

    assert set(seen) == {"ours", "later"}


async def test_the_watches_go_on_after_the_api_server_was_away(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "before"))
    informer, supervisor = feed_of(cluster, installed)

    async with running(supervisor):
        await eventually(lambda: informer.inventory.get(f"{name}/before") is not None and supervisor.is_watching)
        await asyncio.to_thread(own_control_plane.restart_api_server)
        await asyncio.to_thread(apply, installed, scoped_secret(name, "after"))
        await eventually(lambda: informer.inventory.get(f"{name}/after") is not None)

        assert informer.is_complete


async def test_an_error_in_a_watch_restarts_the_watches_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "canary-7f3a"}
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.frames.append({"type": "ERROR", "object": status})
        informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
        registry = kopf.OperatorRegistry()
        watch_inventory(registry, asyncio.get_running_loop(), informer)
        supervisor = WatchSupervisor(registry, lambda: informer.relist(cluster), kubeconfig=server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: supervisor.restarts == 1)
            await eventually(lambda: sum("scopedsecrets?watch" in request for request in server.requests) == 2)
            assert informer.is_complete

    ours = [record for record in caplog.records if record.name.startswith("scoped_secrets")]
    assert [record.getMessage() for record in ours] == ["the watches ended"]
    assert "canary-7f3a" not in str([vars(record) for record in ours])
    assert not [request for request in server.requests if not request.startswith("GET ")]


async def test_watches_that_find_a_resource_missing_are_started_again_until_it_is_there(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
        registry = kopf.OperatorRegistry()
        watch_inventory(registry, asyncio.get_running_loop(), informer)
        supervisor = WatchSupervisor(registry, lambda: informer.relist(cluster), kubeconfig=server.kubeconfig(tmp_path))
        # An API server that has just started knows the CRDs a little later.
        server.will_answer(200, {"resources": []}, path="/apis/scopedsecrets.dev/v1alpha1")
        async with running(supervisor):
            await eventually(lambda: any("scopedsecrets?watch" in request for request in server.requests))

    assert supervisor.restarts == 1


async def test_after_a_start_of_the_watches_the_gap_before_them_is_closed(installed: TestCluster, cluster: Cluster):
    informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
    registry = kopf.OperatorRegistry()
    watch_inventory(registry, asyncio.get_running_loop(), informer)
    lists: list[bool] = []

    async def repair() -> None:
        lists.append(supervisor.is_watching)
        await informer.relist(cluster)

    supervisor = WatchSupervisor(registry, repair, kubeconfig=str(installed.kubeconfig), settle_seconds=0.2)

    async with running(supervisor):
        await eventually(lambda: len(lists) == 2)

    assert lists == [False, True]


async def test_a_supervisor_that_cannot_reach_the_cluster_ends_when_told(installed: TestCluster, tmp_path: Path):
    config = installed.kubectl("config", "view", "--raw").stdout.replace(installed.server, "https://127.0.0.1:1")
    path = tmp_path / "kubeconfig"
    path.write_text(config)
    async with await Cluster.connect(str(path)) as cluster:
        informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
        attempts: list[int] = []

        async def repair() -> None:
            attempts.append(1)
            await informer.relist(cluster)

        supervisor = WatchSupervisor(kopf.OperatorRegistry(), repair, kubeconfig=str(path))
        async with running(supervisor):
            await eventually(lambda: len(attempts) == 3)

    assert not informer.is_complete
    assert not supervisor.is_watching
