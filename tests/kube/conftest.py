"""The real cluster with our CRDs, clients for it, and conditions with a deadline."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import pytest_asyncio

from scoped_secrets.kube.client import Cluster, Page
from scoped_secrets.kube.direct import DirectTransport
from scoped_secrets.kube.pipelining import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from tests.cluster.cluster import Cluster as TestCluster

    from scoped_secrets.kube.credentials import Connection

CRDS = Path(__file__).parents[2] / "crds"
DEADLINE_SECONDS = 30.0


async def eventually(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until the condition holds; fail after a timeout."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


class CommandClient:
    """The client of a command. Each call runs in a thread, so that servers of the test's event loop can answer."""

    def __init__(self, connection: Connection) -> None:
        """Connect without the client library."""
        cluster = Cluster.connect_directly(connection)
        assert cluster is not None
        self.cluster = cluster

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return a method of the client."""
        return lambda *arguments, **named: self.together(getattr(self.cluster, name)(*arguments, **named))

    async def together(self, operation: Coroutine[Any, Any, Any]) -> Any:
        """Run an operation of the client."""
        return await asyncio.to_thread(run, operation)

    async def pages(self, path: str) -> AsyncIterator[Page]:
        """Yield the pages of a list, once all are read."""

        async def read() -> list[Page]:
            return [page async for page in self.cluster.pages(path)]

        for page in await self.together(read()):
            yield page

    @property
    def transport(self) -> DirectTransport:
        """Return what carries the requests."""
        transport = self.cluster._transport
        assert isinstance(transport, DirectTransport)
        return transport

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the connection."""
        run(self.cluster.close())


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
