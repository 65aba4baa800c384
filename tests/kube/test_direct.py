"""Connections of our own: HTTP/1.1 as servers may speak it, TLS with its certificates, proxies, and Ctrl-C."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import ssl
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.certificates import CertificateAuthority
from tests.kube.conftest import DEADLINE_SECONDS, CommandClient, eventually

from scoped_secrets.errors import UnavailableError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.credentials import Connection, Impersonation
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.kube.transport import MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

LOOPBACK = "127.0.0.1"
BODY = b'{"kind": "Thing"}'
PATH = "/api/v1/things"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve inside the block, and leave no connection behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def track(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # It runs in a task.
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(track, LOOPBACK, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Scripted:
    """Sends the same bytes for every request, and keeps what it was sent."""

    def __init__(self, answer: bytes, *, closes: bool = False, silent: bool = False) -> None:
        self.answer, self.closes, self.silent = answer, closes, silent
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.gone = asyncio.Event()

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        async with listening(self._talk, tls) as self.port:
            yield

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = next((line for line in head.split("\r\n") if line.startswith("Content-Length")), ": 0")
                self.bodies.append(await reader.readexactly(int(length.partition(": ")[2])))
                if self.silent:
                    continue
                writer.write(self.answer)
                await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()


def kubeconfig(folder: Path, server: str, *, user: Mapping[str, Any] | None = None, **cluster: Any) -> str:
    content = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "test", "user": user or {"token": "a-token"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


def connect(server: Scripted, folder: Path) -> CommandClient:
    """Return a client of a server without TLS."""
    return CommandClient(Connection(kubeconfig(folder, f"http://{LOOPBACK}:{server.port}")))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ncontent-length:17\r\n\r\n" + BODY,
        b"HTTP/1.1 200\r\nContent-Length: 17\r\n\r\n" + BODY,
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;x=y\r\n{"kind":\r\n9\r\n "Thing"}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n{"kind": "\r\n7\r\nThing"}\r\n0\r\nX: y\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY,
    ],
)
async def test_every_form_of_a_response_is_read_and_the_connection_stays(tmp_path: Path, answer: bytes):
    server = Scripted(answer)
    async with (
        server.serve(),
        connect(server, tmp_path) as cluster,
    ):
        found = [await cluster.get(PATH) for _ in range(3)]

    assert found == [{"kind": "Thing"}] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "head", ["HTTP/1.1 200 OK\r\nConnection: close", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: Close"]
)
async def test_a_connection_that_the_server_closes_is_not_used_again(tmp_path: Path, head: str):
    server = Scripted(f"{head}\r\n\r\n".encode() + BODY, closes=True)
    async with (
        server.serve(),
        connect(server, tmp_path) as cluster,
    ):
        assert [await cluster.get(PATH) for _ in range(2)] == [{"kind": "Thing"}] * 2

    assert server.connections == 2


async def test_an_idle_connection_that_the_server_closed_is_replaced(tmp_path: Path):
    server = Scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY, closes=True)
    async with (
        server.serve(),
        connect(server, tmp_path) as cluster,
    ):
        assert await cluster.get(PATH)
        stream = cluster.transport._idle
        assert stream is not None
        await eventually(lambda: not stream.is_open)
        assert await cluster.get(PATH)

    assert server.connections == 2


def lists(client: CommandClient, count: int) -> Awaitable[Any]:
    """Read as many different lists as one operation that gathers them."""

    async def read() -> list[Any]:
        cluster = client.cluster
        return list(await gather(*(cluster.get(f"{PATH}-{number}") for number in range(count)), return_exceptions=True))

    return client.together(read())


async def test_requests_that_are_gathered_are_sent_together_and_answered_in_order(tmp_path: Path):
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # It answers nothing before all requests are there.
        heads.extend([await reader.readuntil(b"\r\n\r\n") for _ in range(4)])
        for head in heads:
            body = json.dumps({"path": head.decode().split()[1]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async with listening(talk) as port:
        client = CommandClient(Connection(kubeconfig(tmp_path, f"http://{LOOPBACK}:{port}")))
        async with client, asyncio.timeout(10):
            found = await lists(client, 4)

    assert found == [{"path": f"{PATH}-{number}"} for number in range(4)]


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nConnection: close", "HTTP/1.1 200 OK"])
async def test_requests_behind_a_closed_connection_are_sent_again(tmp_path: Path, head: str):
    server = Scripted(f"{head}\r\nContent-Length: 17\r\n\r\n".encode() + BODY, closes=True)
    async with server.serve(), connect(server, tmp_path) as client, asyncio.timeout(10):
        found = await lists(client, 3)

    assert found == [{"kind": "Thing"}] * 3
    assert server.connections == 3


async def test_many_requests_are_sent_in_groups_so_that_the_server_can_send_its_responses(tmp_path: Path):
    waiting: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (MAX_CONNECTIONS, MAX_CONNECTIONS, 1):
            for _ in range(size):
                await reader.readuntil(b"\r\n\r\n")
            waiting.append(len(reader._buffer))  # type: ignore[attr-defined]
            writer.write((b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY) * size)
            await writer.drain()

    async with listening(talk) as port:
        client = CommandClient(Connection(kubeconfig(tmp_path, f"http://{LOOPBACK}:{port}")))
        async with client:
            answers = await lists(client, 2 * MAX_CONNECTIONS + 1)

    assert answers == [{"kind": "Thing"}] * (2 * MAX_CONNECTIONS + 1)
    assert waiting == [0, 0, 0]


async def test_a_request_that_changes_something_is_sent_once_and_alone(tmp_path: Path):
    server = Scripted(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY, closes=True)

    async def change(cluster: Cluster) -> list[Any]:
        written = cluster.create(PATH, {"kind": "Thing"}), cluster.create(PATH, {"kind": "Thing"})
        return list(await gather(*written, cluster.get(PATH)))

    async with server.serve(), connect(server, tmp_path) as client, asyncio.timeout(10):
        assert await client.together(change(client.cluster)) == [{"kind": "Thing"}] * 3

    assert [head.split()[0] for head in server.heads] == ["GET", "POST", "POST"]


async def test_all_requests_fail_when_the_server_does_not_answer(tmp_path: Path):
    server = Scripted(b"HTTP/2 200\r\n\r\n", closes=True)
    async with server.serve(), connect(server, tmp_path) as client, asyncio.timeout(10):
        found = await lists(client, 3)

    assert [str(each) for each in found] == [
        f"GET {PATH}-{number}: the API server does not answer (ProtocolError)" for number in range(3)
    ]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 xyz OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"",
    ],
)
async def test_what_is_not_http_is_no_answer(tmp_path: Path, answer: bytes):
    server = Scripted(answer, closes=True)
    async with (
        server.serve(),
        connect(server, tmp_path) as cluster,
    ):
        with pytest.raises(UnavailableError, match="does not answer") as caught:
            await cluster.get(PATH)

    assert caught.value.__context__ is None


async def test_the_request_has_length_token_and_what_it_stands_for(tmp_path: Path):
    server = Scripted(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
    async with server.serve():
        path = kubeconfig(tmp_path, f"http://{LOOPBACK}:{server.port}/behind/a/path/")
        async with CommandClient(Connection(path, identity=Impersonation("jane"))) as cluster:
            await cluster.create(PATH, {"kind": "Thing", "text": "é"}, dry_run=True)

    (head,), (body,) = server.heads, server.bodies
    line, *headers = head.strip().split("\r\n")
    assert line == f"POST /behind/a/path{PATH}?fieldManager=scoped-secrets&dryRun=All HTTP/1.1"
    assert {f"Host: {LOOPBACK}:{server.port}", "Authorization: Bearer a-token", "Impersonate-User: jane"} < set(headers)
    assert json.loads(body) == {"kind": "Thing", "text": "é"}


async def test_a_line_break_in_a_header_sends_nothing(tmp_path: Path):
    server = Scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    async with server.serve():
        path = kubeconfig(tmp_path, f"http://{LOOPBACK}:{server.port}")
        connection = Connection(path, identity=Impersonation("jane\r\nImpersonate-Group: system:masters"))
        async with CommandClient(connection) as cluster:
            with pytest.raises(UnavailableError, match="ProtocolError"):
                await cluster.get(PATH)

    assert server.heads == []


async def test_a_request_ends_after_its_time(tmp_path: Path):
    server = Scripted(b"", silent=True)
    async with (
        server.serve(),
        connect(server, tmp_path) as cluster,
    ):
        with pytest.raises(UnavailableError, match="TimeoutError"):
            await cluster.get(PATH, seconds=0.05)
        async with asyncio.timeout(10):
            await server.gone.wait()


async def test_a_slow_response_ends_after_the_time_of_the_request(tmp_path: Path):
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"X")
            await asyncio.sleep(0.01)

    async with listening(drip) as port:
        path = kubeconfig(tmp_path, f"http://{LOOPBACK}:{port}")
        async with CommandClient(Connection(path)) as cluster, asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="TimeoutError"):
                await cluster.get(PATH, seconds=0.1)


async def test_ctrl_c_ends_a_request_at_once(tmp_path: Path):
    server = Scripted(b"", silent=True)
    async with server.serve():
        path = kubeconfig(tmp_path, f"http://{LOOPBACK}:{server.port}")
        program = (
            "from scoped_secrets.kube.client import Cluster; from scoped_secrets.kube.credentials import Connection\n"
            "from scoped_secrets.kube.pipelining import run\n"
            f"run(Cluster.connect_directly(Connection({path!r})).get({PATH!r}))"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
        await eventually(lambda: server.heads)
        ended = asyncio.create_task(process.communicate())
        async with asyncio.timeout(DEADLINE_SECONDS):
            # Python sees a signal that arrives right before a blocking call only at the next one.
            while not ended.done():
                process.send_signal(signal.SIGINT)
                await asyncio.wait({ended}, timeout=3)
        _, errors = await ended

    assert errors.endswith(b"KeyboardInterrupt\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path_factory.mktemp("authority"))


def server_context(authority: CertificateAuthority, name: str = LOOPBACK, *, asks: bool = False) -> ssl.SSLContext:
    pair = authority.issue_server(name, [name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if asks:
        context.load_verify_locations(authority.path)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("name", "cluster", "works"),
    [
        (LOOPBACK, {"authority": True}, True),
        (LOOPBACK, {}, False),
        ("api.example", {"authority": True}, False),
        ("api.example", {"authority": True, "tls-server-name": "api.example"}, True),
        ("api.example", {"insecure-skip-tls-verify": True}, True),
    ],
)
async def test_the_servers_certificate_is_verified_as_the_kubeconfig_says(
    tmp_path: Path, authority: CertificateAuthority, name: str, cluster: dict[str, Any], works: bool
):
    server = Scripted(OK)
    if cluster.get("authority"):
        cluster = {key: value for key, value in cluster.items() if key != "authority"}
        cluster["certificate-authority-data"] = encoded(authority.path)
    async with server.serve(server_context(authority, name)):
        path = kubeconfig(tmp_path, f"https://{LOOPBACK}:{server.port}", **cluster)
        async with CommandClient(Connection(path)) as client:
            if works:
                assert await client.get(PATH) == {"kind": "Thing"}
            else:
                with pytest.raises(UnavailableError, match="SSLCertVerificationError"):
                    await client.get(PATH)


@pytest.mark.parametrize("is_inline", [True, False])
async def test_a_client_certificate_is_shown_from_the_kubeconfig_and_from_files(
    tmp_path: Path, authority: CertificateAuthority, is_inline: bool
):
    pair = authority.issue_client("jane", "jane", [])
    server = Scripted(OK)
    if is_inline:
        user = {"client-certificate-data": encoded(pair.certificate), "client-key-data": encoded(pair.key)}
    else:
        # Relative paths begin at the kubeconfig.
        for source, target in ((pair.certificate, "own.crt"), (pair.key, "own.key")):
            (tmp_path / target).write_bytes(source.read_bytes())
        user = {"client-certificate": "own.crt", "client-key": "own.key"}
    async with server.serve(server_context(authority, asks=True)):
        trusted = {"certificate-authority": str(authority.path)}
        path = kubeconfig(tmp_path, f"https://{LOOPBACK}:{server.port}", user=user, **trusted)
        async with CommandClient(Connection(path)) as client:
            assert await client.get(PATH) == {"kind": "Thing"}


class ConnectProxy:
    """An HTTP proxy that passes on what CONNECT asks for."""

    def __init__(self, port: int, status: str = "200 Connection established") -> None:
        self.target, self.status = port, status
        self.heads: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with listening(self._talk) as self.port:
            yield

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self.target)
        try:
            await asyncio.gather(_pipe(reader, server_writer), _pipe(server_reader, writer))
        finally:
            server_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_the_proxy_passes_tls_on_and_gets_its_own_credentials_only(
    tmp_path: Path, authority: CertificateAuthority
):
    server = Scripted(OK)
    async with server.serve(server_context(authority)):
        proxy = ConnectProxy(server.port)
        async with proxy.serve():
            cluster: dict[str, Any] = {
                "certificate-authority-data": encoded(authority.path),
                "proxy-url": f"http://who:p%40ss@{LOOPBACK}:{proxy.port}",
            }
            path = kubeconfig(tmp_path, f"https://{LOOPBACK}:{server.port}", **cluster)
            async with CommandClient(Connection(path)) as client:
                assert await client.get(PATH) == {"kind": "Thing"}

    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {LOOPBACK}:{server.port} HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'who:p@ss').decode()}\r\n" in head
    assert "a-token" not in head


async def ask_directly(connection: Connection) -> None:
    async with CommandClient(connection) as client:
        await client.get(PATH)


async def ask_by_library(connection: Connection) -> None:
    async with await Cluster.connect_as(connection) as client:
        await client.get(PATH)


@pytest.mark.parametrize("ask", [ask_directly, ask_by_library])
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
async def test_a_proxy_that_refuses_is_named_and_its_credentials_are_not(
    tmp_path: Path, status: str, ask: Callable[[Connection], Awaitable[None]]
):
    server = Scripted(OK)
    async with server.serve():
        proxy = ConnectProxy(server.port, status)
        async with proxy.serve():
            cluster: dict[str, Any] = {"proxy-url": f"http://who:canary@{LOOPBACK}:{proxy.port}"}
            path = kubeconfig(tmp_path, f"https://{LOOPBACK}:{server.port}", **cluster)
            with pytest.raises(UnavailableError) as caught:
                await ask(Connection(path))

    assert str(caught.value) == (
        f"GET {PATH}: the proxy does not pass the connection on ({status[:3]}); check `proxy-url` of the kubeconfig, "
        "or HTTPS_PROXY and NO_PROXY of the environment"
    )
    assert caught.value.__context__ is None
    assert len(proxy.heads) == 1
    assert server.heads == []


@pytest.mark.parametrize(("proxy", "is_direct"), [("http://proxy.example:3128", True), ("https://proxy", False)])
def test_a_proxy_that_speaks_tls_is_left_to_the_client_library(tmp_path: Path, proxy: str, is_direct: bool):
    cluster: dict[str, Any] = {"proxy-url": proxy}
    path = kubeconfig(tmp_path, "https://api.example:6443", **cluster)

    assert (Cluster.connect_directly(Connection(path)) is not None) == is_direct
