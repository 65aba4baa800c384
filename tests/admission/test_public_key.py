"""The webhooks' port publishes the sealing certificate and nothing else."""

import contextlib
import ssl
from datetime import UTC, datetime

import aiohttp
import pytest
from tests.admission.support import CLUSTER_ID, KEYS

from scoped_secrets import names
from scoped_secrets.admission.server import ReviewServer
from scoped_secrets.admission.tls import TlsPair, load_pair, server_context
from scoped_secrets.crypto.certificates import plan_certificates
from scoped_secrets.crypto.sealing_certificate import SealingCertificate

SECONDS = 10.0
CERTIFICATE = SealingCertificate(CLUSTER_ID, KEYS.public())
STATE = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)


@contextlib.asynccontextmanager
async def asking(document):
    """Serve a document, and yield what asks for it and returns status, headers and text."""
    tls = server_context()
    load_pair(tls, TlsPair(STATE.leaf.certificate_pem(), STATE.leaf.private_key_pem()))
    server = ReviewServer({}, lambda: tls, documents={names.CERTIFICATE_PATH: lambda: document})
    port = await server.start("127.0.0.1", 0)
    trusting = ssl.create_default_context(cadata=STATE.authority.certificate_pem().decode())
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusting), timeout=aiohttp.ClientTimeout(SECONDS)
    )

    async def ask(method="GET", path=names.CERTIFICATE_PATH, **given):
        async with session.request(method, f"https://127.0.0.1:{port}{path}", **given) as response:
            return response.status, response.headers, await response.read()

    try:
        async with session:
            yield ask
    finally:
        await server.stop(1.0)


async def test_the_sealing_certificate_is_public_plain_text():
    async with asking(CERTIFICATE.serialize()) as ask:
        status, headers, text = await ask()

    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=us-ascii")
    assert SealingCertificate.parse(text) == CERTIFICATE


async def test_the_sealing_certificate_answers_head_requests():
    async with asking(CERTIFICATE.serialize()) as ask:
        status, headers, text = await ask("HEAD")

    assert (status, headers["Content-Length"], text) == (200, str(len(CERTIFICATE.serialize())), b"")


async def test_the_sealing_certificate_holds_nothing_private():
    async with asking(CERTIFICATE.serialize()) as ask:
        _, _, text = await ask()

    assert b"PRIVATE" not in text
    assert KEYS.active.serialize().splitlines()[1] not in text
    assert b"FINGERPRINT" not in text


async def test_the_sealing_certificate_is_unavailable_before_the_keys_are_known():
    async with asking(None) as ask:
        status, headers, _ = await ask()

    assert (status, headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_the_sealing_certificate_is_read_only(method):
    async with asking(CERTIFICATE.serialize()) as ask:
        status, headers, _ = await ask(method, data=b"x" * 100)

    assert (status, headers["Allow"]) == (405, "GET, HEAD")


async def test_the_body_of_a_request_for_the_sealing_certificate_is_not_read():
    async with asking(CERTIFICATE.serialize()) as ask:
        status, headers, text = await ask(data=b"x" * 1000)

    assert (status, headers["Connection"]) == (200, "close")
    assert text == CERTIFICATE.serialize()


@pytest.mark.parametrize("path", ["/public-key/", "/public-keys", "/", "//public-key"])
async def test_no_other_path_serves_the_sealing_certificate(path):
    async with asking(CERTIFICATE.serialize()) as ask:
        status, _, text = await ask(path=path)

    assert status == 404
    assert b"publicKey" not in text
