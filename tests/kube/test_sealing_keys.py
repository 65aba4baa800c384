"""Rotation, deletion and restoration of sealing keys, and rotation of the fingerprint key, on a real API server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets.controller.key_refresh import KeyRefresher
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, load_keys, read_keys

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
SELECTOR = "scopedsecrets.dev/component=sealing-key"


async def at(cluster: Cluster, namespace: str, age: timedelta, rotation: timedelta | None = MONTH) -> Keys:
    return await load_keys(cluster, namespace, lambda: START + age, rotation=rotation)


def stored(installed: TestCluster, namespace: str) -> list[dict[str, Any]]:
    return list(installed.get("secrets", "-n", namespace, "-l", SELECTOR)["items"])


def backup(installed: TestCluster, namespace: str, *names: str) -> str:
    """Return a backup of Secrets: without the fields that the server sets."""
    items = [secret for secret in stored(installed, namespace) if not names or secret["metadata"]["name"] in names]
    for secret in items:
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            secret["metadata"].pop(field, None)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


async def test_a_sealing_key_is_rotated_after_30_days_and_still_unseals(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    first = (await at(cluster, name, timedelta())).ring.active

    early = await at(cluster, name, MONTH - timedelta(seconds=1))
    late = await at(cluster, name, MONTH)
    again = await at(cluster, name, MONTH + timedelta(days=1))

    assert [key.key_id for key in early.ring.keys] == [first.key_id]
    assert late.ring.active.key_id != first.key_id
    assert late.ring.get(first.key_id) is not None
    assert again.is_same_as(late)
    assert {secret["metadata"]["labels"]["scopedsecrets.dev/key-id"] for secret in stored(installed, name)} == {
        key.key_id for key in late.ring.keys
    }
    assert all(secret["immutable"] for secret in stored(installed, name))


async def test_a_sealing_key_is_not_rotated_without_an_interval(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    first = await at(cluster, name, timedelta(), None)

    assert (await at(cluster, name, timedelta(days=10000), None)).is_same_as(first)


async def test_controllers_that_rotate_together_create_one_key(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    await at(cluster, name, timedelta())
    clients = [await Cluster.connect(str(installed.kubeconfig)) for _ in range(8)]

    found = await asyncio.gather(*(at(client, name, MONTH) for client in clients))
    await asyncio.gather(*(client.close() for client in clients))

    assert len({each.ring.active.key_id for each in found}) == 1
    assert len(stored(installed, name)) == 2


async def test_the_newest_key_is_active_when_the_clock_was_set_back(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    first = (await at(cluster, name, timedelta())).ring.active
    installed.kubectl(
        "annotate", "secret", "scoped-secrets-sealing", "-n", name, f"scopedsecrets.dev/rotate={first.key_id}"
    )

    rotated = await at(cluster, name, -timedelta(days=5))
    again = await at(cluster, name, -timedelta(days=5))

    assert rotated.ring.active.key_id != first.key_id
    assert again.is_same_as(rotated)


async def test_an_unrelated_secret_with_the_name_of_the_next_key_is_not_changed(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    installed.kubectl("create", "secret", "generic", "scoped-secrets-sealing-2", "-n", name, "--from-literal=a=b")
    await at(cluster, name, timedelta())

    rotated = await at(cluster, name, MONTH)

    assert len(rotated.ring.keys) == 2
    assert set(installed.get("secret", "scoped-secrets-sealing-2", "-n", name)["data"]) == {"a"}


async def test_a_restored_key_brings_back_the_cluster_id_of_its_sealed_texts(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    old, new = namespace(), namespace()
    before = await at(cluster, old, timedelta())
    restored = json.loads(backup(installed, old))
    for secret in restored["items"]:
        secret["metadata"]["namespace"] = new
        # As if the keys had been created in another cluster.
        secret["data"]["cluster-id"] = "YW5vdGhlci1jbHVzdGVy"
    installed.kubectl("create", "-f", "-", input=json.dumps(restored))

    after = await at(cluster, new, MONTH)

    assert after.cluster_id == "another-cluster" != before.cluster_id
    assert after.ring.get(before.ring.active.key_id) is not None
    # The key that was just created has the same cluster id.
    assert (await at(cluster, new, MONTH)).cluster_id == "another-cluster"
    assert len(stored(installed, new)) == 2


async def test_a_deleted_key_and_its_restoration_are_noticed_without_a_restart(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    await at(cluster, name, timedelta())
    keys = await at(cluster, name, MONTH)
    refresher = KeyRefresher(cluster, name, keys, rotation=MONTH, now=lambda: START + MONTH)
    oldest = keys.ring.keys[-1].key_id
    saved = backup(installed, name, "scoped-secrets-sealing")

    installed.kubectl("delete", "secret", "scoped-secrets-sealing", "-n", name)
    assert await refresher.refresh(leads=True) is keys
    assert refresher.keys.ring.get(oldest) is None
    # The name of the Secret does not matter: a backup may be restored under another one.
    installed.kubectl("create", "-f", "-", input=saved.replace('"scoped-secrets-sealing"', '"restored"'))
    assert await refresher.refresh(leads=False) is not None

    assert refresher.keys.is_same_as(keys)
    assert await refresher.refresh(leads=True) is None


async def test_a_standby_creates_no_key(cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory):
    name = namespace()
    assert await read_keys(cluster, name) is None
    keys = await at(cluster, name, timedelta())
    follower = KeyRefresher(cluster, name, keys, rotation=MONTH, now=lambda: START + 2 * MONTH)

    assert await follower.refresh(leads=False) is None
    assert len(stored(installed, name)) == 1
    leader = KeyRefresher(cluster, name, keys, rotation=MONTH, now=lambda: START + 2 * MONTH)
    await leader.refresh(leads=True)
    await follower.refresh(leads=False)

    assert follower.keys.is_same_as(leader.keys)
    assert len(follower.keys.ring.keys) == 2


async def test_a_fingerprint_key_is_rotated_once_on_request_and_the_former_keys_stay(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    first = await at(cluster, name, timedelta())
    secret = ("secret", "scoped-secrets-fingerprint", "-n", name)
    installed.kubectl("annotate", *secret, "scopedsecrets.dev/rotate=requested")

    second = await at(cluster, name, timedelta())
    third = await at(cluster, name, timedelta())

    assert second.fingerprint_key.serialize() != first.fingerprint_key.serialize()
    assert [key.serialize() for key in second.former_fingerprint_keys] == [first.fingerprint_key.serialize()]
    assert not second.has_same_fingerprint_keys(first)
    assert third.is_same_as(second)
    assert "annotations" not in installed.get(*secret)["metadata"]
