"""The common name of one pod's bundle Secrets: ``ssec-``, a nonce, and a tag that binds both to the pod.

The nonce is derived from the admission review, so that admission stays a pure function, and begins with the second in
which it was made. The tag is keyed, so that no user can compute a name that the operator accepts for a pod.
"""

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from scoped_secrets import names
from scoped_secrets.crypto.encoding import text_bytes
from scoped_secrets.crypto.fingerprints import FingerprintKey, bundle_name_tag, verify_bundle_name_tag

__all__ = ["is_genuine", "make_base", "seconds_since_made"]

# One key, several purposes: a domain string of its own keeps each from being used as the other.
_NONCE_DOMAIN: Final = b"scoped-secrets bundle nonce v1"
_NONCE_BYTES: Final = 10
_TIME_BYTES: Final = 4
_PART: Final = 16
"""Characters of the nonce, and of the tag: 10 bytes in base32."""


def make_base(key: FingerprintKey, namespace: str, identity: str, review_uid: str, made: datetime | None = None) -> str:
    """Return the common name of the bundle Secrets of a pod that is being admitted.

    Args:
        key: The cluster's key.
        namespace: The pod's namespace.
        identity: The pod's ``identity``, which stays the same once it has its name.
        review_uid: The UID of the admission review, which tells pods of one identity apart.
        made: The present time, with a time zone; ``None`` for a name that never counts as just made.
    """
    digest = key.digest(_NONCE_DOMAIN, *(text_bytes(part) for part in (namespace, identity, review_uid)))
    seconds = 0 if made is None else int(made.timestamp()) % 2 ** (8 * _TIME_BYTES)
    content = seconds.to_bytes(_TIME_BYTES) + digest[: _NONCE_BYTES - _TIME_BYTES]
    nonce = base64.b32encode(content).decode("ascii").lower()
    return f"{names.BUNDLE_PREFIX}{nonce}{bundle_name_tag(key, namespace, identity, nonce)}"


def seconds_since_made(base: str, now: datetime) -> float:
    """Return how long ago a base was made; negative when the clock of its maker is ahead.

    Only of a genuine base does the answer mean anything. One that was made without a time is as old as the epoch.
    """
    text = base.removeprefix(names.BUNDLE_PREFIX)[:_PART]
    try:
        content = base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        return now.timestamp()
    return now.timestamp() - int.from_bytes(content[:_TIME_BYTES])


def is_genuine(
    key: FingerprintKey, namespace: str, identity: str, base: str, former: Iterable[FingerprintKey] = ()
) -> bool:
    """Tell whether this base was made for exactly this pod, with this key or a former one; constant time per key."""
    text = base.removeprefix(names.BUNDLE_PREFIX)
    if text == base or len(text) != 2 * _PART:
        return False
    return any(verify_bundle_name_tag(each, namespace, identity, text[:_PART], text[_PART:]) for each in (key, *former))
