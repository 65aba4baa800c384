"""The operator's keys in their Secrets on a real API server."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import PublicKeyRing
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, load_keys
from scoped_secrets.kube.webhook_certificates import maintain_certificates, service_names

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)


def data(installed: TestCluster, namespace: str, name: str) -> dict[str, bytes]:
    stored = installed.get("secret", name, "-n", namespace)["data"]
    return {key: base64.b64decode(value) for key, value in stored.items()}


def version(installed: TestCluster, *arguments: str) -> str:
    return str(installed.get(*arguments)["metadata"]["resourceVersion"])


async def keys_of(cluster: Cluster, namespace: str) -> Keys:
    return await load_keys(cluster, namespace, lambda: START)


async def test_keys_are_created_once_and_read_again(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()

    first = await keys_of(cluster, name)
    before = [version(installed, "secret", each, "-n", name) for each in SECRETS]
    second = await keys_of(cluster, name)

    assert second.ring.active.key_id == first.ring.active.key_id
    assert second.fingerprint_key.serialize() == first.fingerprint_key.serialize()
    assert [version(installed, "secret", each, "-n", name) for each in SECRETS] == before


SECRETS = ("scoped-secrets-sealing", "scoped-secrets-fingerprint")


async def test_controllers_that_start_together_create_one_key(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    clients = [await Cluster.connect(str(installed.kubeconfig)) for _ in range(8)]

    found = await asyncio.gather(*(keys_of(client, name) for client in clients))
    await asyncio.gather(*(client.close() for client in clients))

    assert len({each.ring.active.key_id for each in found}) == 1
    assert len({each.fingerprint_key.serialize() for each in found}) == 1
    assert all(len(each.ring.keys) == 1 for each in found)


async def test_a_damaged_key_is_reported_and_never_replaced(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    installed.kubectl("create", "secret", "generic", SECRETS[0], "-n", name, "--from-literal=a.sealing-key=damaged")
    installed.kubectl("label", "secret", SECRETS[0], "-n", name, "scopedsecrets.dev/component=sealing-key")

    with pytest.raises(KeyMaterialError) as caught:
        await keys_of(cluster, name)

    assert "damaged" not in str(caught.value).replace("is damaged", "")
    assert data(installed, name, SECRETS[0]) == {"a.sealing-key": b"damaged"}


async def test_the_secret_of_admission_has_no_private_sealing_key(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)

    await maintain_certificates(cluster, name, service_names(name), keys, lambda: START)

    given = data(installed, name, "scoped-secrets-admission")
    leaf = x509.load_pem_x509_certificate(given["tls.crt"])
    hosts = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(hosts.get_values_for_type(x509.DNSName)) == set(service_names(name))
    assert FingerprintKey.parse(given["fingerprint.key"]).serialize() == keys.fingerprint_key.serialize()
    assert PublicKeyRing.parse(given["sealing.pub"]).active.key_id == keys.ring.active.key_id
    assert set(given) == {"tls.crt", "tls.key", "fingerprint.key", "sealing.pub", "cluster-id", "value-from"}
    # This client may get all Secrets: it is an administrator's.
    assert given["value-from"] == b"true"
    assert given["cluster-id"].decode() == installed.get("namespace", "kube-system")["metadata"]["uid"]
    private = keys.ring.active.serialize().splitlines()[1]
    assert not any(private in value for value in given.values())
