"""The grant of a copy: it proves to the controller that admission allowed one object to copy another.

The text stands in ``spec.copyFrom.grant``. It names the source's UID and generation and the time, and its tag binds
them to both objects. So it is of no use in another object, for another state of the source, or, because the time must
be that of the object's creation, in an object that is created later in the same place.
"""

import base64
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scoped_secrets.crypto.encoding import text_bytes
from scoped_secrets.crypto.fingerprints import FingerprintKey

__all__ = ["CopyGrant", "CopyPlace", "make_copy_grant", "open_copy_grant"]

# One key, several purposes: a domain string of its own keeps each from being used as the other.
_DOMAIN: Final = b"scoped-secrets copy v1"
_TAG_BYTES: Final = 20
_TEXT: Final = re.compile(r"([A-Za-z0-9-]{1,64})@([0-9]{1,18})\.([0-9]{1,18})\.([a-z2-7]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """What a copy is made of, and where it goes.

    Attributes:
        source: The source as ``namespace/name``.
        target: The copy as ``namespace/name``.
        scope: The copy's ``spec.scope``.
        project: Its ``spec.project``, empty without one.
        environment: Its ``spec.environment``, empty without one.
        secret_name: The name by which jobs request the copy.
    """

    source: str
    target: str
    scope: str
    project: str
    environment: str
    secret_name: str


@dataclass(frozen=True, slots=True)
class CopyGrant:
    """What admission allowed.

    Attributes:
        uid: The UID of the source.
        generation: The generation of the source.
        granted: The time, in seconds since 1970 in UTC.
    """

    uid: str
    generation: int
    granted: int


def make_copy_grant(key: FingerprintKey, place: CopyPlace, grant: CopyGrant) -> str:
    """Return the text of a grant."""
    return f"{grant.uid}@{grant.generation}.{grant.granted}.{_tag(key, place, grant)}"


def open_copy_grant(keys: Iterable[FingerprintKey], place: CopyPlace, text: str) -> CopyGrant | None:
    """Return the grant of a text; ``None`` when none of the keys made it for this place."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    grant = CopyGrant(match[1], int(match[2]), int(match[3]))
    is_genuine = any(hmac.compare_digest(_tag(key, place, grant), match[4]) for key in keys)
    return grant if is_genuine else None


def _tag(key: FingerprintKey, place: CopyPlace, grant: CopyGrant) -> str:
    texts = (
        place.source,
        place.target,
        place.scope,
        place.project,
        place.environment,
        place.secret_name,
        grant.uid,
        str(grant.generation),
        str(grant.granted),
    )
    digest = key.digest(_DOMAIN, *map(text_bytes, texts))
    return base64.b32encode(digest[:_TAG_BYTES]).decode("ascii").lower()
