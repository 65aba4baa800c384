"""What clients of the webhooks' port can make the server hold."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of what clients can make the server hold, in seconds and bytes. The defaults suit a process with 512 MiB.

    Attributes:
        connections: Idle connections.
        connections_per_source: Idle connections of one address. The API server may open as many at once as it has
            requests, some hundred.
        kept_per_source: How many connections an address keeps while another one has more: the connections of Go's
            pool, which are 25 for each API server.
        buffered_bytes: Bytes of the bodies that are being read, and of the answers that are not sent yet, each over
            all connections.
        header_bytes: Bytes of the headers of a request.
        first_request_seconds: Time for handshake and headers of a connection's first request.
        body_seconds: Time for a body.
        answer_seconds: Time for the client to receive an answer.
        idle_seconds: How long a connection stays open between requests. It exceeds the 90 s of Go's clients, so that
            the API server closes first.
    """

    connections: int = 768
    connections_per_source: int = 384
    kept_per_source: int = 32
    buffered_bytes: int = 64 * 1024 * 1024
    header_bytes: int = 64 * 1024
    first_request_seconds: float = 10.0
    body_seconds: float = 5.0
    answer_seconds: float = 5.0
    idle_seconds: float = 120.0
