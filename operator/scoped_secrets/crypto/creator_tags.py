"""The tag of a creator's record in a workload's template: it proves that admission wrote the record.

The template's annotation is copied into the pods of the workload. Without the tag, a user could write another user's
name into a template where the webhook of workloads does not see it.
"""

import base64
import hmac
from collections.abc import Iterable
from typing import Final

from scoped_secrets.crypto.encoding import text_bytes
from scoped_secrets.crypto.fingerprints import FingerprintKey

__all__ = ["creator_tag", "verify_creator_tag"]

# One key, several purposes: a domain string of its own keeps each from being used as the other.
_DOMAIN: Final = b"scoped-secrets creator v1"
_TAG_BYTES: Final = 15


def creator_tag(key: FingerprintKey, namespace: str, creator: str) -> str:
    """Return 24 lower-case base32 characters that bind a user's name to a namespace."""
    digest = key.digest(_DOMAIN, text_bytes(namespace), text_bytes(creator))
    return base64.b32encode(digest[:_TAG_BYTES]).decode("ascii").lower()


def verify_creator_tag(keys: Iterable[FingerprintKey], namespace: str, creator: str, tag: str) -> bool:
    """Tell whether the tag was made with one of the keys for this user and namespace; constant time per key."""
    return any(hmac.compare_digest(text_bytes(creator_tag(key, namespace, creator)), text_bytes(tag)) for key in keys)
