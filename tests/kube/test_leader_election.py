"""One controller leads, and a standby takes over: at once after a release, after the lease duration otherwise."""

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


class Elector:
    """A participant in this process, and the calls that it received."""

    def __init__(self, cluster: Cluster, namespace: str, identity: str) -> None:
        self.election = LeaderElection(cluster, namespace, "lease", SHORT, identity=identity)
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("started")

    async def stop(self) -> None:
        self.calls.append("stopped")


@contextlib.asynccontextmanager
async def running(elector: Elector) -> AsyncIterator[None]:
    task = asyncio.create_task(elector.election.run(elector.start, elector.stop))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def holder(installed: TestCluster, namespace: str) -> str:
    return str(installed.get("lease", "lease", "-n", namespace)["spec"]["holderIdentity"])


async def test_only_one_of_two_controllers_leads(installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory):
    name = namespace()
    electors = [Elector(cluster, name, f"elector-{number}") for number in range(2)]

    async with running(electors[0]), running(electors[1]):
        await eventually(lambda: any(elector.election.is_leader for elector in electors))
        renewals: set[str] = set()

        def is_renewed_often() -> bool:
            assert sum(elector.election.is_leader for elector in electors) == 1
            renewals.add(installed.get("lease", "lease", "-n", name)["spec"]["renewTime"])
            return len(renewals) > 4

        await eventually(is_renewed_often)
        leader = next(each.election.identity for each in electors if each.election.is_leader)
        assert holder(installed, name) == leader
        assert installed.get("lease", "lease", "-n", name)["spec"]["leaseTransitions"] == 0

    all_calls = sorted(elector.calls for elector in electors)
    # When the leader is stopped first, the standby may still lead before it is stopped.
    assert all_calls in ([[], ["started", "stopped"]], [["started", "stopped"]] * 2)


async def test_a_leader_that_is_stopped_releases_the_lease(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    first, second = Elector(cluster, name, "first"), Elector(cluster, name, "second")
    async with running(first):
        await eventually(lambda: first.election.is_leader)
    assert first.calls == ["started", "stopped"]
    assert holder(installed, name) == ""

    began = time.monotonic()
    async with running(second):
        await eventually(lambda: second.election.is_leader)
        assert time.monotonic() - began < SHORT.duration
        assert holder(installed, name) == "second"


async def test_a_standby_takes_over_when_the_lease_of_a_killed_leader_ends(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("elector.py")),
        str(installed.kubeconfig),
        name,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"leads\n"
        second = Elector(cluster, name, "second")
        async with running(second):
            # It has observed the Lease before its holder is killed.
            await eventually(lambda: second.election._is_held_by_another)
            assert not second.election.is_leader
            process.kill()
            killed = time.monotonic()
            await eventually(lambda: second.election.is_leader)

            # Not before the lease of the killed leader has ended, and soon after.
            assert time.monotonic() - killed > SHORT.duration - SHORT.retry_period - 1.0
            await eventually(lambda: second.calls == ["started"])
            assert installed.get("lease", "lease", "-n", name)["spec"]["leaseTransitions"] == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_leader_without_an_api_server_steps_down_before_its_lease_ends(
    own_control_plane: ControlPlane, installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    elector = Elector(cluster, name, "alone")

    async with running(elector):
        await eventually(lambda: elector.election.is_leader)
        stopping = asyncio.create_task(asyncio.to_thread(own_control_plane.stop_api_server))
        try:
            await eventually(lambda: not elector.election.is_leader)
            assert elector.election._clock() - elector.election._renewed_at < SHORT.duration
            await eventually(lambda: elector.calls == ["started", "stopped"])
        finally:
            await stopping
            await asyncio.to_thread(own_control_plane.start_api_server)
        await eventually(lambda: elector.election.is_leader)

    # While it starts, the API server may be slow enough for the leader to step down once more.
    assert len(elector.calls) >= 4
    assert elector.calls == ["started", "stopped"] * (len(elector.calls) // 2)


async def test_a_leader_steps_down_when_another_holds_the_lease(
    installed: TestCluster, cluster: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    elector = Elector(cluster, name, "leader")

    async with running(elector):
        await eventually(lambda: elector.election.is_leader)
        another = '{"spec":{"holderIdentity":"another","leaseDurationSeconds":60}}'
        installed.kubectl("patch", "lease", "lease", "-n", name, "--type=merge", "-p", another)
        await eventually(lambda: elector.calls == ["started", "stopped"])

        assert not elector.election.is_leader

    assert holder(installed, name) == "another"
