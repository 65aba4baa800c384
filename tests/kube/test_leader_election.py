"""One candidate leads, and another takes over: at once when the first ends well, after the lease when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.kube.conftest import eventually

from scoped_secrets.config import LeaseSettings
from scoped_secrets.kube.leader_election import LeaderElection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.cluster import Cluster as TestCluster
    from tests.cluster.control_plane import ControlPlane
    from tests.conftest import NamespaceFactory

    from scoped_secrets.kube.client import Cluster

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHORT = LeaseSettings(duration=3.0, renew_deadline=2.0, retry_period=0.3)


class Candidate:
    """A candidate in this process, and what happened to it."""

    def __init__(self, cluster: Cluster, namespace: str, identity: str) -> None:
        self.election = LeaderElection(cluster, namespace, "lease", SHORT, identity=identity)
        self.story: list[str] = []

    async def start(self) -> None:
        self.story.append("started")

    async def stop(self) -> None:
        self.story.append("stopped")


@contextlib.asynccontextmanager
async def running(candidate: Candidate) -> AsyncIterator[None]:
    task = asyncio.create_task(candidate.election.run(candidate.start, candidate.stop))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def holder(installed: TestCluster, namespace: str) -> str:
    return str(installed.get("lease", "lease", "-n", namespace)["spec"]["holderIdentity"])


async def test_of_two_candidates_only_one_leads(installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    candidates = [Candidate(cluster, name, f"candidate-{number}") for number in range(2)]

    async with running(candidates[0]), running(candidates[1]):
        await eventually(lambda: any(candidate.election.is_leader for candidate in candidates))
        renewals: set[str] = set()

        def is_renewed_often() -> bool:
            assert sum(candidate.election.is_leader for candidate in candidates) == 1
            renewals.add(installed.get("lease", "lease", "-n", name)["spec"]["renewTime"])
            return len(renewals) > 4

        await eventually(is_renewed_often)
        leader = next(each.election.identity for each in candidates if each.election.is_leader)
        assert holder(installed, name) == leader
        assert installed.get("lease", "lease", "-n", name)["spec"]["leaseTransitions"] == 0

    stories = sorted(candidate.story for candidate in candidates)
    # When the leader ends first, the other may still begin before it ends itself.
    assert stories in ([[], ["started", "stopped"]], [["started", "stopped"]] * 2)


async def test_a_leader_that_ends_well_gives_the_lease_back(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    first, second = Candidate(cluster, name, "first"), Candidate(cluster, name, "second")
    async with running(first):
        await eventually(lambda: first.election.is_leader)
    assert first.story == ["started", "stopped"]
    assert holder(installed, name) == ""

    began = time.monotonic()
    async with running(second):
        await eventually(lambda: second.election.is_leader)
        assert time.monotonic() - began < SHORT.duration
        assert holder(installed, name) == "second"


async def test_a_second_candidate_takes_over_after_the_first_is_killed(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("candidate.py")),
        str(installed.kubeconfig),
        name,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"leads\n"
        second = Candidate(cluster, name, "second")
        async with running(second):
            # It must have seen the lease held before the holder dies.
            await eventually(lambda: second.election._is_held_by_another)
            assert not second.election.is_leader
            process.kill()
            killed = time.monotonic()
            await eventually(lambda: second.election.is_leader)

            # Not before the dead one's lease has ended, and soon after.
            assert time.monotonic() - killed > SHORT.duration - SHORT.retry_period - 1.0
            await eventually(lambda: second.story == ["started"])
            assert installed.get("lease", "lease", "-n", name)["spec"]["leaseTransitions"] == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_leader_without_an_api_server_stops_before_its_lease_ends(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    candidate = Candidate(cluster, name, "alone")

    async with running(candidate):
        await eventually(lambda: candidate.election.is_leader)
        stopping = asyncio.create_task(asyncio.to_thread(own_control_plane.stop_api_server))
        try:
            await eventually(lambda: not candidate.election.is_leader)
            assert candidate.election._clock() - candidate.election._renewed_at < SHORT.duration
            await eventually(lambda: candidate.story == ["started", "stopped"])
        finally:
            await stopping
            await asyncio.to_thread(own_control_plane.start_api_server)
        await eventually(lambda: candidate.election.is_leader)

    assert candidate.story == ["started", "stopped", "started", "stopped"]


async def test_leadership_that_another_took_is_noticed(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    candidate = Candidate(cluster, name, "robbed")

    async with running(candidate):
        await eventually(lambda: candidate.election.is_leader)
        thief = '{"spec":{"holderIdentity":"thief","leaseDurationSeconds":60}}'
        installed.kubectl("patch", "lease", "lease", "-n", name, "--type=merge", "-p", thief)
        await eventually(lambda: candidate.story == ["started", "stopped"])

        assert not candidate.election.is_leader

    assert holder(installed, name) == "thief"
