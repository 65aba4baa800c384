"""The primitives with which values are sealed and unsealed: all that this package needs of `cryptography` for it.

`keys` and `data_keys` import it when a key is first used. The library takes as long to import as the requests of a
command take, so that a command loads it while the API server answers: see `load_in_background`.
"""

from typing import Final

from cryptography.exceptions import InvalidTag

# Keys import it when they are first made from bytes.
from cryptography.hazmat.backends.openssl import backend  # noqa: F401
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

__all__ = [
    "AESGCM",
    "HMAC",
    "SHA256",
    "SUITE",
    "InvalidTag",
    "MLKEM768PrivateKey",
    "MLKEM768PublicKey",
    "MLKEM768X25519PrivateKey",
    "MLKEM768X25519PublicKey",
    "X25519PrivateKey",
    "X25519PublicKey",
]

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
