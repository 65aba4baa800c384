"""What carries requests to the API server: the client library, or connections of our own where it is not needed."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from scoped_secrets.kube.response import Response
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["CONNECT_SECONDS", "MAX_CONNECTIONS", "Request", "Submitted", "Transport"]

Submitted: TypeAlias = Mapping[str, Any] | list[Mapping[str, Any]]
"""What a request holds: an object, or the operations of a JSON patch."""

# How many requests there are at once; more would only wait in the server instead of here (DESIGN section 9).
MAX_CONNECTIONS = 16
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: The HTTP method.
        target: The path with its query.
        headers: The headers, without those of the connection and of the credentials.
        body: What is sent as JSON; ``None`` for nothing.
        seconds: The timeout, with the time that the request waits for a connection.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Submitted | None
    seconds: float


class Transport(Protocol):
    """Sends requests with the credentials of one person or ServiceAccount."""

    async def send(self, request: Request) -> Response:
        """Send one request and read the whole response, whatever its status.

        Any exception means that there is no response. It may hold the request, so that it is never shown; only the
        message of `ProxyRefusedError` is.
        """

    async def close(self) -> None:
        """Close the connections."""
