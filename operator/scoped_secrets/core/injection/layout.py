"""How the values of one job are laid out in its bundle Secrets.

Admission writes references to keys of Secrets that do not exist yet, and the controller creates the Secrets. Both
compute the layout with these functions, from names and size bounds alone, so that they agree without communicating.
"""

from collections.abc import Iterable, Mapping

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["MAX_JOB_BYTES", "RESOLUTION_RESERVE", "BundleLayout", "BundlePart", "lay_out_bundle", "part_base"]

MAX_JOB_BYTES = 6 * 1024 * 1024
"""The maximum size of all values of one job in bytes (DESIGN section 5)."""

PART_BYTES = 1_000_000
"""The capacity of one bundle Secret in bytes of keys and values; the limit of the API server is 1,048,576."""

SOURCE_BYTES = 1024 * 1024
"""The maximum size of all keys of one native Secret together: the API server's ``MaxSecretSize``."""

RESOLUTION_RESERVE = 128 * 1024
"""The space that the first part reserves for ``resolution.json`` in bytes, so that its text never moves an entry."""


@dataclass(frozen=True, slots=True)
class BundlePart:
    """One native Secret of a bundle: its name and its entries."""

    name: str
    entries: tuple[BundleEntry, ...]


@dataclass(frozen=True, slots=True)
class BundleLayout:
    """All Secrets of one pod; the first one always exists and also holds ``resolution.json``."""

    parts: tuple[BundlePart, ...]

    def locations(self) -> dict[str, str]:
        """Return the name of the Secret that holds each data key."""
        return {entry.data_key: part.name for part in self.parts for entry in part.entries}


@dataclass(frozen=True, slots=True)
class _JobSize:
    """The upper bound of a job's values in bytes, and how much of it is reserved for values from native Secrets."""

    total: int
    reserved: int


def lay_out_bundle(base: str, entries: Iterable[BundleEntry], memo: Memo) -> BundleLayout:
    """Distribute entries over as few Secrets as their size bounds need, in the given order.

    The size of a value from a native Secret is unknown here: it counts with the largest allowed size, and all values of
    one Secret count at most with the maximum size of a Secret.

    Args:
        base: The common name of the Secrets.
        entries: The entries of one job, some of them several times.
        memo: The memo of all entries of the job.

    Raises:
        DeniedError: The job would hold more than ``MAX_JOB_BYTES``.
    """
    distinct = {each.data_key: each for each in entries}
    parts = memo.get(("layout", *distinct), _distribute, distinct)
    return BundleLayout(tuple(BundlePart(f"{base}-{index}", part) for index, part in enumerate(parts)))


def _distribute(distinct: Mapping[str, BundleEntry]) -> tuple[tuple[BundleEntry, ...], ...]:
    parts: list[list[BundleEntry]] = [[]]
    used = RESOLUTION_RESERVE
    for key, bundle_entry in distinct.items():
        size = bundle_entry.resolved.entry.source.size + len(key)
        if used + size > PART_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(bundle_entry)
        used += size
    _check_size(_job_size(distinct.values()))
    return tuple(map(tuple, parts))


def part_base(part_name: str) -> str | None:
    """Return the common name of a bundle's parts; ``None`` for a name that no bundle Secret has."""
    base, _, index = part_name.rpartition("-")
    return base if base.startswith(names.BUNDLE_PREFIX) and index.isdecimal() and index.isascii() else None


def _job_size(entries: Iterable[BundleEntry]) -> _JobSize:
    known = 0
    by_secret: dict[tuple[str, str], int] = {}
    for each in entries:
        source = each.resolved.entry.source
        if isinstance(source, SecretKeySource):
            secret = each.resolved.definition.namespace, source.secret
            by_secret[secret] = min(by_secret.get(secret, 0) + source.size, SOURCE_BYTES)
        else:
            known += source.size
    reserved = sum(by_secret.values())
    return _JobSize(known + reserved, reserved)


def _check_size(size: _JobSize) -> None:
    """Deny a job that would hold too much.

    Raises:
        DeniedError: The values exceed ``MAX_JOB_BYTES``.
    """
    if size.total <= MAX_JOB_BYTES:
        return
    note = f", {size.reserved} of them reserved for values of `valueFrom`, whose sizes are not known"
    raise DeniedError(
        Reason.LIMIT_EXCEEDED,
        f"the job's bundles hold {size.total} bytes of values{note if size.reserved else ''}; at most {MAX_JOB_BYTES} "
        "are allowed, so reference fewer",
    )
