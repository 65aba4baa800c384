"""Limits how many different values are compared with a stored one (DESIGN section 7).

Every client that reaches the port, and every user who may update a definition, can ask whether a guess equals the
stored value: the sealed text is kept exactly then. Without a limit this would find every value that can be guessed. The
limit counts the answer "different" only, and each value once, so that applying the stored value again, or showing the
same difference again and again as GitOps tools do, never uses it up. At the limit all values count as different, also
the stored one: otherwise the answer would remain a test.
"""

import hashlib
import os
import time
from collections.abc import Callable
from typing import Final

from scoped_secrets.core.entry import EntryKey
from scoped_secrets.crypto.encoding import length_prefixed, text_bytes
from scoped_secrets.crypto.fingerprints import Fingerprint

__all__ = ["COMPARED_VALUES", "COMPARISON_SECONDS", "ComparisonLimit"]

COMPARED_VALUES: Final = 10
"""How many different values of an entry are compared in a row."""

COMPARISON_SECONDS: Final = 3600.0
"""The time in seconds in which as many may be compared again."""

_REFILL_SECONDS: Final = COMPARISON_SECONDS / COMPARED_VALUES
# Entries share a fixed number of buckets, by a keyed hash: a flood of reviews about other entries fills neither the
# memory nor makes the process forget what it counted. All buckets together take less than 8 MB.
_BUCKETS: Final = 8192
_REMEMBERED_BYTES: Final = 8


class ComparisonLimit:
    """Counts, in one replica, the different values that were compared with the stored value of each entry."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock in seconds."""
        self._clock = clock
        self._secret = os.urandom(16)
        self._buckets: dict[int, _Bucket] = {}

    def is_reached(self, namespace: str, name: str, entry: EntryKey) -> bool:
        """Tell whether no more values may be compared with the stored one of this entry now."""
        bucket = self._buckets.get(self._index(namespace, name, entry))
        return bucket is not None and bucket.is_empty(self._clock())

    def add_difference(self, namespace: str, name: str, entry: EntryKey, guess: Fingerprint) -> None:
        """Count a value that differs from the stored one.

        Args:
            namespace: The object's namespace.
            name: The object's name.
            entry: The entry.
            guess: The value's fingerprint with the salt of the stored value, so that a value counts again when
                another value is stored.
        """
        index = self._index(namespace, name, entry)
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = _Bucket()
        bucket.add(guess.digest[:_REMEMBERED_BYTES], self._clock())

    def _index(self, namespace: str, name: str, entry: EntryKey) -> int:
        parts = (text_bytes(part) for part in (namespace, name, entry.kind.context_word, entry.name))
        digest = hashlib.blake2b(length_prefixed(*parts), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") % _BUCKETS


class _Bucket:
    """The different values of the last time, the newest last."""

    __slots__ = ("_full_at", "_values")

    def __init__(self) -> None:
        self._values: list[bytes] = []
        self._full_at = 0.0

    def is_empty(self, now: float) -> bool:
        """Tell whether fewer than one comparison is left."""
        return self._full_at - now > COMPARISON_SECONDS - _REFILL_SECONDS

    def add(self, value: bytes, now: float) -> None:
        """Take one comparison, unless the value is one of the last ones."""
        if value in self._values:
            return
        self._values = [*self._values[1 - COMPARED_VALUES :], value]
        self._full_at = max(self._full_at, now) + _REFILL_SECONDS
