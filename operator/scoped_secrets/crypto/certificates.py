"""Certificates of the admission server, and the plan of their renewal.

`plan_certificates` is called again and again with what is stored; each call takes at most one step. A new authority
is first only added to the bundle that clients trust. A later call, told that the bundle is published, signs the leaf
with it. The old authority stays in the bundle until no leaf that it signed can still be valid. So there is no moment
at which a client sees a leaf that it can not verify.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "AUTHORITY_LIFETIME",
    "LEAF_LIFETIME",
    "CertificateState",
    "CertifiedKey",
    "ServerNames",
    "StoredCertificates",
    "bundle_end",
    "ca_bundle",
    "certificate_end",
    "plan_certificates",
    "read_certificates",
    "renewal_due",
    "to_secret_data",
]

AUTHORITY_LIFETIME: Final = timedelta(days=3652)
LEAF_LIFETIME: Final = timedelta(days=90)
# The clocks of API servers and ours differ a little: a certificate must not be from their future.
BACKDATING: Final = timedelta(minutes=10)

_LEAF_CERTIFICATE: Final = "tls.crt"
_LEAF_KEY: Final = "tls.key"
_AUTHORITY_CERTIFICATE: Final = "ca.crt"
_AUTHORITY_KEY: Final = "ca.key"
_PREVIOUS_CERTIFICATES: Final = "ca-previous.crt"


@dataclass(frozen=True, slots=True)
class ServerNames:
    """What a leaf is for: names and addresses under which clients reach the server, sorted, each once."""

    dns: tuple[str, ...]
    addresses: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Sort names into host names and IP addresses; raise ValueError when there are none."""
        dns, addresses = set(), set()
        for name in names:
            try:
                # A certificate has no room for the zone of a link-local address.
                addresses.add(str(ipaddress.ip_address(name.partition("%")[0])))
            except ValueError:
                dns.add(name.lower())
        if not dns and not addresses:
            raise ValueError("a server certificate needs at least one name")
        return cls(tuple(sorted(dns)), tuple(sorted(addresses)))

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> "ServerNames | None":
        """Return the names that a certificate is for, or None when it names no server."""
        with suppress(ValueError, x509.ExtensionNotFound):
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            dns = names.get_values_for_type(x509.DNSName)
            addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
            return cls(tuple(sorted(dns)), tuple(sorted(addresses)))
        return None

    def extension(self) -> x509.SubjectAlternativeName:
        """Return the names as the extension of a certificate."""
        addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in self.addresses]
        return x509.SubjectAlternativeName([*(x509.DNSName(name) for name in self.dns), *addresses])


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate and its private key, which is never shown."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    def certificate_pem(self) -> bytes:
        """Return the certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def private_key_pem(self) -> bytes:
        """Return the private key, unencrypted: for the data of a Secret only."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class CertificateState:
    """All that the admission server needs.

    Attributes:
        authority: Signs leaves; its certificate is in the bundle.
        previous: Certificates of older authorities, newest first, whose leaves may still be served.
        leaf: What the server shows. Signed by the authority or, until the bundle is published, by a previous one.
    """

    authority: CertifiedKey
    previous: tuple[x509.Certificate, ...]
    leaf: CertifiedKey


@dataclass(frozen=True, slots=True)
class StoredCertificates:
    """What could be read from a Secret: a `CertificateState` in which damaged parts are missing."""

    authority: CertifiedKey | None
    previous: tuple[x509.Certificate, ...]
    leaf: CertifiedKey | None


def plan_certificates(
    current: CertificateState | StoredCertificates | None,
    wanted_names: Iterable[str],
    now: datetime,
    *,
    bundle_published: bool,
) -> CertificateState:
    """Return the state that follows; the very same object when there is nothing to do.

    Without any leaf in `current` a new one is signed at once, for there is nothing to protect.

    Args:
        current: What is stored, or None at the first start.
        wanted_names: DNS names and IP addresses of the server.
        now: The time, with its zone.
        bundle_published: Whether every client's trust bundle was seen to be `ca_bundle(current)`.

    Raises:
        ValueError: There are no names, or the time has no zone.
    """
    if now.tzinfo is None:
        raise ValueError("a time needs a time zone")
    names = ServerNames.of(wanted_names)
    stored = StoredCertificates(None, (), None) if current is None else current
    authority, previous = stored.authority, stored.previous
    if authority is None or renewal_due(authority.certificate, now):
        previous = previous if authority is None else (authority.certificate, *previous)
        authority, bundle_published = _issue_authority(now), False
    leaf = _plan_leaf(stored.leaf, authority, previous, bundle_published=bundle_published, names=names, now=now)
    previous = _still_trusted(previous, authority, leaf, now)
    planned = CertificateState(authority, previous, leaf)
    return current if isinstance(current, CertificateState) and planned == current else planned


def renewal_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Return whether two thirds of the certificate's life are over."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3


def certificate_end(pem: bytes) -> datetime | None:
    """Return when the first certificate ends, which is a server's own one; ``None`` when there is none to read."""
    certificates = _load_certificates(pem)
    return certificates[0].not_valid_after_utc if certificates else None


def bundle_end(pem: bytes) -> datetime | None:
    """Return when the last certificate of a trust bundle ends; ``None`` when it holds none."""
    return max((certificate.not_valid_after_utc for certificate in _load_certificates(pem)), default=None)


def ca_bundle(state: CertificateState) -> bytes:
    """Return the certificates that clients must trust, as PEM: the authority's and the previous ones."""
    previous = (certificate.public_bytes(Encoding.PEM) for certificate in state.previous)
    return b"".join([state.authority.certificate_pem(), *previous])


def only_certificates(pem: bytes) -> bytes:
    """Return the certificates in a text and nothing else of it, as PEM; nothing when there are none.

    What is published must not hold a private key, even if the text that it comes from does.
    """
    return b"".join(each.public_bytes(Encoding.PEM) for each in _load_certificates(pem))


def to_secret_data(state: CertificateState) -> dict[str, bytes]:
    """Return the state as the data of a Secret."""
    return {
        _LEAF_CERTIFICATE: state.leaf.certificate_pem(),
        _LEAF_KEY: state.leaf.private_key_pem(),
        _AUTHORITY_CERTIFICATE: state.authority.certificate_pem(),
        _AUTHORITY_KEY: state.authority.private_key_pem(),
        _PREVIOUS_CERTIFICATES: b"".join(each.public_bytes(Encoding.PEM) for each in state.previous),
    }


def read_certificates(data: Mapping[str, bytes]) -> CertificateState | StoredCertificates | None:
    """Return what the data of a Secret holds: a state, one with holes when parts are damaged, None when all are.

    An authority whose key is lost cannot sign, but its certificate counts as a previous one: its leaf stays valid.
    """
    certificates = _load_certificates(data.get(_AUTHORITY_CERTIFICATE, b""))
    if not all(_is_issued_by(certificate, certificate) for certificate in certificates):
        certificates = ()
    authority = _certified(certificates, data.get(_AUTHORITY_KEY, b""))
    previous = _load_certificates(data.get(_PREVIOUS_CERTIFICATES, b""))
    leaf = _certified(_load_certificates(data.get(_LEAF_CERTIFICATE, b"")), data.get(_LEAF_KEY, b""))
    if authority is not None and leaf is not None:
        return CertificateState(authority, previous, leaf)
    if authority is None:
        previous = (*certificates, *previous)
    if authority is None and leaf is None and not previous:
        return None
    return StoredCertificates(authority, previous, leaf)


def _plan_leaf(
    leaf: CertifiedKey | None,
    authority: CertifiedKey,
    previous: tuple[x509.Certificate, ...],
    *,
    bundle_published: bool,
    names: ServerNames,
    now: datetime,
) -> CertifiedKey:
    """Return the leaf to serve: the same one as long as it serves, or as clients could not verify another."""
    if leaf is None:
        return _issue_leaf(authority, names, now)
    if _is_issued_by(leaf.certificate, authority.certificate):
        fits = ServerNames.from_certificate(leaf.certificate) == names
        return leaf if fits and not renewal_due(leaf.certificate, now) else _issue_leaf(authority, names, now)
    verifiable = any(_is_issued_by(leaf.certificate, one) for one in previous)
    expired = now >= leaf.certificate.not_valid_after_utc
    # Changed names wait, too: the key that signed this leaf is gone, and publishing a bundle takes moments.
    waits = verifiable and not expired and not bundle_published
    return leaf if waits else _issue_leaf(authority, names, now)


def _still_trusted(
    previous: tuple[x509.Certificate, ...],
    authority: CertifiedKey,
    leaf: CertifiedKey,
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """Return the previous authorities that a leaf may still need.

    An authority signs nothing once its successor exists, so its last leaf has expired one leaf's life later.
    """
    kept = []
    successor = authority.certificate
    for certificate in previous:
        superseded = successor.not_valid_before_utc + BACKDATING
        if now < superseded + LEAF_LIFETIME or _is_issued_by(leaf.certificate, certificate):
            kept.append(certificate)
        successor = certificate
    return tuple(kept)


def _issue_authority(now: datetime) -> CertifiedKey:
    """Return a new certificate authority, which may sign leaves and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # The name is unique, so that clients never mistake one authority for the next.
    name = _name(f"scoped-secrets authority {serial & 0xFFFFFFFF:08x}")
    certificate = (
        _builder(name, name, key, now, now + AUTHORITY_LIFETIME)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertifiedKey(certificate, key)


def _issue_leaf(authority: CertifiedKey, names: ServerNames, now: datetime) -> CertifiedKey:
    """Return a new server certificate with a key of its own.

    It ends before its authority, which signs only in the first two thirds of a much longer life.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = authority.private_key.public_key()
    certificate = (
        _builder(_name("scoped-secrets admission"), authority.certificate.subject, key, now, now + LEAF_LIFETIME)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names.extension(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .sign(authority.private_key, hashes.SHA256())
    )
    return CertifiedKey(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    """Return what all certificates have in common; X.509 knows whole seconds only."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .not_valid_before((now - BACKDATING).replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
    )


def _name(common_name: str) -> x509.Name:
    """Return a distinguished name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what the key may do: sign certificates, or take part in handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether the issuer's name and signature are on the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates in pem; none when it is empty or damaged."""
    with suppress(ValueError):
        return tuple(x509.load_pem_x509_certificates(pem))
    return ()


def _certified(certificates: tuple[x509.Certificate, ...], key_pem: bytes) -> CertifiedKey | None:
    """Return the first certificate with its key, or None when either is missing or they do not belong together."""
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        key = load_pem_private_key(key_pem, None)
        if certificates and isinstance(key, ec.EllipticCurvePrivateKey):
            belongs = certificates[0].public_key() == key.public_key()
            return CertifiedKey(certificates[0], key) if belongs else None
    return None
