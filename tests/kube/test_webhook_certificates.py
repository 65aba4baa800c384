"""The serving certificate and the CA bundle of the webhooks on a real API server."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from scoped_secrets import names
from scoped_secrets.crypto.certificates import AUTHORITY_LIFETIME
from scoped_secrets.kube.keys import Keys, load_keys
from scoped_secrets.kube.webhook_certificates import has_bundle, maintain_certificates, service_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

    from scoped_secrets.kube.client import Cluster

pytestmark = pytest.mark.integration

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that tests set."""

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
    """Return a webhook configuration for a resource that does not exist."""
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
    """The operator's two webhook configurations and an unrelated one."""
    other = configuration("MutatingWebhookConfiguration", ["other.example.org"])
    other["metadata"]["name"] = "unrelated"
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
    """Return the distinct CA bundles of the configurations with a name."""
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


@pytest.mark.usefixtures("webhooks")
async def test_the_bundle_is_published_once_and_only_in_the_operators_webhooks(
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
    assert bundles(installed, "unrelated") == {""}
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
async def test_the_published_bundle_verifies_every_served_leaf(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)
    clock = Clock()
    leaves, published = set(), set()

    for _ in range(16):
        # Two calls per step: the second one relies on the bundle that the first one has published.
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
    # The authority is replaced after two thirds of ten years: the bundles have the old one, both, and the new one.
    assert len(published) >= 2


@pytest.mark.usefixtures("webhooks")
async def test_a_change_of_the_authority_leaves_no_moment_in_which_a_leaf_is_not_trusted(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    keys = await keys_of(cluster, name)
    clock = Clock()

    async def step() -> tuple[bytes, str]:
        await maintain_certificates(cluster, name, service_names(name), keys, clock)
        (bundle,) = bundles(installed)
        return data(installed, name, "scoped-secrets-admission")["tls.crt"], bundle

    await step()
    clock.time += AUTHORITY_LIFETIME * 2 / 3 - timedelta(days=2)
    served = [await step(), await step()]
    for _ in range(3):
        clock.time += timedelta(days=1)
        served += [await step(), await step()]

    # A replica may show the leaf from before a step, and an API server may still know the bundle from before it.
    for (leaf, bundle), (next_leaf, next_bundle) in pairwise(served):
        assert is_signed_by_one_of(leaf, next_bundle)
        assert is_signed_by_one_of(next_leaf, bundle)
    (last,) = x509.load_pem_x509_certificates(served[-1][0])
    (first,) = x509.load_pem_x509_certificates(served[0][0])
    assert last.issuer != first.issuer


async def test_a_check_without_webhook_configurations_is_repeated_soon(cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    keys = await keys_of(cluster, name)

    pauses = [await maintain_certificates(cluster, name, service_names(name), keys, lambda: START) for _ in range(2)]

    assert max(pauses) <= 2.0
