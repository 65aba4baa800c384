"""How the values of one job are laid out in its bundle Secrets.

Admission writes references to keys of Secrets that do not exist yet, and the controller creates them. Both plan with
these functions, from names and size bounds alone, so that they agree without talking to each other.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.core.resolution.definitions import EnvEntry, SecretKeySource
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_JOB_BYTES", "RESOLUTION_RESERVE", "BundleLayout", "BundlePart", "data_key", "lay_out_bundle"]

MAX_JOB_BYTES = 6 * 1024 * 1024
"""The most that one job may hold, in bytes of values (DESIGN section 5)."""

PART_BYTES = 1_000_000
"""How much one bundle Secret holds, in bytes of keys and values; the API server's limit is 1,048,576."""

SOURCE_BYTES = 1024 * 1024
"""The most that all keys of one native Secret hold together: the API server's limit (Kubernetes' ``MaxSecretSize``)."""

RESOLUTION_RESERVE = 128 * 1024
"""What the first part keeps free for ``resolution.json``, in bytes, so that its text never moves an entry."""

_MAX_DATA_KEY = 253


@dataclass(frozen=True, slots=True)
class BundlePart:
    """One native Secret of a bundle: its name and the entries under their data keys."""

    name: str
    entries: tuple[tuple[str, Contribution], ...]


@dataclass(frozen=True, slots=True)
class BundleLayout:
    """All the Secrets of one pod; the first one always exists and also holds ``resolution.json``."""

    parts: tuple[BundlePart, ...]

    def locations(self) -> dict[str, str]:
        """Return the name of the Secret that holds each data key."""
        return {key: part.name for part in self.parts for key, _ in part.entries}


def data_key(bundle: str, contribution: Contribution) -> str:
    """Return the key of an entry in the bundle Secret.

    It is made of names, so that what the kubelet says about a missing key can be understood; where names are too long,
    taken, or hold characters that a key may not have, a hash of them takes their place.
    """
    entry = contribution.entry
    if isinstance(entry, EnvEntry):
        key = f"{bundle}.{entry.name}"
        # Bundle "resolution" may have a variable "json": its value must not take the place of the provenance.
        is_usable = len(key) <= _MAX_DATA_KEY and key != names.RESOLUTION_FILE
        return key if is_usable else f"{bundle}.env-{_digest(entry.name)}"
    return f"{bundle}.file-{_digest(entry.path)}"


def lay_out_bundle(base: str, entries: Iterable[tuple[str, Contribution]]) -> BundleLayout:
    """Distribute entries over as few Secrets as their size bounds need, in the order given.

    How large a value from a native Secret is, is not known here: it counts with the largest size that it may have, and
    all of one Secret with what a Secret can hold.

    Raises:
        DeniedError: The job would hold more than ``MAX_JOB_BYTES``.
    """
    parts: list[list[tuple[str, Contribution]]] = [[]]
    used = RESOLUTION_RESERVE
    distinct = dict(entries)
    for key, contribution in distinct.items():
        size = contribution.entry.source.size
        if used + size + len(key) > PART_BYTES:
            parts.append([])
            used = 0
        parts[-1].append((key, contribution))
        used += size + len(key)
    total, elsewhere = _bytes_of(distinct.values())
    if total > MAX_JOB_BYTES:
        counted = f", {elsewhere} of them reserved for values of `valueFrom`, whose sizes are not known" * (
            elsewhere > 0
        )
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"the job's bundles hold {total} bytes of values{counted}; at most {MAX_JOB_BYTES} are allowed, so "
            "reference fewer",
        )
    return BundleLayout(tuple(BundlePart(f"{base}-{index}", tuple(part)) for index, part in enumerate(parts)))


def _bytes_of(contributions: Iterable[Contribution]) -> tuple[int, int]:
    """Return how many bytes entries hold at most, and how many of these are reserved for native Secrets."""
    here = 0
    by_secret: dict[tuple[str, str], int] = {}
    for contribution in contributions:
        source = contribution.entry.source
        if isinstance(source, SecretKeySource):
            secret = contribution.definition.namespace, source.secret
            by_secret[secret] = min(by_secret.get(secret, 0) + source.size, SOURCE_BYTES)
        else:
            here += source.size
    elsewhere = sum(by_secret.values())
    return here + elsewhere, elsewhere


def part_base(part_name: str) -> str | None:
    """Return the common name of a bundle's parts, ``None`` for a name that is no bundle Secret's."""
    base, _, index = part_name.rpartition("-")
    return base if base.startswith(names.BUNDLE_PREFIX) and index.isdecimal() and index.isascii() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
