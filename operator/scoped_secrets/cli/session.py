"""One person's connection to the cluster, for commands that ask the person between two requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection, Impersonation, current_namespace
from scoped_secrets.operations.place import PlaceRequest

__all__ = ["Session", "connection", "place_request"]

_Result = TypeVar("_Result")

# Servers and proxies close idle connections, and a closed one fails the next request.
_IDLE_SECONDS: Final = 20.0


def connection(flags: Mapping[str, Any]) -> Connection:
    """Return what the flags of `CONNECTION_OPTIONS` say."""
    identity = Impersonation(flags["as_user"], tuple(flags["as_groups"]), flags["as_uid"])
    return Connection(flags["kubeconfig"], flags["context"], identity)


def place_request(flags: Mapping[str, Any]) -> PlaceRequest:
    """Return what the flags of `PLACE_OPTIONS` and `CONNECTION_OPTIONS` say.

    Raises:
        ConfigurationError: There is no kubeconfig that can be read.
    """
    return PlaceRequest(
        organization=flags["organization"],
        project=flags["project"],
        environment=flags["environment"],
        namespace=flags["namespace"],
        current=current_namespace(flags["kubeconfig"], flags["context"]),
    )


class Session:
    """Runs operations one after another in one event loop.

    Between two of them no loop runs, so that Ctrl-C ends a prompt at once.
    """

    def __init__(self, connection: Connection) -> None:
        """Take how the person reaches the cluster."""
        self._connection = connection
        self._runner = asyncio.Runner()
        self._cluster: Cluster | None = None
        self._used = 0.0

    def __enter__(self) -> Self:
        """Return the session, whose connections are closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()

    def run(self, operation: Callable[[Cluster], Awaitable[_Result]]) -> _Result:
        """Run one operation and return its result."""
        return self._runner.run(self._run(operation))

    async def _run(self, operation: Callable[[Cluster], Awaitable[_Result]]) -> _Result:
        if time.monotonic() - self._used > _IDLE_SECONDS:
            await self._close()
        if self._cluster is None:
            self._cluster = await Cluster.connect_as(self._connection)
        try:
            return await operation(self._cluster)
        finally:
            self._used = time.monotonic()

    async def _close(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.close()
