"""The operator's own Secrets on a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import PublicKeyRing
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, has_bundle, load_keys, maintain_certificates, service_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


def data(installed: TestCluster, namespace: str, name: str) -> dict[str, bytes]:
    stored = installed.get("secret", name, "-n", namespace)["data"]
    return {key: base64.b64decode(value) for key, value in stored.items()}


def version(installed: TestCluster, *arguments: str) -> str:
    return str(installed.get(*arguments)["metadata"]["resourceVersion"])


def configuration(kind: str, names: list[str]) -> dict[str, Any]:
    """Return a webhook configuration that intercepts nothing that exists."""
    rule = {"apiGroups": ["none.example"], "apiVersions": ["v1"], "resources": ["nothing"], "operations": ["CREATE"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "scoped-secrets"},
        "webhooks": [
            {
                "name": name,
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [rule],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
            for name in names
        ],
    }


@pytest.fixture
def webhooks(installed: TestCluster) -> Iterator[None]:
    """Our two configurations and one of somebody else."""
    other = configuration("MutatingWebhookConfiguration", ["other.example.org"])
    other["metadata"]["name"] = "somebody-else"
    items = [
        configuration("MutatingWebhookConfiguration", ["a.scopedsecrets.dev", "b.scopedsecrets.dev"]),
        configuration("ValidatingWebhookConfiguration", ["c.scopedsecrets.dev"]),
        other,
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    installed.kubectl("create", "-f", "-", input=text)
    yield
    installed.kubectl("delete", "-f", "-", "--ignore-not-found", input=text)


def bundles(installed: TestCluster, name: str = "scoped-secrets") -> set[str]:
    """Return the different caBundles of the configurations of a name."""
    found = []
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        items = installed.get(kind)["items"]
        found += [webhook for item in items if item["metadata"]["name"] == name for webhook in item["webhooks"]]
    return {webhook["clientConfig"].get("caBundle", "") for webhook in found}


def is_signed_by_one_of(leaf: bytes, bundle: str) -> bool:
    certificate = x509.load_pem_x509_certificate(leaf)
    for authority in x509.load_pem_x509_certificates(base64.b64decode(bundle)):
        try:
            certificate.verify_directly_issued_by(authority)
        except Exception:  # noqa: BLE001, S112 - any failure means: not this one.
            continue
        return True
    return False


async def keys_of(cluster: Cluster, namespace: str) -> Keys:
    return await load_keys(cluster, namespace, lambda: START)


async def test_keys_are_made_once_and_found_again(
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


async def test_controllers_that_start_together_make_one_key(
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


async def test_admission_is_given_what_it_needs_and_no_private_sealing_key(
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
    # This client is the administrator's.
    assert given["value-from"] == b"true"
    assert given["cluster-id"].decode() == installed.get("namespace", "kube-system")["metadata"]["uid"]
    private = keys.ring.active.serialize().splitlines()[1]
    assert not any(private in value for value in given.values())


@pytest.mark.usefixtures("webhooks")
async def test_the_bundle_is_published_once_into_our_webhooks_only(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)

    pauses = [await maintain_certificates(cluster, name, service_names(name), keys, lambda: START)]
    kinds = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
    objects: list[tuple[str, ...]] = [(kind, "scoped-secrets") for kind in kinds]
    objects += [("secret", each, "-n", name) for each in ("scoped-secrets-certificates", "scoped-secrets-admission")]
    before = [version(installed, *each) for each in objects]
    pauses += [await maintain_certificates(cluster, name, service_names(name), keys, lambda: START) for _ in range(2)]

    (bundle,) = bundles(installed)
    assert is_signed_by_one_of(data(installed, name, "scoped-secrets-admission")["tls.crt"], bundle)
    assert bundles(installed, "somebody-else") == {""}
    assert [version(installed, *each) for each in objects] == before
    assert pauses[0] < pauses[1] == pauses[2]


@pytest.mark.usefixtures("webhooks")
async def test_a_removed_bundle_is_published_again(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)
    await maintain_certificates(cluster, name, service_names(name), keys, lambda: START)
    (bundle,) = bundles(installed)
    replaced = configuration("ValidatingWebhookConfiguration", ["first.example.org", "c.scopedsecrets.dev"])
    installed.kubectl("replace", "-f", "-", input=json.dumps(replaced))
    assert bundles(installed) == {bundle, ""}
    assert not await has_bundle(cluster, names.WEBHOOK_CONFIGURATION)

    await maintain_certificates(cluster, name, service_names(name), keys, lambda: START)

    assert bundles(installed) == {bundle}
    assert await has_bundle(cluster, names.WEBHOOK_CONFIGURATION)


@pytest.mark.usefixtures("webhooks")
async def test_no_leaf_is_ever_served_that_the_published_bundle_cannot_verify(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)
    clock = Clock()
    leaves, published = set(), set()

    for _ in range(16):
        # Two calls per step: what one publishes, the next one may rely on.
        for _ in range(2):
            await maintain_certificates(cluster, name, service_names(name), keys, clock)
            (bundle,) = bundles(installed)
            leaf = data(installed, name, "scoped-secrets-admission")["tls.crt"]
            assert is_signed_by_one_of(leaf, bundle)
            leaves.add(leaf)
            published.add(bundle)
        assert x509.load_pem_x509_certificate(leaf).not_valid_after_utc > clock.time
        clock.time += timedelta(days=200)

    assert len(leaves) == 16
    # The authority was replaced after two thirds of ten years: old, both, and both without a needed one.
    assert len(published) >= 2


async def test_without_webhook_configurations_the_next_check_comes_soon(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    keys = await keys_of(cluster, name)

    pauses = [await maintain_certificates(cluster, name, service_names(name), keys, lambda: START) for _ in range(2)]

    assert max(pauses) <= 2.0
