"""Asks the admission server itself, as the API server would: with the caBundle as the only trust."""

import ssl
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from scoped_secrets import names
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.sealing_certificate import MAX_CERTIFICATE_BYTES, SealingCertificate
from scoped_secrets.doctor.facts import Reach, Served

__all__ = ["ask_admission", "origin_of"]

_SECONDS: Final = 3.0

# Codes of OpenSSL; its own sentences may quote names.
_PROBLEMS: Final = {
    10: "it has expired",
    18: "it is signed by itself",
    19: "an authority signed it that the caBundle does not have",
    20: "an authority signed it that the caBundle does not have",
    62: "it is for another name",
}


def origin_of(client_config: dict[str, Any]) -> str:
    """Return scheme, host and port at which the API server calls a webhook, as a URL without a path."""
    service = client_config.get("service")
    if isinstance(service, dict):
        return f"https://{service.get('name')}.{service.get('namespace')}.svc:{service.get('port') or 443}"
    parts = urlsplit(str(client_config.get("url") or ""))
    return f"{parts.scheme}://{parts.netloc}"


async def ask_admission(origin: str, bundle: bytes) -> Served:
    """Fetch the sealing certificate from the admission server, and see what it shows on the way.

    Args:
        origin: Where it is, as `origin_of` returns it.
        bundle: The caBundle as PEM.
    """
    try:
        trust = _trust(bundle)
    except (ssl.SSLError, ValueError):
        return Served(origin, Reach.UNTRUSTED, "the caBundle holds no certificate")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.get(f"{origin}{names.CERTIFICATE_PATH}", ssl=trust, allow_redirects=False) as response,
        ):
            end = _end(response)
            body = await response.content.read(MAX_CERTIFICATE_BYTES) if response.status == HTTPStatus.OK else b""
    except aiohttp.ClientConnectorCertificateError as error:
        code = getattr(error.certificate_error, "verify_code", 0)
        return Served(origin, Reach.UNTRUSTED, _PROBLEMS.get(code, f"OpenSSL says {code}"))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return Served(origin, Reach.UNREACHABLE)
    return Served(origin, Reach.TRUSTED, end=end, checksum=_checksum(body))


def _trust(bundle: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=bundle.decode("ascii"))
    # Newer versions of Python ask for more than the API server does.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _end(response: aiohttp.ClientResponse) -> datetime | None:
    """Return when the certificate of the connection ends."""
    transport = None if response.connection is None else response.connection.transport
    shown = None if transport is None else transport.get_extra_info("peercert")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC) if shown else None


def _checksum(body: bytes) -> str:
    try:
        return SealingCertificate.parse(body).checksum
    except KeyMaterialError:
        return ""
