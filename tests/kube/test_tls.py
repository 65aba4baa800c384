"""Every client of the API server verifies its certificate as kubectl does, whatever Python adds to its defaults."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.cluster import certificates
from tests.cluster.certificates import CertificateAuthority
from tests.kube.conftest import CommandClient

from scoped_secrets.errors import UnavailableError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection
from scoped_secrets.kube.kopf_adapter import _Login

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from scoped_secrets.kube.watch_handlers import WatchHandler

LOOPBACK = "127.0.0.1"
PATH = "/api/v1/things"
BODY = b'{"kind": "Thing"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: close\r\n\r\n" + BODY


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the standard library make the contexts of Python 3.13, with older versions too."""
    create = ssl.create_default_context

    def create_strict(*arguments: Any, **named: Any) -> ssl.SSLContext:
        context = create(*arguments, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create_strict)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """An authority without a Subject Key Identifier."""
    return CertificateAuthority.create(tmp_path)


@asynccontextmanager
async def serving(authority: CertificateAuthority, name: str) -> AsyncIterator[int]:
    """Answer requests inside the block, with a certificate for a name."""
    pair = authority.issue_server(f"server-{name}", [name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def kubeconfig(folder: Path, port: int, authority: CertificateAuthority) -> str:
    trusted = base64.b64encode(authority.path.read_bytes()).decode()
    cluster = {"server": f"https://{LOOPBACK}:{port}", "certificate-authority-data": trusted}
    content = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": "a-token"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


async def ask_as_command(path: str) -> Any:
    async with CommandClient(Connection(path)) as client:
        return await client.get(PATH)


async def ask_as_process(path: str) -> Any:
    async with await Cluster.connect(path) as client:
        return await client.get(PATH)


async def ask_as_watch(path: str) -> Any:
    async def begin(_: WatchHandler) -> str:
        return ""

    login = _Login(path, [], begin)
    session = await login.log_in()
    try:
        async with await session.aiohttp_session.request("get", f"{session.server}{PATH}") as response:
            return await response.json()
    finally:
        await login.close()


CLIENTS = pytest.mark.parametrize("ask", [ask_as_command, ask_as_process, ask_as_watch])
REFUSED = (UnavailableError, aiohttp.ClientConnectorCertificateError)


@CLIENTS
async def test_an_authority_without_key_identifiers_is_trusted(
    tmp_path: Path, authority: CertificateAuthority, ask: Callable[[str], Awaitable[Any]]
):
    async with serving(authority, LOOPBACK) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Key Identifier"):
            await asyncio.open_connection(
                LOOPBACK, port, ssl=ssl.create_default_context(cadata=authority.path.read_text())
            )

        assert await ask(kubeconfig(tmp_path, port, authority)) == {"kind": "Thing"}


@CLIENTS
async def test_chain_expiry_and_host_name_are_verified(
    tmp_path: Path,
    authority: CertificateAuthority,
    ask: Callable[[str], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "other"
    folder.mkdir()
    other = CertificateAuthority.create(folder)
    async with serving(authority, LOOPBACK) as port:
        with pytest.raises(REFUSED, match=r"Certificate|SSLCertVerification"):
            await ask(kubeconfig(tmp_path, port, other))
    async with serving(authority, "api.example") as port:
        with pytest.raises(REFUSED, match=r"Certificate|SSLCertVerification"):
            await ask(kubeconfig(tmp_path, port, authority))
    monkeypatch.setattr(certificates, "LIFETIME", -certificates.CLOCK_SKEW / 2)
    async with serving(authority, LOOPBACK) as port:
        with pytest.raises(REFUSED, match=r"Certificate|SSLCertVerification"):
            await ask(kubeconfig(tmp_path, port, authority))
