"""Definitions change while jobs start: each job gets one state of them, never a mix."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.lab import definition, file, job_run, pod_run
from tests.e2e.probe import RESOLUTION_PATH, Probe, documents
from tests.support.installed import CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

JOBS = 20
BATCH = 4
CHANGE_SECONDS = 60.0
LARGE = 500 * 1024
PATH = "/etc/app/pair"


class Changer(threading.Thread):
    """Applies one state after the other until it is told to stop."""

    def __init__(self, lab: Lab, states: Sequence[dict[str, Any]]) -> None:
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

    def wait_for_change(self) -> None:
        """Wait until there is one more change."""
        seen = self.changes
        wait_until(lambda: self.changes > seen or self.failure is not None, "a change", seconds=CHANGE_SECONDS)

    def stop(self) -> None:
        """End the thread and raise what went wrong in it."""
        self._stop_asked.set()
        self.join()
        if self.failure is not None:
            raise self.failure


@contextmanager
def changing(lab: Lab, states: Sequence[dict[str, Any]]) -> Iterator[Changer]:
    """Let a definition change all the time."""
    changer = Changer(lab, states)
    changer.start()
    try:
        yield changer
    finally:
        changer.stop()


@dataclass(frozen=True, slots=True)
class Pair:
    """One definition with two states, of which everything changes together.

    Attributes:
        states: The bodies of the definition, as it is first and as it is then.
        answers: What a job must print, by the state's index.
    """

    states: tuple[dict[str, Any], dict[str, Any]]
    answers: tuple[Probe, Probe]

    @classmethod
    def make(cls, lab: Lab, namespace: str) -> Pair:
        """Make a pair with values of its own."""
        first, second = lab.value("A"), lab.value("B")
        return cls((_state(namespace, first), _state(namespace, second)), (_answers(first), _answers(second)))

    def probe(self) -> Probe:
        """Expect one of the two states as a whole."""
        either = Probe(self.answers[0].arguments, self.answers[0].lines)
        return either.either(self.answers[1])

    def check(self, log: str) -> int:
        """Check that a job has the values of the very generation that its resolution names, and return that."""
        pin = documents(log)[RESOLUTION_PATH]["bundles"][0]["pin"]
        generation = int(pin.rpartition("@")[2])
        # Each change is one generation, and the first one is 1.
        self.answers[(generation - 1) % 2].check(log)
        return generation


def test_no_job_gets_a_mix_of_two_states(lab: Lab):
    namespace = lab.organization().namespace("web")
    pair = Pair.make(lab, namespace)
    lab.define(pair.states[0])
    runs = [job_run(pod_run(namespace, f"pair-{number}", "pair", pair.probe())) for number in range(JOBS)]

    lab.start(runs[0])
    with changing(lab, pair.states) as changer:
        for first in range(1, JOBS, BATCH):
            changer.wait_for_change()
            lab.create(*runs[first : first + BATCH])
        lab.finish(*runs)

    generations = {pair.check(lab.log(pod)) for pod in lab.pods(*runs)}
    assert len(generations) > 2


def test_a_job_whose_definition_changes_while_the_controller_is_down_gets_the_new_state_as_a_whole(lab: Lab):
    namespace = lab.organization().namespace("web")
    pair = Pair.make(lab, namespace)
    lab.define(pair.states[0])
    run = job_run(pod_run(namespace, "pair", "pair", pair.answers[1]))

    lab.operator.controllers[0].program.stop()
    try:
        lab.start(run)
        annotated = lab.annotated_resolution(run)["bundles"][0]["pin"]
        lab.apply(pair.states[1])
    finally:
        lab.operator.start()

    printed = lab.finish(run)[RESOLUTION_PATH]["bundles"][0]["pin"]
    assert (annotated[-2:], printed[-2:]) == ("@1", "@2")


def _state(namespace: str, value: str) -> dict[str, Any]:
    variables = {"FIRST": f"first {value}", "SECOND": f"second {value}"}
    return definition(namespace, "pair", env=variables, files=[file(PATH, f"file {value}\n")])


def _answers(value: str) -> Probe:
    return (
        Probe()
        .variable("FIRST", f"first {value}")
        .variable("SECOND", f"second {value}")
        .file(PATH, f"file {value}\n", "600")
        .document()
    )


def test_job_with_a_bundle_of_mixed_states_does_not_start(lab: Lab):
    namespace = lab.organization().namespace("web")
    blobs = [lab.value(text) + text * LARGE for text in "AB"]
    states = [definition(namespace, "large", files=[file("/data/large", blob)]) for blob in blobs]
    other = definition(namespace, "other", files=[file("/data/other", lab.value() + "x" * LARGE)])
    lab.define(other)
    lab.define(states[0])
    (node,) = lab.cluster.get("nodes")["items"]
    # Its author chose the node, whose kubelet may have read the Secret: the pod cannot be gated.
    run = pod_run(namespace, "begun", "other, large", Probe(), nodeName=node["metadata"]["name"])

    lab.operator.controllers[0].program.stop()
    try:
        lab.start(run)
        begun = begin_bundle(lab, lab.pod(run), blobs[0])
        lab.apply(states[1])
    finally:
        lab.operator.start()
    selector = f"type=Warning,involvedObject.name=begun,reason={names.Reason.DEFINITIONS_CHANGED}"
    warnings = ("events", "-n", namespace, "--field-selector", selector)
    wait_until(
        lambda: bool(lab.cluster.get(*warnings)["items"]) or lab.pod(run)["status"]["phase"] != "Pending",
        "a warning, or the start of the job",
        seconds=CHANGE_SECONDS,
    )

    assert lab.pod(run)["status"]["phase"] == "Pending"
    assert lab.bundle_secrets(namespace) == [begun]
    lab.cluster.kubectl("delete", "pod", "begun", "-n", namespace)
    wait_until(lambda: not lab.bundle_secrets(namespace), "the bundle Secret to go", seconds=CHANGE_SECONDS)


def test_a_gated_job_gets_the_new_state_instead_of_what_a_dead_controller_had_begun(lab: Lab):
    namespace = lab.organization().namespace("web")
    blobs = [lab.value(text) + text * LARGE for text in "AB"]
    states = [definition(namespace, "large", files=[file("/data/large", blob)]) for blob in blobs]
    content = lab.value() + "x" * LARGE
    lab.define(definition(namespace, "other", files=[file("/data/other", content)]), states[0])
    probe = Probe().file("/data/other", content, "600").file("/data/large", blobs[1], "600")
    run = pod_run(namespace, "begun", "other, large", probe)

    lab.operator.controllers[0].program.stop()
    try:
        lab.start(run)
        begin_bundle(lab, lab.pod(run), blobs[0])
        lab.apply(states[1])
    finally:
        lab.operator.start()

    lab.finish(run)


def begin_bundle(lab: Lab, pod: dict[str, Any], content: str) -> str:
    """Create the last Secret of a bundle, as a controller does that is killed before it creates the first one."""
    (volume,) = (volume for volume in pod["spec"]["volumes"] if "projected" in volume)
    last: dict[str, Any] = volume["projected"]["sources"][-1]["secret"]
    (item,) = last["items"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    metadata = {"name": last["name"], "namespace": pod["metadata"]["namespace"], "ownerReferences": [owner]}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": True}
    body["stringData"] = {item["key"]: content}
    lab.cluster.kubectl("create", "-f", "-", input=json.dumps(body), user=CONTROLLER_USER)
    return str(last["name"])
