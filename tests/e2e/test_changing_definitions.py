"""Definitions change while jobs start: each job gets one state of them, never a mix."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.processes import wait_until
from tests.e2e.lab import definition, file, job_run, pod_run
from tests.e2e.probe import RESOLUTION_PATH, Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

JOBS = 20
PATH = "/etc/app/pair"


class Changer(threading.Thread):
    """Applies one state after the other until it is told to stop."""

    def __init__(self, lab: Lab, states: list[dict[str, Any]]) -> None:
        """Prepare; ``start`` begins with the second state."""
        super().__init__(name="changer")
        self._lab = lab
        self._states = cycle([*states[1:], states[0]])
        self._stop_asked = threading.Event()
        self.changes = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        """Change the definition, as fast as kubectl can."""
        try:
            while not self._stop_asked.is_set():
                self._lab.apply(next(self._states))
                self.changes += 1
        except Exception as failure:  # noqa: BLE001 - it is raised where the thread was started.
            self.failure = failure

    def stop(self) -> None:
        """End the thread and raise what went wrong in it."""
        self._stop_asked.set()
        self.join()
        if self.failure is not None:
            raise self.failure


@contextmanager
def changing(lab: Lab, states: list[dict[str, Any]]) -> Iterator[Changer]:
    """Let a definition change all the time."""
    changer = Changer(lab, states)
    changer.start()
    try:
        yield changer
    finally:
        changer.stop()


def test_no_job_gets_a_mix_of_two_states(lab: Lab):
    namespace = lab.organization().namespace("web")
    values = [lab.value("A"), lab.value("B")]
    states = [
        definition(
            namespace,
            "pair",
            env={"FIRST": f"first {value}", "SECOND": f"second {value}"},
            files=[file(PATH, f"file {value}\n")],
        )
        for value in values
    ]
    lab.define(states[0])
    # Each change is one generation: the first state has the odd ones.
    by_parity = {1: answers(values[0]), 0: answers(values[1])}
    runs = [
        job_run(pod_run(namespace, f"pair-{number}", "pair", answers(values[0]).either(answers(values[1]))))
        for number in range(JOBS)
    ]

    lab.start(runs[0])
    with changing(lab, states) as changer:
        lab.create(*runs[1:])
        wait_until(lambda: all(map(lab.is_finished, runs)), "the end of all jobs", seconds=180)

    assert changer.changes > 1
    for run in runs:
        resolution = lab.finish(run)[RESOLUTION_PATH]
        generation = int(resolution["bundles"][0]["pin"].rpartition("@")[2])
        by_parity[generation % 2].check(lab.log(run))


def answers(value: str) -> Probe:
    """Expect one state as a whole."""
    return (
        Probe()
        .variable("FIRST", f"first {value}")
        .variable("SECOND", f"second {value}")
        .file(PATH, f"file {value}\n", "600")
        .document()
    )
