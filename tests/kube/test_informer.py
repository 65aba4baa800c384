"""The informer keeps its inventory equal to the cluster, on a real API server and with single events."""

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
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.resources import Kind
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.cluster.control_plane import ControlPlane
    from tests.conftest import NamespaceFactory

    from scoped_secrets.kube.changes import Changes
    from scoped_secrets.kube.client import Cluster

PROJECT = {"scopedsecrets.dev/organization": "acme", "scopedsecrets.dev/project": "web"}


class Lab:
    """An informer with a clock that tests set, and the changes that it reported."""

    def __init__(self, **options: Any) -> None:
        self.time = 100.0
        self.reported: list[Changes] = []
        self.informer = Informer(
            Inventory(),
            default_organization="default",
            keep_sealed=True,
            clock=lambda: self.time,
            on_change=self.reported.append,
            **options,
        )

    def changed_definitions(self) -> set[str]:
        return {location for changes in self.reported for location in changes.definitions}


def stored(kind: str, version: int, name: str = "aws", **spec: Any) -> dict[str, Any]:
    """Return a ScopedSecret or SecretPolicy as a watch brings it."""
    body = scoped_secret("web", name, **spec) if kind == "ScopedSecret" else secret_policy("web", name) | spec
    body["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version), "generation": version}
    return body


def namespace_body(version: int, labels: dict[str, str] = PROJECT) -> dict[str, Any]:
    return {"metadata": {"name": "web", "uid": "1", "resourceVersion": str(version), "labels": labels}}


@pytest.mark.integration
async def test_the_first_list_fills_the_inventory_and_reports_the_changes(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"), secret_policy(name, "closed"))
    lab = Lab()
    assert not lab.informer.is_complete
    assert lab.informer.staleness() == float("inf")

    await lab.informer.relist(cluster)

    inventory = lab.informer.inventory
    assert lab.informer.is_complete
    assert lab.informer.staleness() == 0.0
    assert inventory.binding(name) == Binding(name, "acme", "web")
    assert f"{name}/aws" in inventory.locations()
    assert [policy.location for policy in inventory.namespace_policies(name)] == [f"{name}/closed"]
    assert f"{name}/aws" in lab.changed_definitions()
    assert any(f"{name}/closed" in changes.policies for changes in lab.reported)
    assert lab.informer.cluster_id == installed.get("namespace", "kube-system")["metadata"]["uid"]


@pytest.mark.integration
async def test_a_list_drops_objects_that_were_deleted_without_a_watch_event(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    # A project of its own, because definitions of other tests are in the same slots.
    labels = PROJECT | {"scopedsecrets.dev/project": "vanishing"}
    name, gone = namespace(labels=labels), namespace(labels=labels)
    apply(
        installed,
        scoped_secret(name, "aws"),
        scoped_secret(name, "gcp"),
        secret_policy(name, "closed"),
        scoped_secret(gone, "azure"),
    )
    lab = Lab()
    await lab.informer.relist(cluster)
    lab.reported.clear()

    installed.kubectl("delete", "scopedsecret/gcp", "secretpolicy/closed", "-n", name)
    installed.kubectl("delete", "namespace", gone)
    await lab.informer.relist(cluster)

    inventory = lab.informer.inventory
    assert inventory.get(f"{name}/aws") is not None
    assert inventory.get(f"{name}/gcp") is None
    assert inventory.get(f"{gone}/azure") is None
    assert inventory.binding(gone) is None
    assert list(inventory.namespace_policies(name)) == []
    assert {f"{name}/gcp", f"{gone}/azure"} <= lab.changed_definitions()
    assert f"{name}/aws" not in lab.changed_definitions()


@pytest.mark.integration
async def test_a_list_of_known_versions_reports_no_change(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    lab = Lab()
    await lab.informer.relist(cluster)
    lab.reported.clear()

    await lab.informer.relist(cluster)

    # Namespaces of other tests may be deleted at the same time; nothing is reported about this one.
    assert not any(name in location for location in lab.changed_definitions())


@pytest.mark.integration
async def test_an_event_that_is_older_than_the_list_is_ignored(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    old = installed.get("scopedsecret", "aws", "-n", name)
    apply(installed, scoped_secret(name, "aws", description="a later generation"))
    lab = Lab()
    await lab.informer.relist(cluster)
    before = lab.informer.inventory.get(f"{name}/aws")

    lab.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", old)
    lab.informer.apply(Kind.SCOPED_SECRET, "DELETED", old)

    assert before is not None
    assert lab.informer.inventory.get(f"{name}/aws") == before
    assert before.definition.generation == 2


@pytest.mark.integration
async def test_the_inventory_stays_without_an_api_server(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace(labels=PROJECT)
    apply(installed, scoped_secret(name, "aws"))
    lab = Lab()
    await lab.informer.relist(cluster)

    await asyncio.to_thread(own_control_plane.stop_api_server)
    try:
        lab.time += 60
        with pytest.raises(ClusterError):
            await lab.informer.relist(cluster)
        assert lab.informer.staleness() == 60
        assert lab.informer.inventory.get(f"{name}/aws") is not None
    finally:
        await asyncio.to_thread(own_control_plane.start_api_server)
    await lab.informer.relist(cluster)

    assert lab.informer.staleness() == 0


@pytest.mark.integration
async def test_a_list_has_several_pages_of_one_resource_version(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": name, "name": f"s{n}"}} for n in range(7)]
    installed.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    pages = [page async for page in cluster.pages(paths.secrets(name), limit=3)]

    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert [page.starts_list for page in pages] == [True, False, False]
    assert len({page.resource_version for page in pages}) == 1
    assert {item["metadata"]["name"] for page in pages for item in page.items} == {f"s{n}" for n in range(7)}


async def test_events_of_namespaces_and_definitions_may_come_in_any_order():
    lab = Lab()

    lab.informer.apply(Kind.SCOPED_SECRET, None, stored("ScopedSecret", 5))
    lab.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(6))

    entry = lab.informer.inventory.get("web/aws")
    assert entry is not None
    assert lab.informer.inventory.definitions("acme", "web", "aws") == [entry]
    assert [sorted(changes.definitions) for changes in lab.reported] == [["web/aws"], ["web/aws"]]


async def test_definitions_of_a_namespace_without_labels_are_in_no_slot():
    lab = Lab()
    lab.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(6))
    lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 7))

    lab.informer.apply(Kind.NAMESPACE, "MODIFIED", namespace_body(8, labels={}))

    assert lab.informer.inventory.definitions("acme", "web", "aws") == []


async def test_all_changes_of_one_event_have_the_same_time():
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


async def test_a_late_event_does_not_restore_a_deleted_object():
    lab = Lab()
    lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5))
    lab.informer.apply(Kind.SCOPED_SECRET, "DELETED", stored("ScopedSecret", 9))

    lab.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 7))

    assert lab.informer.inventory.get("web/aws") is None


async def test_an_unreadable_policy_denies_every_bundle():
    lab = Lab()
    lab.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(1))

    lab.informer.apply(Kind.SECRET_POLICY, "ADDED", stored("SecretPolicy", 5, "closed", spec={"effect": "Perhaps"}))

    (policy,) = lab.informer.inventory.policies("acme", "web")
    assert policy.broken
    assert policy.secret_names == ()
    (invalid,) = lab.reported[-1].invalid
    assert (invalid.kind, invalid.location) == ("SecretPolicy", "web/closed")


async def test_an_unreadable_definition_keeps_its_slot_and_is_not_ready():
    lab = Lab()
    lab.informer.apply(Kind.NAMESPACE, "ADDED", namespace_body(1))

    lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, env="canary-value"))

    entry = lab.informer.inventory.get("web/aws")
    assert entry is not None
    assert entry.definition.not_ready is Reason.INVALID
    invalid = lab.informer.invalid("web/aws")
    assert invalid is not None
    assert "canary-value" not in invalid.message
    assert lab.reported[-1].invalid == (invalid,)


async def test_a_corrected_definition_is_valid_again():
    lab = Lab()
    lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, env=7))

    lab.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 6))

    assert lab.informer.invalid("web/aws") is None
    entry = lab.informer.inventory.get("web/aws")
    assert entry is not None
    assert entry.definition.not_ready is None


async def test_an_unreadable_definition_without_a_scope_is_left_out_and_reported():
    lab = Lab()

    lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", stored("ScopedSecret", 5, scope="Universe"))

    assert lab.informer.inventory.get("web/aws") is None
    assert [invalid.location for invalid in lab.reported[-1].invalid] == ["web/aws"]
    assert lab.reported[-1].definitions == {"web/aws"}


async def test_statuses_are_kept_only_on_request_and_their_changes_are_reported():
    with_status, without = Lab(keep_status=True), Lab()
    body = stored("ScopedSecret", 5)
    for lab in (with_status, without):
        lab.informer.apply(Kind.SCOPED_SECRET, "ADDED", body)
        lab.reported.clear()
        lab.informer.apply(Kind.SCOPED_SECRET, "MODIFIED", stored("ScopedSecret", 6) | {"status": {"envCount": 7}})

    assert with_status.informer.observed_status("web/aws") == {"envCount": 7}
    assert without.informer.observed_status("web/aws") == {}
    assert with_status.changed_definitions() == {"web/aws"}


async def test_sealed_texts_are_kept_only_on_request():
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
