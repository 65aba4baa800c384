"""The work queue: keys of what may have to be done, worked on by a bounded number of tasks.

Handlers only say which key something happened to; what is to be done is found out when its turn comes, from the state
as it then is. So many events about one thing cost one look, and nothing is lost when a look fails.
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
"""How many keys are worked on at once; more makes the API server slower and not faster (DESIGN section 9)."""

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Result(StrEnum):
    """What came of a look at a key, for logs and metrics."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    DELETED = "deleted"
    WRITTEN = "written"
    RESEALED = "resealed"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OutcomeDetails:
    """What is told of a look; it changes nothing about what comes next.

    Attributes:
        result: What came of it.
        reason: Why, in one word of the API; empty where there is nothing to say.
    """

    result: Result = field(default=Result.UNCHANGED, compare=False)
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Done(_OutcomeDetails):
    """Nothing is left to do for the key."""


@dataclass(frozen=True, slots=True)
class Requeue(_OutcomeDetails):
    """Something is missing that may come soon: look again with back-off, but within so many seconds."""

    within: float = LONGEST_DELAY


@dataclass(frozen=True, slots=True)
class RequeueAfter(_OutcomeDetails):
    """Look again after some seconds, without any failure."""

    seconds: float


Outcome: TypeAlias = Done | Requeue | RequeueAfter


@dataclass(frozen=True, slots=True)
class Attempt:
    """One look at a key that has ended.

    Attributes:
        result: What came of it.
        seconds: How long it took.
        error: What made it fail.
    """

    result: Result
    seconds: float
    error: Exception | None = None


class WorkQueue(Generic[Key]):
    """Work on keys, each at most once at a time.

    It belongs to one event loop, whose clock is its clock. It begins paused: a standby starts nothing.
    """

    def __init__(
        self,
        work: Callable[[Key], Awaitable[Outcome]],
        *,
        concurrency: int = CONCURRENCY,
        jitter: Callable[[], float] = random.random,
        describe: Callable[[Key], Mapping[str, object]] = lambda key: {"key": key},
        on_attempt: Callable[[Key, Attempt], None] = lambda key, attempt: None,  # noqa: ARG005 - nobody listens
    ) -> None:
        """Prepare a queue.

        Args:
            work: Does what is to be done for a key; whatever it raises is logged and tried again with back-off.
            concurrency: How many keys are worked on at once.
            jitter: Returns a number from 0 to 1, for the jitter of retries.
            describe: Returns the names for a key in log lines; asked before the work, after which it may be forgotten.
            on_attempt: Hears of every look that has ended.
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
        """Ask for a key to be worked on, ``delay`` seconds from now; a paused queue takes nothing."""
        if not self._paused:
            self._schedule.add(key, priority, self._now() + delay)
            self._start_due()

    def resume(self) -> None:
        """Begin to work. The caller then adds every key that may need it."""
        self._paused = False

    def pause(self) -> None:
        """Begin nothing more and forget what waits; a key in flight may finish.

        What waits is not kept: somebody else works on it now, and whoever resumes adds what then needs work.
        """
        self._paused = True
        self._schedule.clear()
        self._stop_timer()

    async def drain(self, seconds: float) -> bool:
        """Pause, and wait until what was begun is finished; after so many seconds it is cancelled.

        Returns:
            Whether everything finished by itself.
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
        """Tell whether nothing is begun."""
        return self._paused

    def depth(self) -> int:
        """Return how many keys wait, due or not."""
        return self._schedule.depth

    def oldest_age(self) -> float:
        """Return for how many seconds the key that waits longest has been due or worked on."""
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
            # The loop itself holds tasks weakly.
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def running(self) -> int:
        """Return how many keys are worked on."""
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
        """Have the key tried again, and return after how many seconds."""
        retry_after = error.retry_after if isinstance(error, UnavailableError) else None
        return self._schedule.fail(key, self._now(), at_least=min(retry_after or 0.0, LONGEST_DELAY))


def _log_outcome(described: Mapping[str, object], outcome: Outcome, seconds: float) -> None:
    """Write the one line about a look; those that found nothing to do are for whoever asks for more."""
    level = logging.DEBUG if outcome.result is Result.UNCHANGED else logging.INFO
    if logger.isEnabledFor(level):
        reason = {"reason": outcome.reason} if outcome.reason else {}
        logger.log(
            level, "reconciled", extra=context(**described, result=outcome.result, **reason, seconds=round(seconds, 4))
        )


def _log_failure(described: Mapping[str, object], error: Exception, delay: float) -> None:
    """Log a failure by words that are ours, since a foreign exception may repeat its input."""
    reason = str(error) if isinstance(error, ScopedSecretsError) else type(error).__name__
    logger.warning(
        "work on a key failed and is tried again",
        extra=context(**described, result=Result.FAILED, error=reason, again_in=round(delay, 2)),
    )
