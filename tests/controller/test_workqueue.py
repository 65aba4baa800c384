"""The queue: no key lost, none reconciled twice at once, in the right order and at the right time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.controller.virtual_time import run

from scoped_secrets.controller.workqueue.queue import Done, Requeue, RequeueAfter, Result, WorkQueue
from scoped_secrets.controller.workqueue.schedule import LONGEST_DELAY, SHORTEST_DELAY, Priority, Schedule
from scoped_secrets.errors import UnavailableError

KEYS = st.sampled_from("abcde")


def now():
    return asyncio.get_running_loop().time()


def schedule() -> Schedule[str]:
    return Schedule(lambda: 1.0)


class Recording:
    """Work that records which key it reconciles when, and returns or raises the given outcomes."""

    def __init__(self, *outcomes, seconds=0.0):
        self.began: list[tuple[float, str]] = []
        self.running: set[str] = set()
        self.most = 0
        self._outcomes = list(outcomes)
        self._seconds = seconds

    async def __call__(self, key):
        assert key not in self.running, "a key is worked on twice at once"
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.began.append((now(), key))
        await asyncio.sleep(self._seconds)
        self.running.remove(key)
        outcome = self._outcomes.pop(0) if self._outcomes else Done()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def keys(self):
        return [key for _, key in self.began]


def queue_of(work, **arguments) -> WorkQueue[str]:
    queue = WorkQueue(work, jitter=lambda: 1.0, **arguments)
    queue.resume()
    return queue


class TestSchedule:
    def test_key_that_is_added_twice_is_taken_once(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        waiting.add("a", Priority.JOB, 0.0)

        assert waiting.depth == 1
        assert waiting.take(0.0) == "a"
        assert waiting.take(0.0) is None

    def test_work_that_a_job_waits_for_comes_first(self):
        waiting = schedule()
        for priority in reversed(Priority):
            waiting.add(priority.name, priority, 0.0)

        assert [waiting.take(1.0) for _ in Priority] == ["JOB", "CLEANUP", "DEFAULT", "RESYNC"]

    def test_keys_of_equal_priority_are_taken_in_the_order_of_their_due_times(self):
        waiting = schedule()
        waiting.add("late", Priority.DEFAULT, 2.0)
        waiting.add("early", Priority.DEFAULT, 1.0)

        assert [waiting.take(3.0), waiting.take(3.0)] == ["early", "late"]

    def test_no_key_is_taken_before_it_is_due(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 5.0)

        assert waiting.take(4.9) is None
        assert waiting.next_due() == 5.0
        assert waiting.take(5.0) == "a"

    def test_adding_a_key_again_makes_it_due_earlier_and_never_later(self):
        waiting = schedule()
        waiting.add("a", Priority.RESYNC, 5.0)
        waiting.add("a", Priority.JOB, 9.0)
        waiting.add("a", Priority.DEFAULT, 2.0)
        waiting.add("b", Priority.CLEANUP, 2.0)

        assert waiting.next_due() == 2.0
        assert [waiting.take(2.0), waiting.take(2.0), waiting.take(9.0)] == ["a", "b", None]

    def test_key_that_is_added_while_it_is_reconciled_is_reconciled_again(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        waiting.take(0.0)
        waiting.add("a", Priority.DEFAULT, 1.0)

        assert waiting.take(2.0) is None
        waiting.finish("a")
        assert waiting.take(2.0) == "a"

    def test_back_off_doubles_up_to_a_minute_and_is_reset_by_success(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        delays = []
        moment = 0.0
        for _ in range(14):
            assert waiting.take(moment) == "a"
            delays.append(waiting.fail("a", moment))
            moment += delays[-1]

        assert delays[:4] == [SHORTEST_DELAY, 0.1, 0.2, 0.4]
        assert delays[-1] == LONGEST_DELAY
        assert waiting.take(moment) == "a"
        waiting.finish("a", moment)
        assert waiting.take(moment) == "a"
        assert waiting.fail("a", moment) == SHORTEST_DELAY

    def test_requeue_waits_at_least_as_long_as_the_server_says(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        waiting.take(0.0)

        assert waiting.fail("a", 0.0, at_least=7.0) == 7.0
        assert waiting.next_due() == 7.0

    def test_requeue_waits_at_most_until_the_deadline_of_the_key(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        for _ in range(12):
            waiting.take(100.0)
            waiting.fail("a", 100.0, at_most=0.0)
        waiting.take(100.0)

        assert waiting.fail("a", 100.0, at_most=3.0) == 3.0

    def test_new_event_does_not_wait_for_the_end_of_a_back_off(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 0.0)
        waiting.take(0.0)
        waiting.fail("a", 0.0, at_least=60.0)
        waiting.add("a", Priority.JOB, 1.0)

        assert waiting.take(1.0) == "a"

    def test_age_of_a_key_counts_from_its_due_time_until_its_reconcile_ends(self):
        waiting = schedule()
        waiting.add("a", Priority.JOB, 10.0)

        assert waiting.oldest_age(9.0) == 0.0
        assert waiting.oldest_age(12.0) == 2.0
        waiting.take(12.0)
        assert waiting.oldest_age(15.0) == 5.0
        waiting.finish("a")
        assert waiting.oldest_age(20.0) == 0.0

    @given(st.floats(0, 1), st.integers(0, 80))
    def test_every_delay_is_between_zero_and_its_bound(self, jitter, failures):
        waiting: Schedule[str] = Schedule(lambda: jitter)
        waiting.add("a", Priority.JOB, 0.0)
        moment = 0.0
        for _ in range(failures):
            assert waiting.take(moment) == "a"
            moment += waiting.fail("a", moment)

        assert waiting.take(moment) == "a"
        delay = waiting.fail("a", moment)
        assert 0.0 <= delay <= min(LONGEST_DELAY, SHORTEST_DELAY * 2**failures)


class ScheduleMachine(RuleBasedStateMachine):
    """Any order of calls: no request is lost, and no key is taken twice at once."""

    @initialize()
    def begin(self):
        self.schedule: Schedule[str] = Schedule(lambda: 0.5)
        self.now = 0.0
        self.running: set[str] = set()
        # For every key the time by which some request for it must be answered.
        self.owed: dict[str, float] = {}

    @rule(key=KEYS, priority=st.sampled_from(Priority), delay=st.sampled_from([0.0, 0.5, 3.0]))
    def add(self, key, priority, delay):
        self.schedule.add(key, priority, self.now + delay)
        self.owed[key] = min(self.owed.get(key, self.now + delay), self.now + delay)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        key = self.schedule.take(self.now)
        due = {key for key, moment in self.owed.items() if moment <= self.now and key not in self.running}
        if key is None:
            assert not due
        else:
            assert key in due
            self.running.add(key)
            del self.owed[key]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans())
    def give_back(self, data, fails):
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(key)
        if fails:
            moment = self.now + self.schedule.fail(key, self.now)
            self.owed[key] = min(self.owed.get(key, moment), moment)
        else:
            self.schedule.finish(key)

    @invariant()
    def waiting_keys_are_the_owed_ones(self):
        assert self.schedule.depth == len(self.owed)
        assert self.schedule.running == len(self.running)

    @invariant()
    def next_due_time_is_the_earliest_owed_one(self):
        free = [moment for key, moment in self.owed.items() if key not in self.running]
        due = self.schedule.next_due()
        assert (due is None) == (not free)
        if due is not None and min(free) > self.now:
            assert due == min(free)


ScheduleMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestScheduleMachine = ScheduleMachine.TestCase


def lines(caplog):
    """Return the context of the queue's log lines."""
    records = (record for record in caplog.records if record.name == "scoped_secrets.controller.workqueue.queue")
    return [record.context for record in records]


class TestQueue:
    def test_new_queue_accepts_no_key_until_it_is_resumed(self):
        async def story():
            work = Recording()
            queue = WorkQueue(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(1)
            queue.resume()
            await asyncio.sleep(1)
            return work.keys, queue.depth()

        assert run(story()) == ([], 0)

    def test_queue_reconciles_at_most_as_many_keys_at_once_as_configured(self):
        async def story():
            work = Recording(seconds=1.0)
            queue = queue_of(work, concurrency=3)
            for key in "abcdefgh":
                queue.add(key, Priority.JOB)
            await asyncio.sleep(10)
            return work

        work = run(story())
        assert work.most == 3
        assert sorted(work.keys) == list("abcdefgh")
        assert [moment for moment, _ in work.began] == [0, 0, 0, 1, 1, 1, 2, 2]

    def test_events_during_a_reconcile_cause_one_more_reconcile(self):
        async def story():
            work = Recording(seconds=1.0)
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(0.5)
            queue.add("a", Priority.JOB)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(10)
            return work.began

        assert run(story()) == [(0, "a"), (1, "a")]

    def test_failed_keys_are_requeued_with_back_off_until_they_succeed(self, caplog):
        async def story():
            work = Recording(ValueError("hunter2"), UnavailableError("POST /x: 503"), Requeue())
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(10)
            return work.began, queue.depth()

        with caplog.at_level(logging.DEBUG):
            began, depth = run(story())
        assert [round(moment, 3) for moment, _ in began] == [0.0, 0.05, 0.15, 0.35]
        assert depth == 0
        assert "hunter2" not in caplog.text
        assert [line.get("error") for line in lines(caplog)] == ["ValueError", "POST /x: 503", None, None]

    def test_every_reconcile_is_logged_in_one_line_with_object_and_result(self, caplog):
        attempts = []

        async def story():
            work = Recording(
                Done(result=Result.CREATED),
                RequeueAfter(5.0, result=Result.REFUSED, reason="PolicyDenied"),
                UnavailableError("POST /x: 503"),
                seconds=0.5,
            )
            queue = queue_of(
                work,
                concurrency=1,
                describe=lambda key: {"kind": "Pod", "object": f"web/{key}"},
                on_attempt=lambda key, attempt: attempts.append(
                    (key, attempt.result, attempt.seconds, type(attempt.error).__name__)
                ),
            )
            for key in "abcd":
                queue.add(key, Priority.JOB)
            await asyncio.sleep(3)

        with caplog.at_level(logging.DEBUG):
            run(story())
        assert [(line["object"], line["result"], line.get("reason")) for line in lines(caplog)][:4] == [
            ("web/a", "created", None),
            ("web/b", "refused", "PolicyDenied"),
            ("web/c", "failed", None),
            ("web/d", "unchanged", None),
        ]
        assert {line["kind"] for line in lines(caplog)} == {"Pod"}
        assert attempts[:3] == [
            ("a", Result.CREATED, 0.5, "NoneType"),
            ("b", Result.REFUSED, 0.5, "NoneType"),
            ("c", Result.FAILED, 0.5, "UnavailableError"),
        ]
        levels = [
            record.levelname for record in caplog.records if record.name == "scoped_secrets.controller.workqueue.queue"
        ]
        # A reconcile that changes nothing is logged at the debug level.
        assert levels[:4] == ["INFO", "INFO", "WARNING", "DEBUG"]

    def test_requeue_after_reconciles_the_key_again_after_the_delay(self):
        async def story():
            work = Recording(RequeueAfter(5.0))
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(10)
            return work.began

        assert run(story()) == [(0, "a"), (5, "a")]

    def test_retry_after_of_the_server_delays_the_requeue(self):
        async def story():
            work = Recording(UnavailableError("POST /x: 429", status=429, retry_after=9.0))
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(30)
            return work.began

        assert run(story()) == [(0, "a"), (9, "a")]

    def test_paused_queue_starts_no_work_and_drops_waiting_keys(self):
        async def story():
            work = Recording(Requeue(), seconds=1.0)
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            queue.add("b", Priority.JOB, delay=5.0)
            await asyncio.sleep(0.5)
            queue.pause()
            queue.add("c", Priority.JOB)
            await asyncio.sleep(20)
            queue.resume()
            queue.add("d", Priority.JOB)
            await asyncio.sleep(20)
            return work.keys, work.running

        assert run(story()) == (["a", "d"], set())

    def test_drain_finishes_started_work_and_starts_none(self):
        async def story():
            work = Recording(seconds=3.0)
            queue = queue_of(work, concurrency=1)
            queue.add("a", Priority.JOB)
            queue.add("b", Priority.JOB)
            await asyncio.sleep(1)
            finished = await queue.drain(10.0)
            return finished, now(), work.keys, work.running

        assert run(story()) == (True, 3.0, ["a"], set())

    def test_drain_cancels_work_at_its_deadline(self):
        async def story():
            work = Recording(seconds=1000.0)
            queue = queue_of(work)
            queue.add("a", Priority.JOB)
            await asyncio.sleep(1)
            return await queue.drain(10.0), now()

        assert run(story()) == (False, 11.0)

    def test_oldest_age_includes_work_that_hangs(self):
        async def story():
            queue = queue_of(Recording(seconds=100.0))
            queue.add("a", Priority.JOB)
            await asyncio.sleep(40)
            age = queue.oldest_age()
            await queue.drain(0.0)
            return age

        assert run(story()) == 40.0

    @pytest.mark.parametrize("concurrency", [1, 4, 16])
    @given(requests=st.lists(st.tuples(KEYS, st.sampled_from(Priority), st.floats(0, 3), st.floats(0, 2))))
    @settings(max_examples=60, deadline=None)
    def test_every_added_key_is_reconciled_after_it_was_added(self, concurrency, requests):
        async def story():
            work = Recording(*(Requeue() for _ in range(3)), seconds=0.7)
            queue = queue_of(work, concurrency=concurrency)
            last = {}
            for key, priority, delay, pause in requests:
                queue.add(key, priority, delay)
                last[key] = now()
                await asyncio.sleep(pause)
            await asyncio.sleep(1000)
            return work, last, queue.depth()

        work, last, depth = run(story())
        assert depth == 0
        assert work.most <= concurrency
        for key, moment in last.items():
            assert any(began >= moment for began, name in work.began if name == key)
