"""A mutating webhook of another product, which the API server calls after the operator's."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from tests.support.tls_server import TlsHandler, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

_LOOPBACK = "127.0.0.1"

Change: TypeAlias = "Callable[[dict[str, Any]], list[dict[str, Any]]]"
"""Returns the JSON Patch for a pod, empty when the pod is as the product wants it."""


class MutatingWebhook:
    """Changes the pods of one namespace, and is called again whenever another webhook has changed them."""

    # The API server calls configurations in the order of their names.
    NAME = "zz-rival"

    def __init__(self, change: Change, folder: Path) -> None:
        """Begin to listen.

        Args:
            change: What it does to a pod.
            folder: Where its certificate can be written.
        """
        state = plan_certificates(None, [_LOOPBACK], datetime.now(UTC), bundle_published=True)
        pair = folder / "rival.pem"
        pair.write_bytes(state.leaf.private_key_pem() + state.leaf.certificate_pem())
        self._bundle = ca_bundle(state)
        self._server = _Server((_LOOPBACK, 0), _Handler)
        self._server.change = change
        self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.tls.load_cert_chain(pair)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def calls(self) -> int:
        """How often it was called."""
        return self._server.calls

    def configuration(self, namespace: str) -> dict[str, Any]:
        """Return its configuration for the pods of a namespace."""
        url = f"https://{_LOOPBACK}:{self._server.server_address[1]}/"
        webhook = {
            "name": "pods.rival.example.com",
            "clientConfig": {"url": url, "caBundle": base64.b64encode(self._bundle).decode()},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.NAME},
            "webhooks": [webhook],
        }

    def __enter__(self) -> Self:
        """Return the webhook, which stops at the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(TlsServer):
    change: Change
    calls = 0


class _Handler(TlsHandler):
    server: _Server

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so.
        self.server.calls += 1
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self._answer(review["request"])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _answer(self, request: Mapping[str, Any]) -> bytes:
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        operations = self.server.change(request["object"])
        if operations:
            patch = base64.b64encode(json.dumps(operations).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch}
        return json.dumps(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        ).encode()
