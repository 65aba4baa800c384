"""An HTTP server with TLS for the webhooks of tests."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl


class TlsServer(ThreadingHTTPServer):
    """Threads, so that one slow answer holds up no other; the handshake is made in the thread."""

    daemon_threads = True
    tls: ssl.SSLContext

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a client that has gone away."""


class TlsHandler(BaseHTTPRequestHandler):
    """Answers one connection of a `TlsServer`."""

    protocol_version = "HTTP/1.1"
    server: TlsServer

    def setup(self) -> None:
        """Make the handshake."""
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        """Close the connection."""
        super().finish()
        self.request.close()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class calls it so.
        """Print nothing about requests."""
