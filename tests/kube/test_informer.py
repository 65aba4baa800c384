"""The inventory is what the cluster has, on a real API server."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.api.support import sealed
from tests.kube.conftest import apply, scoped_secret, secret_policy

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import SealedSource
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube import paths
from scoped_secrets.kube.informer import Changes, Informer, Kind
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.cluster.control_plane import ControlPlane
    from tests.conftest import NamespaceFactory

    from scoped_secrets.kube.client import Cluster

PROJECT = {"scopedsecrets.dev/organization": "acme", "scopedsecrets.dev/project": "web"}


class World:
    """A feed with a clock that tests set, and what it told."""

    def __init__(self, **options: Any) -> None:
        self.time = 100.0
        self.told: list[Changes] = []
        self.informer = Informer(
            Inventory(),
            default_organization="default",
            keep_sealed=True,
            clock=lambda: self.time,
            on_change=self.told.append,
            **options,
        )

    def concerned(self) -> set[str]:
        return {location for changes in self.told for location in changes.definitions}


def stored(kind: str, version: int, name: str = "aws", **spec: Any) -> dict[str, Any]:
    """Return a ScopedSecret or SecretPolicy as a watch brings it."""
    body = scoped_secret("web", name, **spec) if kind == "ScopedSecret" else secret_policy("web", name) | spec
    body["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version), "generation": version}
    return body


def namespace_body(version: int, labels: dict[str, str] = PROJECT) -> dict[str, Any]:
    return {"metadata": {"name": "web", "uid": "1", "resourceVersion": str(version), "labels": labels}}


@pytest.mark.integration
async def test_the_first_list_finds_everything_and_tells_what_it_found(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"), secret_policy(name, "closed"))
    world = World()
    assert not world.informer.is_complete
    assert world.informer.staleness() == float("inf")

    await world.informer.relist(cluster)

    inventory = world.informer.inventory
    assert world.informer.is_complete
    assert world.informer.staleness() == 0.0
    assert inventory.binding(name) == Binding(name, "acme", "web")
    assert f"{name}/aws" in inventory.locations()
    assert [policy.location for policy in inventory.namespace_policies(name)] == [f"{name}/closed"]
    assert f"{name}/aws" in world.concerned()
    assert any(f"{name}/closed" in changes.policies for changes in world.told)
    assert world.informer.cluster_id == installed.get("namespace", "kube-system")["metadata"]["uid"]


@pytest.mark.integration
async def test_what_was_deleted_while_nobody_watched_is_dropped_by_the_next_list(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    # A project of its own: definitions of other tests would be in the same slots.
    labels = PROJECT | {"scopedsecrets.dev/project": "vanishing"}
    name, gone = namespace(labels=labels), namespace(labels=labels)
    apply(
        installed,
        scoped_secret(name, "aws"),
        scoped_secret(name, "gcp"),
        secret_policy(name, "closed"),
        scoped_secret(gone, "azure"),
    )
    world = World()
    await world.informer.relist(cluster)
    world.told.clear()

    installed.kubectl("delete", "scopedsecret/gcp", "secretpolicy/closed", "-n", name)
    installed.kubectl("delete", "namespace", gone)
    await world.informer.relist(cluster)

    inventory = world.informer.inventory
    assert inventory.get(f"{name}/aws") is not None
    assert inventory.get(f"{name}/gcp") is None
    assert inventory.get(f"{gone}/azure") is None
    assert inventory.binding(gone) is None
    assert list(inventory.namespace_policies(name)) == []
    assert {f"{name}/gcp", f"{gone}/azure"} <= world.concerned()
    assert f"{name}/aws" not in world.concerned()


@pytest.mark.integration
async def test_a_list_without_news_tells_nothing(installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    world = World()
    await world.informer.relist(cluster)
    world.told.clear()

    await world.informer.relist(cluster)

    # Other tests' namespaces may vanish meanwhile; nothing is told of ours.
    assert not any(name in location for location in world.concerned())


@pytest.mark.integration
async def test_an_event_that_is_older_than_the_list_changes_nothing(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    old = installed.get("scopedsecret", "aws", "-n", name)
    apply(installed, scoped_secret(name, "aws", description="a later generation"))
    world = World()
    await world.informer.relist(cluster)
    before = world.informer.inventory.get(f"{name}/aws")

    world.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", old)
    world.informer.apply(Kind.SCOPED_SECRET, "DELETED", old)

    assert before is not None
    assert world.informer.inventory.get(f"{name}/aws") == before
    assert before.definition.generation == 2


@pytest.mark.integration
async def test_what_is_known_stays_known_without_an_api_server(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    world = World()
    await world.informer.relist(cluster)

    await asyncio.to_thread(own_control_plane.stop_api_server)
    try:
        world.time += 60
        with pytest.raises(ClusterError):
            await world.informer.relist(cluster)
        assert world.informer.staleness() == 60
        assert world.informer.inventory.get(f"{name}/aws") is not None
    finally:
        await asyncio.to_thread(own_control_plane.start_api_server)
    await world.informer.relist(cluster)

    assert world.informer.staleness() == 0


@pytest.mark.integration
async def test_a_collection_larger_than_a_page_is_read_whole(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": name, "name": f"s{n}"}} for n in range(7)]
    installed.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    pages = [page async for page in cluster.pages(paths.secrets(name), limit=3)]

    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert [page.is_first for page in pages] == [True, False, False]
    assert len({page.resource_version for page in pages}) == 1
    assert {item["metadata"]["name"] for page in pages for item in page.items} == {f"s{n}" for n in range(7)}


async def test_events_place_definitions_whatever_comes_first():
    world = World()

    world.informer.apply(Kind.SCOPED_SECRET, None, stored("ScopedSecret", 5))
    world.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(6))

    entry = world.informer.inventory.get("web/aws")
    assert entry is not None
    assert world.informer.inventory.definitions("acme", "web", "aws") == [entry]
    assert [sorted(changes.definitions) for changes in world.told] == [["web/aws"], ["web/aws"]]


async def test_a_namespace_that_loses_its_labels_takes_its_definitions_out():
    world = World()
    world.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(6))
    world.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 7))

    world.informer.apply(Kind.NAMESPACE, "MODIFIED", namespace_body(8, labels={}))

    assert world.informer.inventory.definitions("acme", "web", "aws") == []


async def test_what_one_list_or_event_changes_changes_at_one_moment():
    ticking = itertools.count(100)
    informer = Informer(
        Inventory(), default_organization="default", keep_sealed=True, clock=lambda: float(next(ticking))
    )
    informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(6))
    informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 7))
    informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 8, "registry"))

    informer.apply(Kind.NAMESPACE, "MODIFIED", namespace_body(9, labels={}))

    latest = next(iter(informer.inventory.snapshots("acme")))
    both = [len(latest.definitions("acme", "web", name)) for name in ("aws", "registry")]
    assert both == [1, 1]


async def test_a_deleted_object_is_not_brought_back_by_a_late_event():
    world = World()
    world.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5))
    world.informer.apply(Kind.SCOPED_SECRET, "DELETED", stored("ScopedSecret", 9))

    world.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 7))

    assert world.informer.inventory.get("web/aws") is None


async def test_an_unreadable_policy_denies_what_it_governs():
    world = World()
    world.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(1))

    world.informer.apply(Kind.SECRET_POLICY, "ADDED", stored("SecretPolicy", 5, "closed", spec={"effect": "Perhaps"}))

    (policy,) = world.informer.inventory.policies("acme", "web")
    assert policy.broken
    assert policy.secret_names == ()
    (invalid,) = world.told[-1].invalid
    assert (invalid.kind, invalid.location) == ("SecretPolicy", "web/closed")


async def test_an_unreadable_definition_keeps_its_place_and_can_be_used_by_nobody():
    world = World()
    world.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(1))

    world.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, env="canary-value"))

    entry = world.informer.inventory.get("web/aws")
    assert entry is not None
    assert entry.definition.not_ready is Reason.INVALID
    invalid = world.informer.invalid("web/aws")
    assert invalid is not None
    assert "canary-value" not in invalid.message
    assert world.told[-1].invalid == (invalid,)


async def test_a_definition_that_is_mended_is_no_longer_invalid():
    world = World()
    world.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, env=7))

    world.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 6))

    assert world.informer.invalid("web/aws") is None
    entry = world.informer.inventory.get("web/aws")
    assert entry is not None
    assert entry.definition.not_ready is None


async def test_a_definition_without_any_readable_place_is_left_out_and_told():
    world = World()

    world.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, scope="Universe"))

    assert world.informer.inventory.get("web/aws") is None
    assert [invalid.location for invalid in world.told[-1].invalid] == ["web/aws"]
    assert world.told[-1].definitions == {"web/aws"}


async def test_the_status_is_kept_only_when_asked_for_and_its_change_is_told():
    keeping, plain = World(keep_status=True), World()
    body = stored("ScopedSecret", 5)
    for world in (keeping, plain):
        world.informer.apply(Kind.SCOPED_SECRET, "ADDED", body)
        world.told.clear()
        world.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 6) | {"status": {"envCount": 7}})

    assert keeping.informer.observed_status("web/aws") == {"envCount": 7}
    assert plain.informer.observed_status("web/aws") == {}
    assert keeping.concerned() == {"web/aws"}


async def test_sealed_texts_are_kept_only_when_asked_for():
    sealed_text = sealed()
    entry = [{"name": "PASSWORD", "sealed": sealed_text}]
    texts = []
    for keep in (True, False):
        informer = Informer(Inventory(), default_organization="default", keep_sealed=keep)
        informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, env=entry))
        found = informer.inventory.get("web/aws")
        assert found is not None
        source = found.definition.env[0].source
        assert isinstance(source, SealedSource)
        texts.append(source.text)

    assert texts == [sealed_text, ""]
