"""The real cluster with our CRDs, clients for it, and conditions with a deadline."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from scoped_secrets.kube.client import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.cluster.cluster import Cluster as TestCluster

CRDS = Path(__file__).parents[2] / "crds"
DEADLINE_SECONDS = 30.0


async def eventually(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until the condition holds; fail after a timeout."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def installed(control_plane: TestCluster) -> TestCluster:
    """The cluster with the CRDs installed."""
    control_plane.kubectl("apply", "-f", str(CRDS))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    return control_plane


@pytest_asyncio.fixture
async def cluster(installed: TestCluster) -> AsyncIterator[Cluster]:
    """The operator's client with the rights of an administrator."""
    async with await Cluster.connect(str(installed.kubeconfig)) as client:
        yield client


def scoped_secret(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a ScopedSecret of a project with one plain value."""
    return {
        "apiVersion": "scopedsecrets.dev/v1alpha1",
        "kind": "ScopedSecret",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "scope": "Project",
            "env": [{"name": "REGION", "value": "eu", "sensitive": False}],
            **spec,
        },
    }


def secret_policy(namespace: str, name: str) -> dict[str, Any]:
    """Return a SecretPolicy that denies every bundle to every job."""
    return {
        "apiVersion": "scopedsecrets.dev/v1alpha1",
        "kind": "SecretPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"secrets": {"names": ["*"]}, "effect": "Deny"},
    }


def apply(installed: TestCluster, *bodies: dict[str, Any]) -> None:
    """Apply objects with kubectl."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    installed.kubectl("apply", "-f", "-", input=json.dumps(listed))
