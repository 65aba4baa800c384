"""The floor of admission: an aiohttp server that reads a review, allows it, and does nothing else.

Run in a process of its own, as ours is, with the same TLS and HTTP/1.1. Under ``/patch`` it also answers with a patch
that was given to it: the part of the price that the API server takes for any patch of that size.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from aiohttp import web


async def allow(request: web.Request) -> web.Response:
    """Allow whatever is asked."""
    return _answer(json.loads(await request.read()), {})


async def patch(request: web.Request) -> web.Response:
    """Allow a pod, and patch it as it is created: the second time it has the patch already."""
    review = json.loads(await request.read())
    if review["request"]["object"]["spec"].get("volumes"):
        return _answer(review, {})
    return _answer(review, {"patchType": "JSONPatch", "patch": request.app[PATCH]})


PATCH = web.AppKey("PATCH", str)


def _answer(review: dict[str, Any], more: dict[str, str]) -> web.Response:
    response = {"uid": review["request"]["uid"], "allowed": True, **more}
    return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context with what ours sets: TLS 1.2 or later, HTTP/1.1 only, no tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    return context


def main() -> None:
    """Serve on loopback: port, certificate, key and a file with the patch are the arguments."""
    port, certificate, key, patch_file = sys.argv[1:]
    application = web.Application(client_max_size=3 * 1024 * 1024)
    application[PATCH] = base64.b64encode(Path(patch_file).read_bytes()).decode()
    application.router.add_post("/null", allow)
    application.router.add_post("/patch", patch)
    context = tls_context(certificate, key)
    web.run_app(application, host="127.0.0.1", port=int(port), ssl_context=context, access_log=None, print=None)


if __name__ == "__main__":
    main()
