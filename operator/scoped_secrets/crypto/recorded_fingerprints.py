"""Fingerprints that the controller records of values whose sealed text has none (DESIGN section 7).

A person's process seals without the fingerprint key, so its texts carry no fingerprint. The controller opens them and
writes one into the status, bound to the text: beside another text it counts for nothing.
"""

import base64
import hashlib
import hmac
from typing import Final

from scoped_secrets.crypto.fingerprints import FINGERPRINT_BYTES, SALT_BYTES, Fingerprint

__all__ = ["RECORDED_CHARACTERS", "parse_recorded", "recorded_fingerprint"]

_TEXT_BYTES: Final = 16
_BYTES: Final = _TEXT_BYTES + SALT_BYTES + FINGERPRINT_BYTES
RECORDED_CHARACTERS: Final = 60


def recorded_fingerprint(text: str, fingerprint: Fingerprint) -> str:
    """Return what is written of a salted fingerprint for a sealed text: 60 characters of base64."""
    return base64.b64encode(_digest(text) + fingerprint.salt + fingerprint.digest).decode("ascii")


def parse_recorded(text: str, recorded: object) -> Fingerprint | None:
    """Return the fingerprint that was written for a sealed text; None for another text's or a malformed one."""
    if not isinstance(recorded, str) or len(recorded) != RECORDED_CHARACTERS:
        return None
    try:
        data = base64.b64decode(recorded, validate=True)
    except ValueError:
        return None
    if len(data) != _BYTES or not hmac.compare_digest(data[:_TEXT_BYTES], _digest(text)):
        return None
    return Fingerprint(data[_TEXT_BYTES + SALT_BYTES :], data[_TEXT_BYTES : _TEXT_BYTES + SALT_BYTES])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_TEXT_BYTES]
