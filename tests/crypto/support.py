"""Worlds for the tests of sealing: keys, contexts and ways to damage a text."""

import base64
from datetime import UTC, datetime
from pathlib import Path

from scoped_secrets import names
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import SealingContext

DATA = Path(__file__).parent / "data"
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 7, 2, 3, 4, 5, tzinfo=UTC)

OLD_KEY = PrivateSealingKey(bytes(range(32)), CREATED)
NEW_KEY = PrivateSealingKey(bytes(range(32, 64)), LATER)
RING = KeyRing((OLD_KEY, NEW_KEY))

CONTEXT = SealingContext(
    cluster_id="0d1f9d0e-6c53-4b4f-8d0a-5b1d0a7f8f10",
    group=names.GROUP,
    kind=names.SCOPED_SECRET_KIND,
    namespace="web",
    name="aws-production",
    organization="acme",
    scope="Environment",
    project="web",
    environment="production",
    entry_kind="env",
    entry_name="AWS_SECRET_ACCESS_KEY",
)


def envelope_of(text: str) -> bytes:
    """Return the bytes of a sealed text of either format."""
    body = text[3:]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def text_of(envelope: bytes, prefix: str = "v1:") -> str:
    """Return the sealed text of such bytes."""
    return prefix + base64.urlsafe_b64encode(envelope).rstrip(b"=").decode()
