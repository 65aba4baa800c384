"""The published certificate on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.keys import PrivateSealingKey, PublicKeyRing
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError, ForbiddenError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.public_key import fetch_certificate, publish_certificate

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

OLD = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
NEW = PrivateSealingKey(bytes(range(1, 33)), datetime(2026, 2, 2, tzinfo=UTC))
FIRST = SealingCertificate("cluster-one", PublicKeyRing((OLD.public_key,)))
SECOND = SealingCertificate("cluster-one", PublicKeyRing((OLD.public_key, NEW.public_key)))


async def test_it_is_created_read_replaced_and_not_written_without_need(
    control_plane: TestCluster, namespace: NamespaceFactory
):
    home = namespace("publication")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        assert await publish_certificate(cluster, home, FIRST)
        assert await fetch_certificate(cluster, home) == FIRST
        assert not await publish_certificate(cluster, home, FIRST)
        assert await publish_certificate(cluster, home, SECOND)
        assert await fetch_certificate(cluster, home) == SECOND


async def test_what_somebody_else_wrote_there_is_replaced(control_plane: TestCluster, namespace: NamespaceFactory):
    home = namespace("publication")
    create = ("create", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", home)
    control_plane.kubectl(*create, f"--from-literal={names.CERTIFICATE_FILE}=mine")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        with pytest.raises(
            KeyMaterialError, match="holds no sealing certificate of this version; check the controller"
        ):
            await fetch_certificate(cluster, home)
        assert await publish_certificate(cluster, home, FIRST)
        assert await fetch_certificate(cluster, home) == FIRST


async def test_before_it_is_published_the_message_says_where_it_was_looked_for(
    control_plane: TestCluster, namespace: NamespaceFactory
):
    home = namespace("publication")
    async with await Cluster.connect(str(control_plane.kubeconfig)) as cluster:
        with pytest.raises(
            ClusterError, match=f"'{home}/{names.CERTIFICATE_CONFIG_MAP}' does not exist; .*--operator-"
        ):
            await fetch_certificate(cluster, home)


async def test_who_may_not_read_it_is_told_what_to_ask_for(control_plane: TestCluster, namespace: NamespaceFactory):
    home = namespace("publication")
    async with await Cluster.connect(str(control_plane.kubeconfig_for("nobody", ["none"]))) as cluster:
        with pytest.raises(ForbiddenError, match="ask for the Role of the same name"):
            await fetch_certificate(cluster, home)
