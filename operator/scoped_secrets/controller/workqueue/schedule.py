"""The state of the work queue: which key comes next.

A key waits at most once, however often it is added, and is never taken twice at once: a key that is added while it is
reconciled comes again afterwards. Keys that failed come back after a delay that doubles from failure to failure. Time
is an argument, in seconds of a monotonic clock; jitter is an argument too.
"""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import Final, Generic, TypeVar

__all__ = ["LONGEST_DELAY", "SHORTEST_DELAY", "Priority", "Schedule"]

SHORTEST_DELAY: Final = 0.05
"""The upper bound of the delay after the first failure, in seconds."""

LONGEST_DELAY: Final = 60.0
"""The upper bound of the delay after many failures, in seconds."""

_MOST_DOUBLINGS: Final = 16
"""Where doubling ends: every further delay is the longest one."""

Key = TypeVar("Key", bound=Hashable)


class Priority(IntEnum):
    """Which key comes first when several are due: the one with the smaller number."""

    JOB = 0
    """A job waits for the work."""
    CLEANUP = 1
    """The bundle of a job that has ended is to be deleted soon."""
    DEFAULT = 2
    """Statuses, events and all other work."""
    RESYNC = 3
    """A cleanup that a former process may have left; most often it has not."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One waiting key."""

    priority: Priority
    due: float
    ticket: int
    """Identifies the heap item that is valid: it may have replaced others."""


class Schedule(Generic[Key]):
    """Keys that wait and keys that are being reconciled."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Begin empty.

        Args:
            jitter: Returns a number from 0 to 1; it spreads the retries of keys that failed together.
        """
        self._jitter = jitter
        self._tickets = count()
        self._waiting: dict[Key, _Entry] = {}
        self._running: dict[Key, _Entry] = {}
        # Keys that were added while they were reconciled.
        self._again: dict[Key, tuple[Priority, float]] = {}
        self._failures: dict[Key, int] = {}
        # Replaced items stay in the heaps until they reach the top; their tickets are then unknown.
        self._delayed: list[tuple[float, int, Key]] = []
        self._ready: list[tuple[Priority, float, int, Key]] = []

    def add(self, key: Key, priority: Priority, due: float) -> None:
        """Add a key; of several requests the earliest time and the highest priority count."""
        if key in self._running:
            known = self._again.get(key, (priority, due))
            self._again[key] = min(known[0], priority), min(known[1], due)
            return
        waiting = self._waiting.get(key)
        if waiting is not None:
            if waiting.priority <= priority and waiting.due <= due:
                return
            priority, due = min(waiting.priority, priority), min(waiting.due, due)
        self._put(key, priority, due)

    def take(self, now: float) -> Key | None:
        """Return the next key, ``None`` when none is due; the caller has it until `finish` or `fail`."""
        self._promote(now)
        while self._ready:
            *_, ticket, key = heapq.heappop(self._ready)
            entry = self._waiting.get(key)
            if entry is not None and entry.ticket == ticket:
                self._running[key] = self._waiting.pop(key)
                return key
        return None

    def finish(self, key: Key, again_at: float | None = None) -> None:
        """Return a key after success; it may be due again at a given time."""
        self._failures.pop(key, None)
        self._release(key, again_at)

    def fail(self, key: Key, now: float, *, at_least: float = 0.0, at_most: float = LONGEST_DELAY) -> float:
        """Return a key after a failure, and return after how many seconds it is due again.

        Args:
            key: The key.
            now: The present time.
            at_least: The shortest delay in seconds, for a server that said how long to wait.
            at_most: The longest delay in seconds, for a key with a deadline.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        bound: float = min(LONGEST_DELAY, SHORTEST_DELAY * 2 ** min(failures, _MOST_DOUBLINGS))
        delay = max(at_least, min(at_most, bound * self._jitter()))
        self._release(key, now + delay)
        return delay

    def failures(self, key: Key) -> int:
        """Return how often in a row a key has failed."""
        return self._failures.get(key, 0)

    def next_due(self) -> float | None:
        """Return when the next key comes due, ``None`` when nothing waits."""
        self._drop_stale()
        if self._ready:
            return self._ready[0][1]
        return self._delayed[0][0] if self._delayed else None

    def clear(self) -> None:
        """Drop the waiting keys; those that are being reconciled stay."""
        self._waiting.clear()
        self._again.clear()
        self._failures.clear()
        self._delayed.clear()
        self._ready.clear()

    @property
    def depth(self) -> int:
        """Return how many keys wait, due or not."""
        return len(self._waiting) + len(self._again)

    @property
    def running(self) -> int:
        """Return how many keys are being reconciled."""
        return len(self._running)

    def oldest_age(self, now: float) -> float:
        """Return for how many seconds the oldest key has been due or reconciled."""
        entries = (*self._waiting.values(), *self._running.values())
        return max((now - entry.due for entry in entries if entry.due <= now), default=0.0)

    def _put(self, key: Key, priority: Priority, due: float) -> None:
        entry = _Entry(priority, due, next(self._tickets))
        self._waiting[key] = entry
        heapq.heappush(self._delayed, (due, entry.ticket, key))

    def _release(self, key: Key, again_at: float | None) -> None:
        entry = self._running.pop(key)
        priority, due = self._again.pop(key, (entry.priority, again_at))
        if due is not None:
            self._put(key, priority, due if again_at is None else min(due, again_at))

    def _promote(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            due, ticket, key = heapq.heappop(self._delayed)
            entry = self._waiting.get(key)
            if entry is not None and entry.ticket == ticket:
                heapq.heappush(self._ready, (entry.priority, due, ticket, key))

    def _drop_stale(self) -> None:
        while self._delayed and self._is_stale(*self._delayed[0][1:]):
            heapq.heappop(self._delayed)
        while self._ready and self._is_stale(*self._ready[0][2:]):
            heapq.heappop(self._ready)

    def _is_stale(self, ticket: int, key: Key) -> bool:
        entry = self._waiting.get(key)
        return entry is None or entry.ticket != ticket
