"""Takes part in leader election in a process of its own: prints one line when leadership begins, one when it ends."""

import asyncio
import sys

from scoped_secrets.config import LeaseSettings
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.leader_election import LeaderElection


async def main(kubeconfig: str, namespace: str) -> None:
    async def tell(line: str) -> None:
        print(line, flush=True)  # noqa: T201 - the test reads it.

    async with await Cluster.connect(kubeconfig) as cluster:
        election = LeaderElection(
            cluster, namespace, "lease", LeaseSettings(duration=3.0, renew_deadline=2.0, retry_period=0.3)
        )
        await election.run(lambda: tell("leads"), lambda: tell("stopped"))


asyncio.run(main(*sys.argv[1:]))
