"""Connects to the admission server as the API server does, with the caBundle as the only trusted authority."""

import asyncio
import ssl
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import MAX_CERTIFICATE_BYTES, SealingCertificate
from scoped_secrets.doctor.facts import Reach, Served
from scoped_secrets.kube.tls import verify_like_kubectl

__all__ = ["ask_admission", "origin_of"]

_SECONDS: Final = 3.0

# Codes of OpenSSL; its own sentences may quote names.
_PROBLEMS: Final = {
    10: "it has expired",
    18: "it is signed by itself",
    19: "it is signed by an authority that the caBundle does not have",
    20: "it is signed by an authority that the caBundle does not have",
    62: "it is for another name",
    64: "it is for another address",
}


def origin_of(client_config: dict[str, Any]) -> str:
    """Return scheme, host and port at which the API server calls a webhook, as a URL without a path."""
    service = client_config.get("service")
    if isinstance(service, dict):
        return f"https://{service.get('name')}.{service.get('namespace')}.svc:{service.get('port') or 443}"
    parts = urlsplit(str(client_config.get("url") or ""))
    return f"{parts.scheme}://{parts.netloc}"


async def ask_admission(origin: str, bundle: bytes) -> Served:
    """Fetch the sealing certificate from the admission server, and record the certificate of the server.

    Args:
        origin: The address of the server, as `origin_of` returns it.
        bundle: The caBundle as PEM.
    """
    try:
        trust = _trust(bundle)
    except (ssl.SSLError, ValueError):
        return Served(origin, Reach.UNTRUSTED, "the caBundle holds no certificate")
    parts = urlsplit(origin)
    host = parts.hostname or ""
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, parts.port or 443, ssl=trust, server_hostname=host)
            try:
                return await _converse(origin, host, reader, writer)
            finally:
                writer.transport.abort()
    except ssl.SSLCertVerificationError as error:
        return Served(origin, Reach.UNTRUSTED, _PROBLEMS.get(error.verify_code, f"OpenSSL says {error.verify_code}"))
    except (OSError, TimeoutError, ValueError, EOFError):
        return Served(origin, Reach.UNREACHABLE)


async def _converse(origin: str, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Served:
    """Ask over an open, trusted connection. HTTP clients do not return the certificate of the server."""
    shown = writer.get_extra_info("peercert") or {}
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC) if "notAfter" in shown else None
    writer.write(f"GET {names.CERTIFICATE_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
    answer = b""
    try:
        while len(answer) < MAX_CERTIFICATE_BYTES and (part := await reader.read(MAX_CERTIFICATE_BYTES)):
            answer += part
    except (ConnectionError, ssl.SSLError):
        # With --client-ca-file the server shows its certificate and then requires one of the client.
        return Served(origin, Reach.TRUSTED, end=end)
    head, _, body = answer.partition(b"\r\n\r\n")
    return Served(origin, Reach.TRUSTED, end=end, checksum=_checksum(body) if b" 200 " in head[:16] else "")


def _trust(bundle: bytes) -> ssl.SSLContext:
    # The API server is a program in Go too.
    return verify_like_kubectl(ssl.create_default_context(cadata=bundle.decode("ascii")))


def _checksum(body: bytes) -> str:
    try:
        return SealingCertificate.parse(body).checksum
    except KeyMaterialError:
        return ""
