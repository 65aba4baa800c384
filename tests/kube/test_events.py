"""Events are recorded once, and a failure to record one does not disturb the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kube.fake import FakeServer

from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster as TestCluster
    from tests.conftest import NamespaceFactory

    from scoped_secrets.kube.client import Cluster

POD = {"apiVersion": "v1", "kind": "Pod", "namespace": "web", "name": "job", "uid": "1"}


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.integration
async def test_kubectl_describe_shows_an_event_of_the_object(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    installed.kubectl("run", "job", "-n", name, "--image=none", "--restart=Never")
    uid = installed.get("pod", "job", "-n", name)["metadata"]["uid"]
    recorder = EventRecorder(cluster)

    for _ in range(3):
        await recorder.warn(POD | {"namespace": name, "uid": uid}, Reason.NOT_INJECTED, "label the pod earlier")

    (event,) = installed.get("events", "-n", name, f"--field-selector=involvedObject.uid={uid}")["items"]
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "NotInjected", "label the pod earlier")
    assert "NotInjected" in installed.kubectl("describe", "pod", "job", "-n", name).stdout


@pytest.mark.integration
async def test_a_long_message_of_any_script_is_truncated(
    cluster: Cluster, installed: TestCluster, namespace: NamespaceFactory
):
    name = namespace()
    recorder = EventRecorder(cluster)

    await recorder.normal(POD | {"namespace": name}, Reason.DEFINITIONS_CHANGED, "ü" * 5000)

    (event,) = installed.get("events", "-n", name)["items"]
    assert event["message"] == "ü" * 512
    assert recorder.dropped == 0


async def test_an_event_is_repeated_only_after_some_minutes(tmp_path: Path):
    clock = Clock()
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        recorder = EventRecorder(cluster, clock=clock)
        recorded = []
        for _ in range(3):
            await recorder.warn(POD, Reason.NOT_FOUND, "bundle 'aws' is missing; create it")
            await recorder.warn(POD, Reason.NOT_FOUND, "bundle 'gcp' is missing; create it")
            recorded.append(len(server.requests))
            clock.time += 400

    assert recorded == [2, 2, 4]


async def test_events_are_limited_by_a_rate(tmp_path: Path):
    clock = Clock()
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        recorder = EventRecorder(cluster, clock=clock)
        for number in range(150):
            await recorder.warn(POD | {"uid": str(number)}, Reason.NOT_FOUND, "missing")
        assert (len(server.requests), recorder.dropped) == (100, 50)
        clock.time += 2
        for number in range(150, 200):
            await recorder.warn(POD | {"uid": str(number)}, Reason.NOT_FOUND, "missing")

    assert len(server.requests) == 110


async def test_advice_leaves_half_of_the_events_to_problems(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        recorder = EventRecorder(cluster, clock=Clock())
        for number in range(80):
            await recorder.advise(POD | {"uid": str(number)}, Reason.USER_UNKNOWN, "state it")
        assert (len(server.requests), recorder.dropped) == (50, 30)
        for number in range(80):
            await recorder.warn(POD | {"uid": str(number)}, Reason.NOT_FOUND, "missing")

    assert len(server.requests) == 100


async def test_an_event_that_cannot_be_written_is_dropped_and_may_be_recorded_later(tmp_path: Path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        recorder = EventRecorder(cluster)
        server.will_answer(500, {"reason": "InternalError"})
        await recorder.warn(POD, Reason.NOT_FOUND, "missing")
        await recorder.warn(POD, Reason.NOT_FOUND, "missing")

    assert recorder.dropped == 1
    assert len(server.requests) == 2
