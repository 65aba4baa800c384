"""The sealing certificate: all that sealing needs and nothing that opens, as one text for publishing and for Git.

    # comments, which mean nothing
    scoped-secrets sealing certificate v1
    cluster: UID of the cluster
    checksum: 32 hexadecimal digits
    text blocks of the public sealing keys, the one to seal for first

Each part has lines of its own, so that a difference of two certificates shows what changed. The checksum finds damage
and parts of different certificates. It is no signature: who can replace the text can replace all of it.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Self

from scoped_secrets.crypto.encoding import KeyMaterialError, length_prefixed
from scoped_secrets.crypto.keys import PublicKeyRing

__all__ = ["MAX_CERTIFICATE_BYTES", "SealingCertificate"]

MAX_CERTIFICATE_BYTES: Final = 256 * 1024
"""More than a hundred keys; what is larger is no certificate."""

_TITLE: Final = b"scoped-secrets sealing certificate v1"
_CHECKSUM_BYTES: Final = 16
_CLUSTER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEXT: Final = re.compile(
    re.escape(_TITLE) + rb"\ncluster: (?P<cluster>[\x21-\x7e]+)\nchecksum: (?P<checksum>[0-9a-f]{32})\n(?P<keys>.+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class SealingCertificate:
    """What people who seal offline need to know of a cluster.

    Attributes:
        cluster_id: What sealed texts are bound to: a text for one cluster opens in no other.
        recipients: The public keys, of which the active one is sealed for.
    """

    cluster_id: str
    recipients: PublicKeyRing

    def __post_init__(self) -> None:
        """Refuse a cluster id that would not stand in one line; raise KeyMaterialError."""
        if _CLUSTER.fullmatch(self.cluster_id) is None:
            raise KeyMaterialError("the sealing certificate names no cluster; fetch it again")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a certificate.

        Raises:
            KeyMaterialError: It is damaged, of another format, or no certificate at all.
        """
        lines = (line.rstrip() for line in data[:MAX_CERTIFICATE_BYTES].splitlines())
        text = b"\n".join(line for line in lines if line and not line.startswith(b"#"))
        found = _TEXT.fullmatch(text)
        if found is None:
            raise KeyMaterialError("the sealing certificate has an unknown format; fetch it again")
        certificate = cls(found["cluster"].decode("ascii"), PublicKeyRing.parse(found["keys"]))
        if not hmac.compare_digest(certificate.checksum.encode("ascii"), found["checksum"]):
            raise KeyMaterialError("the sealing certificate is damaged; fetch it again")
        return certificate

    def serialize(self) -> bytes:
        """Return the text; equal certificates have equal texts."""
        head = [
            b"# Seals values for one cluster and opens none. Nothing in it is secret: publish it, keep it in Git.",
            *(
                f"# Key {key.key_id}, created {key.created:%Y-%m-%dT%H:%M:%SZ}".encode("ascii")
                for key in self.recipients.keys
            ),
            _TITLE,
            f"cluster: {self.cluster_id}".encode("ascii"),
            f"checksum: {self.checksum}".encode("ascii"),
        ]
        return b"\n".join(head) + b"\n" + self.recipients.serialize()

    @property
    def checksum(self) -> str:
        """Return 32 hexadecimal digits over cluster and keys; people may compare them to compare certificates."""
        content = length_prefixed(_TITLE, self.cluster_id.encode("ascii"), self.recipients.serialize())
        return hashlib.sha256(content).digest()[:_CHECKSUM_BYTES].hex()
