"""The work queue: keys that may need work, reconciled by a bounded number of tasks.

An event only adds a key. The work for the key starts from the state at the time when its turn comes, so many events
about one object cost one reconcile, and nothing is lost when a reconcile fails.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, TypeAlias, TypeVar

from scoped_secrets.controller.workqueue.schedule import LONGEST_DELAY, Priority, Schedule
from scoped_secrets.errors import ScopedSecretsError, UnavailableError
from scoped_secrets.logs import context

__all__ = ["CONCURRENCY", "Attempt", "Done", "Outcome", "Requeue", "RequeueAfter", "Result", "WorkQueue"]

CONCURRENCY: Final = 16
"""How many keys are reconciled at once; more makes the API server slower, not faster (DESIGN section 9)."""

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Result(StrEnum):
    """The result of a reconcile, for logs and metrics."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    DELETED = "deleted"
    WRITTEN = "written"
    RESEALED = "resealed"
    COPIED = "copied"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OutcomeDetails:
    """What is reported of a reconcile; it does not affect what comes next.

    Attributes:
        result: The result.
        reason: The reason of the API, empty without one.
    """

    result: Result = field(default=Result.UNCHANGED, compare=False)
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Done(_OutcomeDetails):
    """The key needs no more work."""


@dataclass(frozen=True, slots=True)
class Requeue(_OutcomeDetails):
    """Something is missing that may come soon: requeue with back-off, but within so many seconds."""

    within: float = LONGEST_DELAY


@dataclass(frozen=True, slots=True)
class RequeueAfter(_OutcomeDetails):
    """Requeue after some seconds, without any failure."""

    seconds: float


Outcome: TypeAlias = Done | Requeue | RequeueAfter


@dataclass(frozen=True, slots=True)
class Attempt:
    """One reconcile that has ended.

    Attributes:
        result: The result.
        seconds: How long it took.
        error: Why it failed.
    """

    result: Result
    seconds: float
    error: Exception | None = None


class WorkQueue(Generic[Key]):
    """Keys that wait or are reconciled, each at most once at a time.

    The queue belongs to one event loop and uses its clock. It begins paused: a standby starts no work.
    """

    def __init__(
        self,
        work: Callable[[Key], Awaitable[Outcome]],
        *,
        concurrency: int = CONCURRENCY,
        jitter: Callable[[], float] = random.random,
        describe: Callable[[Key], Mapping[str, object]] = lambda key: {"key": key},
        on_attempt: Callable[[Key, Attempt], None] = lambda key, attempt: None,  # noqa: ARG005 - no callback
    ) -> None:
        """Make a paused queue.

        Args:
            work: Reconciles a key; an exception is logged, and the key is requeued with back-off.
            concurrency: How many keys are reconciled at once.
            jitter: Returns a number from 0 to 1, which spreads retries.
            describe: Returns the log context of a key; called before the work, which may delete the object.
            on_attempt: Called after every reconcile.
        """
        self._work = work
        self._describe = describe
        self._on_attempt = on_attempt
        self._concurrency = concurrency
        self._schedule: Schedule[Key] = Schedule(jitter)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = True

    def add(self, key: Key, priority: Priority, delay: float = 0.0) -> None:
        """Enqueue a key that is due in ``delay`` seconds; a paused queue ignores it."""
        if not self._paused:
            self._schedule.add(key, priority, self._now() + delay)
            self._start_due()

    def resume(self) -> None:
        """Start to work. The caller then adds every key that may need work."""
        self._paused = False

    def pause(self) -> None:
        """Start nothing more and drop all waiting keys; a reconcile that has started may finish.

        Another leader works on the keys now, and the caller of `resume` adds those that then need work.
        """
        self._paused = True
        self._schedule.clear()
        self._stop_timer()

    async def drain(self, seconds: float) -> bool:
        """Pause, and wait until all started work has finished; after so many seconds it is cancelled.

        Returns:
            Whether all work finished without being cancelled.
        """
        self.pause()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return not late

    @property
    def is_paused(self) -> bool:
        """Tell whether the queue starts no work."""
        return self._paused

    def depth(self) -> int:
        """Return how many keys wait, due or not."""
        return self._schedule.depth

    def oldest_age(self) -> float:
        """Return for how many seconds the oldest key has been due or reconciled."""
        return self._schedule.oldest_age(self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _start_due(self) -> None:
        """Start as many tasks as may run, and set the timer for the next key that is not due yet."""
        self._stop_timer()
        while not self._paused and self._schedule.running < self._concurrency:
            key = self._schedule.take(self._now())
            if key is None:
                due = self._schedule.next_due()
                if due is not None:
                    self._timer = asyncio.get_running_loop().call_at(due, self._start_due)
                return
            task = asyncio.create_task(self._run(key))
            # The event loop holds only weak references to tasks.
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def running(self) -> int:
        """Return how many keys are being reconciled."""
        return self._schedule.running

    async def _run(self, key: Key) -> None:
        described, began = self._describe(key), self._now()
        try:
            outcome = await self._work(key)
        except asyncio.CancelledError:
            self._schedule.finish(key)
            raise
        except Exception as error:  # noqa: BLE001 - one key's failure must not end the work on the others
            attempt = Attempt(Result.FAILED, self._now() - began, error)
            delay = self._fail(key, error)
            _log_failure(described, error, delay)
        else:
            attempt = Attempt(outcome.result, self._now() - began)
            self._finish(key, outcome)
            _log_outcome(described, outcome, attempt.seconds)
        self._on_attempt(key, attempt)
        if self._paused:
            self._schedule.clear()
        self._start_due()

    def _finish(self, key: Key, outcome: Outcome) -> None:
        match outcome:
            case Done():
                self._schedule.finish(key)
            case RequeueAfter(seconds=seconds):
                self._schedule.finish(key, self._now() + seconds)
            case Requeue(within=within):
                self._schedule.fail(key, self._now(), at_most=within)

    def _fail(self, key: Key, error: Exception) -> float:
        """Requeue a key after a failure, and return after how many seconds."""
        retry_after = error.retry_after if isinstance(error, UnavailableError) else None
        return self._schedule.fail(key, self._now(), at_least=min(retry_after or 0.0, LONGEST_DELAY))


def _log_outcome(described: Mapping[str, object], outcome: Outcome, seconds: float) -> None:
    """Log one reconcile; a reconcile that changed nothing is logged at the debug level."""
    level = logging.DEBUG if outcome.result is Result.UNCHANGED else logging.INFO
    if logger.isEnabledFor(level):
        reason = {"reason": outcome.reason} if outcome.reason else {}
        logger.log(
            level, "reconciled", extra=context(**described, result=outcome.result, **reason, seconds=round(seconds, 4))
        )


def _log_failure(described: Mapping[str, object], error: Exception, delay: float) -> None:
    """Log a failure without the message of a foreign exception, which may repeat its input."""
    reason = str(error) if isinstance(error, ScopedSecretsError) else type(error).__name__
    logger.warning(
        "reconcile failed and is requeued",
        extra=context(**described, result=Result.FAILED, error=reason, retry_in=round(delay, 2)),
    )
