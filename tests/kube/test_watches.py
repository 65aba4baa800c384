"""Watches of a real API server through kopf: they report, survive failures, end when told, and write nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import pwd
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.kube.conftest import apply, eventually, scoped_secret
from tests.kube.fake import FakeServer
from tests.support.fault_proxy import FaultProxy

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.errors import UnavailableError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.resources import PODS
from scoped_secrets.kube.watch_handlers import WatchHandler
from scoped_secrets.kube.watches import WatchSupervisor, _Handover

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


def new_informer() -> Informer:
    return Informer(Inventory(), default_organization="default", keep_sealed=True)


def supervised(
    cluster: Cluster, kubeconfig: str, *handlers: WatchHandler, **options: Any
) -> tuple[Informer, WatchSupervisor]:
    """Return an informer, and a supervisor of its watches and of further ones."""
    informer = new_informer()
    supervisor = WatchSupervisor(
        [*informer.watch_handlers(), *handlers], lambda: informer.relist(cluster), kubeconfig=kubeconfig, **options
    )
    return informer, supervisor


def pod_handler(namespace: str, label_selector: str = "") -> tuple[list[str], WatchHandler]:
    """Return a list, and a handler that adds the names of a namespace's pods to it."""
    seen: list[str] = []

    def note(_: str | None, body: dict[str, Any]) -> None:
        if body["metadata"]["namespace"] == namespace:
            seen.append(body["metadata"]["name"])

    return seen, WatchHandler(PODS, note, label_selector)


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
    informer, supervisor = supervised(cluster, str(installed.kubeconfig))

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


async def test_the_watches_run_for_a_user_without_a_name(
    installed: TestCluster,
    cluster: Cluster,
    namespace: NamespaceFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """In a container the user is a number without an entry in /etc/passwd."""

    def unknown(user: int) -> object:
        raise KeyError(user)

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    informer, supervisor = supervised(cluster, str(installed.kubeconfig))

    async with running(supervisor):
        await eventually(lambda: informer.is_complete and supervisor.is_watching)
        later = namespace(labels=PROJECT)
        await eventually(lambda: informer.inventory.binding(later) == Binding(later, "acme", "web"))

    # A list after a restart would have found the namespace, too.
    assert "the watches ended" not in caplog.text


async def test_watching_writes_nothing_to_the_objects(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    run_pod(installed, name, "job", labelled=True)
    seen, handler = pod_handler(name)
    informer, supervisor = supervised(cluster, str(installed.kubeconfig), handler)

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


async def test_a_label_selector_limits_the_watch(installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    run_pod(installed, name, "plain")
    run_pod(installed, name, "ours", labelled=True)
    seen, handler = pod_handler(name, "scopedsecrets.dev/inject=true")
    _, supervisor = supervised(cluster, str(installed.kubeconfig), handler)

    async with running(supervisor):
        await eventually(lambda: "ours" in seen)
        run_pod(installed, name, "other")
        run_pod(installed, name, "later", labelled=True)
        await eventually(lambda: "later" in seen)

    assert set(seen) == {"ours", "later"}


async def test_the_watches_continue_after_an_outage_of_the_api_server(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "before"))
    informer, supervisor = supervised(cluster, str(installed.kubeconfig))

    async with running(supervisor):
        await eventually(lambda: informer.inventory.get(f"{name}/before") is not None and supervisor.is_watching)
        await asyncio.to_thread(own_control_plane.restart_api_server)
        await asyncio.to_thread(apply, installed, scoped_secret(name, "after"))
        await eventually(lambda: informer.inventory.get(f"{name}/after") is not None)

        assert informer.is_complete


async def test_an_error_in_a_watch_restarts_the_watches_only(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "canary-7f3a"}
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.frames.append({"type": "ERROR", "object": status})
        informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: supervisor.restarts == 1)
            await eventually(lambda: sum("scopedsecrets?watch" in request for request in server.requests) == 2)
            assert informer.is_complete

    ours = [record for record in caplog.records if record.name.startswith("scoped_secrets")]
    assert [record.getMessage() for record in ours] == ["the watches ended"]
    assert "canary-7f3a" not in str([vars(record) for record in ours])
    assert not [request for request in server.requests if not request.startswith("GET ")]


@pytest.mark.parametrize("silent", ["namespaces", "secretpolicies"])
async def test_a_watch_that_waits_for_an_answer_does_not_outlive_one_that_failed(tmp_path: Path, silent: str):
    status = {"kind": "Status", "code": 500, "reason": "InternalError"}
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.silent = silent
        server.frames.append({"type": "ERROR", "object": status})
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: supervisor.restarts == 1, seconds=20)


async def test_the_watches_restart_until_the_api_server_serves_all_resources(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))
        # An API server that has just started serves the custom resources a little later.
        server.will_answer(200, {"resources": []}, path="/apis/scopedsecrets.dev/v1alpha1")
        async with running(supervisor):
            await eventually(lambda: any("scopedsecrets?watch" in request for request in server.requests))

    assert supervisor.restarts == 1


async def test_a_change_between_the_list_and_the_start_of_the_watches_is_reported(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "before"))
    informer = new_informer()
    await informer.relist(cluster)
    installed.kubectl("delete", "scopedsecret", "before", "-n", name)
    apply(installed, scoped_secret(name, "after"))

    async def no_list() -> None:
        """The list has ended: without another one, only the watches can tell of the changes."""

    supervisor = WatchSupervisor(informer.watch_handlers(), no_list, kubeconfig=str(installed.kubeconfig))
    async with running(supervisor):
        await eventually(lambda: informer.inventory.get(f"{name}/after") is not None)

    assert informer.inventory.get(f"{name}/before") is None


async def test_kopf_lists_nothing_and_each_watch_begins_at_the_version_of_the_list(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: sum("?watch" in request for request in server.requests) == 3)

    kinds = ["namespaces", "scopedsecrets", "secretpolicies"]
    assert [sum(each == "list" for each, _ in asked(server, kind)) for kind in kinds] == [1, 1, 1]
    assert [asked(server, kind)[-1] for kind in kinds] == [("watch", "7")] * 3


def asked(server: FakeServer, plural: str) -> list[tuple[str, str]]:
    """Return the lists and watches of a resource, each with the version at which it begins."""
    urls = [urlsplit(request.removeprefix("GET ")) for request in server.requests]
    queries = [dict(parse_qsl(url.query)) for url in urls if url.path.endswith(f"/{plural}") and url.query]
    return [("watch" if "watch" in query else "list", query.get("resourceVersion", "")) for query in queries]


async def test_a_watch_whose_version_has_expired_begins_at_a_new_list_of_everything(tmp_path: Path):
    expired = {"kind": "Status", "code": 410, "reason": "Expired"}
    first, later = ({"metadata": {"resourceVersion": version}, "items": []} for version in ("7", "9"))
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))

        def kinds_of(plural: str) -> list[str]:
            return [kind for kind, _ in asked(server, plural)]

        server.frames.append({"type": "ERROR", "object": expired})
        # The second list fails, and a watch must not begin without one.
        for status, body in ((200, first), (503, {}), (200, later)):
            server.will_answer(status, body, path="/scopedsecrets")
        async with running(supervisor):
            await eventually(lambda: asked(server, "scopedsecrets")[-1:] == [("watch", "9")])
            await eventually(lambda: "watch" in kinds_of("namespaces"))
            assert supervisor.restarts == 0

    assert kinds_of("scopedsecrets") == ["list", "watch", "list", "list", "watch"]
    # Its only watch, which goes on, may begin before or after the other lists.
    assert sorted(kinds_of("namespaces")) == ["list", "list", "list", "watch"]


async def test_connections_that_are_cut_many_times_end_no_watch_and_lose_no_change(
    own_control_plane: ControlPlane, installed: TestCluster, namespace: NamespaceFactory, tmp_path: Path
):
    created: list[str] = []
    with FaultProxy(own_control_plane.server, own_control_plane.certificate_authority) as proxy:
        kubeconfig = str(proxy.kubeconfig(installed.kubeconfig, tmp_path / "kubeconfig"))
        async with await Cluster.connect(kubeconfig) as cluster:
            informer, supervisor = supervised(cluster, kubeconfig)
            async with running(supervisor):
                await eventually(lambda: supervisor.is_watching)
                for _ in range(5):
                    # Before a watch has reported anything, and right after it has begun again.
                    for _ in range(4):
                        proxy.cut()
                        await asyncio.sleep(0.15)
                    created.append(await asyncio.to_thread(namespace, labels=PROJECT))
                    await eventually(lambda: informer.inventory.binding(created[-1]) is not None, seconds=5)

    assert supervisor.restarts == 0


async def test_the_watches_start_again_when_the_versions_of_the_api_server_went_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path), resync_seconds=0.5)
        async with running(supervisor):
            await eventually(lambda: asked(server, "namespaces")[-1:] == [("watch", "7")])
            server.version = "5"
            await eventually(lambda: asked(server, "namespaces")[-1] == ("watch", "5"))

    assert supervisor.restarts == 1
    assert "the watches ended" in caplog.text


async def test_a_list_precedes_every_start_of_the_watches(tmp_path: Path):
    status = {"kind": "Status", "code": 500, "reason": "InternalError"}
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.frames.append({"type": "ERROR", "object": status})
        informer = new_informer()
        lists: list[bool] = []

        async def relist() -> None:
            lists.append(supervisor.is_watching)
            await informer.relist(cluster)

        supervisor = WatchSupervisor(informer.watch_handlers(), relist, kubeconfig=server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: supervisor.restarts == 1 and supervisor.is_watching)

    assert lists == [False, False]


async def test_many_events_at_once_keep_their_order_and_let_other_work_run():
    loop, seen, turns = asyncio.get_running_loop(), [], []
    handover = _Handover(loop)

    def note(_: str | None, body: dict[str, Any]) -> None:
        seen.append(body["number"])

    def put() -> None:
        for number in range(1000):
            handover.put(note, "ADDED", {"number": number})

    thread = threading.Thread(target=put)
    thread.start()
    while len(seen) < 1000:
        turns.append(len(seen))
        await asyncio.sleep(0)
    thread.join()

    assert seen == list(range(1000))
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 100


async def test_a_handler_that_fails_does_not_keep_later_events_back():
    handover, seen = _Handover(asyncio.get_running_loop()), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(type(context["exception"])))

    def handle(event_type: str | None, body: dict[str, Any]) -> None:
        seen.append(body[event_type or ""])

    handover.put(handle, "missing", {})
    handover.put(handle, "ADDED", {"ADDED": "later"})
    await eventually(lambda: len(seen) == 2)

    assert seen == [KeyError, "later"]


async def test_full_collections_skip_what_the_first_list_has_left(tmp_path: Path):
    gc.unfreeze()
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        _informer, supervisor = supervised(cluster, server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: supervisor.is_watching)
            assert gc.get_freeze_count() > 0
            assert gc.isenabled()

    gc.unfreeze()


async def test_a_failed_first_list_leaves_the_collector_on(tmp_path: Path):
    async with FakeServer() as server:
        attempts: list[bool] = []

        async def relist() -> None:
            attempts.append(gc.isenabled())
            raise UnavailableError("no answer")

        supervisor = WatchSupervisor([], relist, kubeconfig=server.kubeconfig(tmp_path))
        async with running(supervisor):
            await eventually(lambda: len(attempts) == 2 and gc.isenabled())

    assert attempts == [False, False]
    assert gc.isenabled()


async def test_a_supervisor_without_an_api_server_ends_when_told(installed: TestCluster, tmp_path: Path):
    config = installed.kubectl("config", "view", "--raw").stdout.replace(installed.server, "https://127.0.0.1:1")
    path = tmp_path / "kubeconfig"
    path.write_text(config)
    async with await Cluster.connect(str(path)) as cluster:
        informer = new_informer()
        attempts: list[int] = []

        async def relist() -> None:
            attempts.append(1)
            await informer.relist(cluster)

        supervisor = WatchSupervisor([], relist, kubeconfig=str(path))
        async with running(supervisor):
            await eventually(lambda: len(attempts) == 3)

    assert not informer.is_complete
    assert not supervisor.is_watching
