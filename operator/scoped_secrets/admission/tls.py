"""TLS of the admission server: a new context for each certificate, without a restart.

With a client authority, a client must present a certificate that it signed: then only the API server can send reviews.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from scoped_secrets.errors import ScopedSecretsError

__all__ = ["CertificateError", "ClientAuthorityError", "TlsPair", "load_pair", "server_context"]

# A pipe holds this much on every system; a certificate chain with its key needs a fraction of it.
_MAX_BYTES: Final = 16 * 1024


class CertificateError(ScopedSecretsError):
    """Certificate and key cannot be used. The exception holds nothing of either."""

    def __init__(self) -> None:
        """Take nothing, so that nothing can leak."""
        super().__init__("the TLS certificate and its key cannot be read or do not belong together")


class ClientAuthorityError(ScopedSecretsError):
    """The file with the certificate of the client authority cannot be used."""

    def __init__(self) -> None:
        """Take nothing, so that nothing can leak."""
        super().__init__("--client-ca-file names no file with certificates of an authority as PEM; check the file")


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A certificate chain and its private key, both as PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)


def server_context(client_authority: bytes | None = None) -> ssl.SSLContext:
    """Return a context without a certificate: TLS 1.2 or later, HTTP/1.1 only.

    Args:
        client_authority: Certificates as PEM, one of which must have signed the certificate of a client; ``None`` to
            require no certificate.

    Raises:
        ClientAuthorityError: There is no certificate in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # The API server keeps its connections and no sessions: a ticket would cost memory and time for nothing.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_RENEGOTIATION
    if client_authority is not None:
        _require_certificate(context, client_authority)
    return context


def _require_certificate(context: ssl.SSLContext, client_authority: bytes) -> None:
    usable = False
    with suppress(OSError, ValueError):
        context.load_verify_locations(cadata=client_authority.decode("ascii"))
        usable = True
    if not usable:
        raise ClientAuthorityError
    context.verify_mode = ssl.CERT_REQUIRED


def load_pair(context: ssl.SSLContext, pair: TlsPair) -> None:
    """Make the context present this certificate from the next handshake on.

    Raises:
        CertificateError: The pair is unusable; the context keeps the previous one.
    """
    usable = False
    with suppress(OSError, ValueError):
        # On a new context first: a failure halfway would leave the certificate of one pair with the key of another.
        _load(server_context(), pair)
        _load(context, pair)
        usable = True
    # Raised outside of the handler, so that the library's exception is not its context.
    if not usable:
        raise CertificateError


def _load(context: ssl.SSLContext, pair: TlsPair) -> None:
    with _readable(pair.certificate) as certificate, _readable(pair.private_key) as private_key:
        context.load_cert_chain(certificate, private_key, password=_refuse_password)


@contextmanager
def _readable(content: bytes) -> Iterator[str]:
    """Yield a path from which the content can be read once: a pipe, because a key must not be written to disk."""
    if len(content) > _MAX_BYTES:
        raise ValueError("too large")
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:  # noqa: PTH123 - a file descriptor is not a path
            pipe.write(content)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _refuse_password() -> NoReturn:
    """Reject an encrypted key; without this function the library prompts at the terminal."""
    raise ValueError("the key is encrypted")
