"""The published certificate on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.guesses import comparison_key
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError, ForbiddenError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.public_key import fetch_certificate, fetch_comparison_key, publish_keys

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
NEW = PrivateSealingKey(bytes(range(1, 33)), datetime(2026, 2, 2, tzinfo=UTC))
COMPARISON = comparison_key(FingerprintKey(bytes(range(32)))).public_key
FIRST = SealingCertificate("cluster-one", PublicKeyRing((OLD.public_key,)))
SECOND = SealingCertificate("cluster-one", PublicKeyRing((OLD.public_key, NEW.public_key)))


async def test_the_certificate_is_created_replaced_and_not_written_again(
    control_plane: TestCluster, namespace: NamespaceFactory
):
    own = namespace("public-key")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        assert await publish_keys(cluster, own, FIRST, COMPARISON)
        assert await fetch_certificate(cluster, own) == FIRST
        assert not await publish_keys(cluster, own, FIRST, COMPARISON)
        assert await publish_keys(cluster, own, SECOND, COMPARISON)
        assert await fetch_certificate(cluster, own) == SECOND


async def test_a_foreign_content_of_the_config_map_is_replaced(control_plane: TestCluster, namespace: NamespaceFactory):
    own = namespace("public-key")
    create = ("create", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", own)
    control_plane.kubectl(*create, f"--from-literal={names.CERTIFICATE_FILE}=mine")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        with pytest.raises(
            KeyMaterialError, match="holds no sealing certificate of this version; check the controller"
        ):
            await fetch_certificate(cluster, own)
        assert await publish_keys(cluster, own, FIRST, COMPARISON)
        assert await fetch_certificate(cluster, own) == FIRST


async def test_the_error_names_the_config_map_that_does_not_exist(
    control_plane: TestCluster, namespace: NamespaceFactory
):
    own = namespace("public-key")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        with pytest.raises(ClusterError, match=f"'{own}/{names.CERTIFICATE_CONFIG_MAP}' does not exist; .*--operator-"):
            await fetch_certificate(cluster, own)


async def test_the_error_names_the_role_that_allows_reading(control_plane: TestCluster, namespace: NamespaceFactory):
    own = namespace("public-key")
    async with await Cluster.connect(str(control_plane.kubeconfig_for("nobody", ["none"]))) as cluster:
        with pytest.raises(ForbiddenError) as sealing:
            await fetch_certificate(cluster, own)
        with pytest.raises(ForbiddenError) as comparing:
            await fetch_comparison_key(cluster, own)

    start = f"you may not read the ConfigMap '{own}/scoped-secrets-public-key'; ask for the Role of the same name"
    assert [str(caught.value) for caught in (sealing, comparing)] == [
        f"{start}, or for the certificate as a file, which `scoped-secrets seal --cert` takes",
        f"{start} (`rbac.publicKey` of the chart), without which values cannot be sent sealed",
    ]


async def test_the_comparison_key_is_published_beside_the_certificate_and_renewed(
    control_plane: TestCluster, namespace: NamespaceFactory
):
    own = namespace("public-key")
    renewed = comparison_key(FingerprintKey(bytes(range(1, 33)))).public_key
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        await publish_keys(cluster, own, FIRST, COMPARISON)
        assert await fetch_comparison_key(cluster, own) == COMPARISON
        assert await publish_keys(cluster, own, FIRST, renewed)
        assert await fetch_comparison_key(cluster, own) == renewed


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (names.CERTIFICATE_FILE, f"has no '{names.COMPARISON_KEY_FILE}', .*; upgrade the operator"),
        (names.COMPARISON_KEY_FILE, "holds no comparison key of this version; check the controller"),
    ],
)
async def test_without_a_comparison_key_the_error_says_what_to_do(
    file: str, problem: str, control_plane: TestCluster, namespace: NamespaceFactory
):
    own = namespace("public-key")
    create = ("create", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", own)
    control_plane.kubectl(*create, f"--from-literal={file}=mine")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        with pytest.raises(KeyMaterialError, match=problem):
            await fetch_comparison_key(cluster, own)
