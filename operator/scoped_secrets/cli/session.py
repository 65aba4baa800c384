"""One person's connection to the cluster, for commands that ask the person between two requests."""

import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection, Impersonation, current_namespace
from scoped_secrets.kube.pipelining import run
from scoped_secrets.operations.place import PlaceRequest

if TYPE_CHECKING:
    import asyncio

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
    """Runs operations one after another over connections that stay open.

    Between two of them nothing runs, so that Ctrl-C ends a prompt at once.
    """

    def __init__(self, connection: Connection) -> None:
        """Take how the person reaches the cluster."""
        self._connection = connection
        self._runner: asyncio.Runner | None = None
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
            self._close()
        finally:
            if self._runner is not None:
                self._runner.close()

    def run(self, operation: Callable[[Cluster], Coroutine[Any, Any, _Result]]) -> _Result:
        """Run one operation and return its result."""
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._close()
        if self._cluster is None:
            self._cluster = self._connect()
        try:
            return self._run(operation(self._cluster))
        finally:
            self._used = time.monotonic()

    def _connect(self) -> Cluster:
        cluster = Cluster.connect_directly(self._connection)
        if cluster is not None:
            return cluster
        import asyncio  # noqa: PLC0415 - only the client library needs it, and few kubeconfigs need the library.

        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(Cluster.connect_as(self._connection))

    def _run(self, operation: Coroutine[Any, Any, _Result]) -> _Result:
        return run(operation) if self._runner is None else self._runner.run(operation)

    def _close(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            self._run(cluster.close())
