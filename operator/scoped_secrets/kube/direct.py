"""Connections of our own to the API server, for commands, which a person waits for.

The client library and aiohttp take longer to import than a request takes. HTTP/1.1 as an API server and the proxies
before it speak it needs few lines on sockets: no compression, no cookies and no redirections.
"""

import base64
import json
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from scoped_secrets import names
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.credentials import Access
from scoped_secrets.kube.pipelining import Exchange, Outcome
from scoped_secrets.kube.proxies import ProxyRefusedError
from scoped_secrets.kube.response import Response
from scoped_secrets.kube.tls import verify_like_kubectl
from scoped_secrets.kube.transport import CONNECT_SECONDS, MAX_CONNECTIONS, Request
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["DirectTransport"]

_PORTS: Final = {"http": 80, "https": 443}
# A header of this length in one line is a mistake or an attack; Go's limit for all of them is 1 MiB.
_LINE_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 200
_RECEIVED_BYTES: Final = 256 * 1024


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


def _without_codec(host: str) -> str | bytes:
    """Return an ASCII host as bytes: Python encodes text as an international name, with a codec that loads slowly."""
    return host.encode() if host.isascii() else host


class _Stream:
    """An open connection, and what was received over it and is not read yet."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()
        self.deadline = 0.0
        """When reading and writing end with TimeoutError, as the monotonic clock has it."""

    def write(self, content: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(content)

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        self._socket.settimeout(self._left())
        self._socket = context.wrap_socket(self._socket, server_hostname=_without_codec(name))

    def close(self) -> None:
        self._socket.close()

    @property
    def is_open(self) -> bool:
        """Tell whether the server keeps the connection, and sent nothing beside its responses."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return not readable and not self._received

    def read_head(self) -> _Head:
        """Return the head of the response, after those that only say that the server is at work."""
        while True:
            version, _, rest = self._read_line().partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
                raise ProtocolError
            headers: list[tuple[str, str]] = []
            while line := self._read_line():
                name, colon, value = line.partition(":")
                if not colon or len(headers) == _MAX_HEADERS:
                    raise ProtocolError
                headers.append((name.lower(), value.strip()))
            status = int(rest[:3])
            if status >= HTTPStatus.OK:
                if version == "HTTP/1.0":
                    headers.append(("connection", "close"))
                return _Head(status, tuple(headers))

    def read_content(self, head: _Head) -> bytes:
        """Return what follows the head of a response."""
        if head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return b""
        coding = head.first("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise ProtocolError
            return self._read_chunks()
        length = head.first("content-length")
        return self._read(int(length)) if length is not None else self._read_rest()

    def _read_chunks(self) -> bytes:
        chunks = []
        while size := int(self._read_line().partition(";")[0], 16):
            chunks.append(self._read(size))
            if self._read_line():
                raise ProtocolError
        # Trailers say nothing that anyone asks for.
        while self._read_line():
            pass
        return b"".join(chunks)

    def _read_line(self) -> str:
        while (end := self._received.find(b"\n", 0, _LINE_BYTES)) < 0:
            if len(self._received) >= _LINE_BYTES:
                raise ProtocolError
            self._receive()
        return self._take(end + 1).rstrip(b"\r\n").decode("latin-1")

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        return self._take(size)

    def _read_rest(self) -> bytes:
        try:
            while True:
                self._receive()
        except EOFError:
            return self._take(len(self._received))

    def _take(self, size: int) -> bytes:
        content = bytes(self._received[:size])
        del self._received[:size]
        return content

    def _receive(self) -> None:
        """Wait for more; raise EOFError at the end."""
        self._socket.settimeout(self._left())
        content = self._socket.recv(_RECEIVED_BYTES)
        if not content:
            raise EOFError
        self._received += content

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class DirectTransport:
    """Sends requests over a connection that stays open, as `Transport` wants it, for operations in `pipelining.run`."""

    def __init__(self, access: Access, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Take address and credentials.

        Args:
            access: Address and credentials.
            headers: Headers of every request, such as those of impersonation; a name may occur several times.
        """
        self._headers = tuple(headers)
        self._access = access
        self._idle: _Stream | None = None
        self._context: ssl.SSLContext | None = None

    async def send(self, request: Request) -> Response:
        """Send one request and read the whole response: see `Transport`."""
        return await Exchange(request, self.exchange)

    async def close(self) -> None:
        """Close the connection; the process does not wait for the server's farewell."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def exchange(self, requests: Sequence[Request]) -> list[Outcome]:
        """Send requests and return their outcomes in the same order.

        Those that only read are sent together (HTTP pipelining), so that there is no round trip between them, up to a
        bound: a server that cannot send its responses reads no more requests. One that changes something is sent alone,
        because it must never be sent twice.
        """
        outcomes: dict[int, Outcome] = {}
        reading = [number for number, request in enumerate(requests) if request.method == "GET"]
        together = [reading[start : start + MAX_CONNECTIONS] for start in range(0, len(reading), MAX_CONNECTIONS)]
        alone = [[number] for number, request in enumerate(requests) if request.method != "GET"]
        for numbers in together + alone:
            found = self._outcomes([requests[number] for number in numbers])
            outcomes.update(zip(numbers, found, strict=True))
        return [outcomes[number] for number in range(len(requests))]

    def _outcomes(self, requests: Sequence[Request]) -> list[Outcome]:
        """Send requests together and return their outcomes."""
        responses: list[Response] = []
        is_closed, is_reused = False, self._idle is not None
        try:
            server = _Address.of(self._access.server)
            content = b"".join(self._encode(request, server) for request in requests)
            stream = self._take(server, time.monotonic() + max(request.seconds for request in requests))
            failure = self._talk(stream, content, len(requests), responses)
            is_closed = failure is None or isinstance(failure, EOFError | ConnectionError)
        except Exception as error:  # noqa: BLE001 - the client says what became of each request.
            failure = error
        missing = requests[len(responses) :]
        is_reading = all(request.method == "GET" for request in missing)
        if is_closed and is_reading and (is_reused or len(requests) > 1):
            # A server may close a connection after each response. Each is sent again, the first over a new connection.
            return [*responses, *(outcome for request in missing for outcome in self._outcomes([request]))]
        return [*responses, *(failure or EOFError() for _ in missing)]

    def _talk(self, stream: _Stream, content: bytes, count: int, responses: list[Response]) -> Exception | None:
        """Send requests and add their responses to a list, until the server closes the connection.

        Args:
            stream: The connection.
            content: The requests.
            count: How many there are.
            responses: The list.

        Returns:
            Why not all could be read.
        """
        is_kept = False
        try:
            stream.write(content)
            while len(responses) < count:
                head = stream.read_head()
                body = SecretValue(stream.read_content(head))
                responses.append(Response(head.status, body, head.first("retry-after"), head.all("warning")))
                if "close" in (head.first("connection") or "").lower():
                    return None
            is_kept = True
        except Exception as error:  # noqa: BLE001 - as above.
            return error
        finally:
            # After an error or Ctrl-C, the rest of a response may still come.
            if is_kept:
                self._idle = stream
            else:
                stream.close()
        return None

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

    def _take(self, server: _Address, deadline: float) -> _Stream:
        """Return the connection if it is open, or a new one."""
        stream, self._idle = self._idle, None
        if stream is not None and not stream.is_open:
            stream.close()
            stream = None
        if stream is None:
            stream = self._open(server, min(deadline, time.monotonic() + CONNECT_SECONDS))
        stream.deadline = deadline
        return stream

    def _open(self, server: _Address, deadline: float) -> _Stream:
        proxy = None if self._access.proxy is None else _Address.of(self._access.proxy)
        first = proxy or server
        # It takes what `getaddrinfo` takes.
        address: Any = (_without_codec(first.host), first.port)
        connected = socket.create_connection(address, timeout=deadline - time.monotonic())
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = _Stream(connected)
        stream.deadline = deadline
        is_open = False
        try:
            if proxy is not None:
                _ask_proxy(stream, proxy, server)
            if server.scheme == "https":
                stream.start_tls(self._tls(), self._access.server_name or server.host)
            is_open = True
        finally:
            if not is_open:
                stream.close()
        return stream

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            access = self._access
            context = verify_like_kubectl(ssl.create_default_context(cadata=access.authority))
            if access.certificate is not None:
                with _as_files(*access.certificate) as (certificate, key):
                    context.load_cert_chain(certificate, key)
            if not access.is_verified:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._context = context
        return self._context


def _ask_proxy(stream: _Stream, proxy: _Address, server: _Address) -> None:
    """Have a proxy pass the connection on to the server; raise ProxyRefusedError when it does not."""
    head = f"CONNECT {server.authority} HTTP/1.1\r\nHost: {server.authority}\r\n"
    if proxy.credentials:
        head += f"Proxy-Authorization: Basic {base64.b64encode(proxy.credentials.encode()).decode()}\r\n"
    stream.write(f"{head}\r\n".encode())
    status = stream.read_head().status
    if status != HTTPStatus.OK:
        raise ProxyRefusedError(status)


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
