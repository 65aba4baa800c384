"""A relay between API server and admission server that keeps every answer, so that all of them can be searched."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.support.tls_server import TlsHandler, TlsServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_LOOPBACK = "127.0.0.1"
_SECONDS = 30.0
_PASSED_ON = ("Content-Type", "Accept", "User-Agent")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the admission server."""

    path: str
    status: int
    body: bytes

    def searchable(self) -> bytes:
        """Return the body, and behind it the patch in plain text, which stands in the body as base64."""
        try:
            patch = json.loads(self.body)["response"]["patch"]
        except (KeyError, TypeError, ValueError):
            return self.body
        return self.body + b"\n" + base64.b64decode(patch)


class WebhookRecorder:
    """Passes every request on as it came and every answer back as it came."""

    def __init__(self, upstream_port: int) -> None:
        """Take where the admission server listens on loopback; `serve` begins to listen."""
        self.upstream_port = upstream_port
        self.answers: list[Answer] = []
        self._server = _Server((_LOOPBACK, 0), _Relay)
        self._server.recorder = self
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def serve(self, material: Path) -> None:
        """Begin to answer with the admission server's own certificate, from the folder of its material."""
        if self._thread is not None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(material / "tls.crt", material / "tls.key")
        self._server.tls = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """Ask the admission server directly, as anybody who reaches its port can."""
        return self.relay(path, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def relay(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Pass a request on and keep the answer.

        Raises:
            OSError: There is no answer.
        """
        # The certificate is the API server's business; here it would only have to be checked against itself.
        context = ssl._create_unverified_context()  # noqa: S323 - loopback, and see above.
        connection = http.client.HTTPSConnection(_LOOPBACK, self.upstream_port, timeout=_SECONDS, context=context)
        try:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            answer = Answer(path, response.status, response.read())
        finally:
            connection.close()
        self.answers.append(answer)
        return answer

    def close(self) -> None:
        """Stop listening."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return the recorder, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self.close()


class _Server(TlsServer):
    recorder: WebhookRecorder


class _Relay(TlsHandler):
    server: _Server

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so.
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        try:
            answer = self.server.recorder.relay(self.path.partition("?")[0], body, headers)
        except OSError:
            answer = Answer(self.path, http.client.BAD_GATEWAY, b"")
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
