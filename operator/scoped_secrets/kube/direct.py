"""Connections of our own to the API server, for commands, which a person waits for.

The client library and aiohttp take longer to import than a request takes. HTTP/1.1 as an API server and the proxies
before it speak it needs few lines on asyncio's streams: no compression, no cookies and no redirections.
"""

import asyncio
import base64
import json
import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

from scoped_secrets import names
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.credentials import Access
from scoped_secrets.kube.response import Response
from scoped_secrets.kube.transport import CONNECT_SECONDS, MAX_CONNECTIONS, Request
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["DirectTransport"]

_PORTS: Final = {"http": 80, "https": 443}
# A header of this length in one line is a mistake or an attack; Go's limit for all of them is 1 MiB.
_LINE_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 200


class ProtocolError(Exception):
    """The server does not speak HTTP/1.1, or a request cannot be written in it."""


@dataclass(frozen=True, slots=True)
class _Address:
    """An address from a URL."""

    scheme: str
    host: str
    port: int
    path: str
    credentials: str
    """`user:password`, or nothing."""

    @classmethod
    def of(cls, url: str) -> "_Address":
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ProtocolError
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), credentials)

    @property
    def authority(self) -> str:
        """Return the address for the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Head:
    """The first lines of a response; names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for each, value in self.headers if each == name)

    def first(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True)
class _Stream:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, content: bytes) -> tuple[_Head, bytes]:
        """Send a request, and return the head and the content of the response."""
        self.writer.write(content)
        await self.writer.drain()
        head = await self.read_head()
        return head, await self._read_content(head)

    async def read_head(self) -> _Head:
        """Return the head of the response, after those that only say that the server is at work."""
        while True:
            version, _, rest = (await self._read_line()).partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
                raise ProtocolError
            headers: list[tuple[str, str]] = []
            while line := await self._read_line():
                name, colon, value = line.partition(":")
                if not colon or len(headers) == _MAX_HEADERS:
                    raise ProtocolError
                headers.append((name.lower(), value.strip()))
            status = int(rest[:3])
            if status >= HTTPStatus.OK:
                if version == "HTTP/1.0":
                    headers.append(("connection", "close"))
                return _Head(status, tuple(headers))

    async def _read_content(self, head: _Head) -> bytes:
        if head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return b""
        coding = head.first("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise ProtocolError
            return await self._read_chunks()
        length = head.first("content-length")
        if length is not None:
            return await self.reader.readexactly(int(length))
        return await self.reader.read()

    async def _read_chunks(self) -> bytes:
        chunks = []
        while size := int((await self._read_line()).partition(";")[0], 16):
            chunks.append(await self.reader.readexactly(size))
            if await self._read_line():
                raise ProtocolError
        # Trailers say nothing that anyone asks for.
        while await self._read_line():
            pass
        return b"".join(chunks)

    async def _read_line(self) -> str:
        line = await self.reader.readuntil(b"\n")
        return line.rstrip(b"\r\n").decode("latin-1")

    @property
    def is_open(self) -> bool:
        """Tell whether the server keeps the connection, and sent nothing beside its answers."""
        return not self.reader.at_eof() and not self.writer.is_closing()


class DirectTransport:
    """Sends requests over a few connections that stay open, as `Transport` wants it."""

    def __init__(self, access: Access, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Take address and credentials; only requests need a running event loop.

        Args:
            access: Address and credentials.
            headers: Headers of every request, such as those of impersonation; a name may occur several times.
        """
        self._headers = tuple(headers)
        self._access = access
        self._idle: list[_Stream] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._context: ssl.SSLContext | None = None

    async def send(self, request: Request) -> Response:
        """Send one request and read the whole response: see `Transport`."""
        server = _Address.of(self._access.server)
        content = self._encode(request, server)
        async with asyncio.timeout(request.seconds), self._slots:
            stream = await self._take(server)
            is_reusable = False
            try:
                head, body = await stream.exchange(content)
                is_reusable = "close" not in (head.first("connection") or "").lower()
            finally:
                # After an error or Ctrl-C, the rest of a response may still come.
                if is_reusable:
                    self._idle.append(stream)
                else:
                    stream.writer.close()
        return Response(head.status, SecretValue(body), head.first("retry-after"), head.all("warning"))

    async def close(self) -> None:
        """Close the connections; the process does not wait for the server's farewell."""
        for stream in self._idle:
            stream.writer.transport.abort()
        self._idle.clear()

    def _encode(self, request: Request, server: _Address) -> bytes:
        body = b"" if request.body is None else json.dumps(request.body).encode()
        headers = {
            "Host": server.authority,
            "User-Agent": names.DISTRIBUTION,
            **request.headers,
            **({} if request.body is None else {"Content-Length": str(len(body))}),
        }
        target = f"{server.path}{request.target}"
        written = (f"{name}: {value}" for name, value in (*headers.items(), *self._headers))
        lines = [f"{request.method} {target} HTTP/1.1", *written]
        if any(character in line for line in lines for character in "\r\n\0"):
            raise ProtocolError
        head = "\r\n".join(lines).encode()
        if self._access.authorization is not None:
            head += b"\r\nAuthorization: " + self._access.authorization.reveal()
        return head + b"\r\n\r\n" + body

    async def _take(self, server: _Address) -> _Stream:
        """Return a connection that is open, or a new one."""
        while self._idle:
            stream = self._idle.pop()
            if stream.is_open:
                return stream
            stream.writer.close()
        async with asyncio.timeout(CONNECT_SECONDS):
            return await self._open(server)

    async def _open(self, server: _Address) -> _Stream:
        is_secure = server.scheme == "https"
        name = (self._access.server_name or server.host) if is_secure else None
        tls = self._tls() if is_secure else None
        if self._access.proxy is None:
            return _Stream(
                *await asyncio.open_connection(
                    server.host, server.port, ssl=tls, server_hostname=name, limit=_LINE_BYTES
                )
            )
        stream = await self._through_proxy(_Address.of(self._access.proxy), server)
        if tls is not None:
            await stream.writer.start_tls(tls, server_hostname=name)
        return stream

    async def _through_proxy(self, proxy: _Address, server: _Address) -> _Stream:
        """Return a connection to the server that a proxy passes on."""
        tls = ssl.create_default_context() if proxy.scheme == "https" else None
        stream = _Stream(*await asyncio.open_connection(proxy.host, proxy.port, ssl=tls, limit=_LINE_BYTES))
        head = f"CONNECT {server.authority} HTTP/1.1\r\nHost: {server.authority}\r\n"
        if proxy.credentials:
            head += f"Proxy-Authorization: Basic {base64.b64encode(proxy.credentials.encode()).decode()}\r\n"
        is_open = False
        try:
            stream.writer.write(f"{head}\r\n".encode())
            is_open = (await stream.read_head()).status == HTTPStatus.OK
        finally:
            if not is_open:
                stream.writer.close()
        if not is_open:
            raise ProtocolError
        return stream

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            access = self._access
            context = ssl.create_default_context(cadata=access.authority)
            if access.certificate is not None:
                with _as_files(*access.certificate) as (certificate, key):
                    context.load_cert_chain(certificate, key)
            if not access.is_verified:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._context = context
        return self._context


@contextmanager
def _as_files(*contents: SecretValue) -> Iterator[list[str]]:
    """Give contents the paths that OpenSSL asks for; on Linux they are in memory only."""
    with ExitStack() as stack:
        paths = []
        for content in contents:
            if sys.platform == "linux":
                descriptor = os.memfd_create(names.DISTRIBUTION)
                path, file = f"/proc/self/fd/{descriptor}", stack.enter_context(open(descriptor, "wb"))  # noqa: PTH123 - it has no path.
            else:
                import tempfile  # noqa: PLC0415 - only here.

                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix=names.DISTRIBUTION))
                path = file.name
            file.write(content.reveal())
            file.flush()
            paths.append(path)
        yield paths
