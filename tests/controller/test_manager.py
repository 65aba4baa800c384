"""The manager: which keys it enqueues, and that a kind of work is one object."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from tests.controller.snapshots import KEY, admitted, job, stored
from tests.controller.virtual_time import run
from tests.support.builders import NOW, definition, home_and_project, inventory

from scoped_secrets.controller.manager import Manager
from scoped_secrets.controller.reconciler import Pending, Reconciler
from scoped_secrets.controller.reconcilers import RECONCILERS
from scoped_secrets.controller.workqueue.queue import Done
from scoped_secrets.controller.workqueue.schedule import Priority
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.kube.changes import Changes
from scoped_secrets.metrics import ControllerMetrics

if TYPE_CHECKING:
    from scoped_secrets.kube.client import Cluster
    from scoped_secrets.kube.keys import Keys

SNAPSHOT = inventory(home_and_project(), [definition("acme/registry", env={"TOKEN": "a"})])


class Publishing(Reconciler):
    """A kind of work that the package does not know."""

    kind = "Publishing"

    def __init__(self, context):
        super().__init__(context)
        self.objects: list[Pending | None] = []
        self.reconciled: list[tuple[float, str]] = []

    async def reconcile(self, key):
        self.reconciled.append((asyncio.get_running_loop().time(), key))
        return Done()

    def pending(self):
        yield from self.objects

    def on_changes(self, changes):
        return [Pending(location) for location in changes.definitions]

    def on_pod(self, record):
        return [Pending(record.location)]


def manager_of(*reconcilers) -> Manager:
    """Return a manager after its first complete list, without an API server."""
    manager = Manager(
        cast("Cluster", None),
        keys=lambda: cast("Keys", SimpleNamespace(fingerprint_key=KEY, former_fingerprint_keys=())),
        settings=DecisionSettings(),
        organization="default",
        workers=1,
        metrics=ControllerMetrics(),
        reconcilers=reconcilers,
        clock=lambda: 0.0,
        now=lambda: NOW + timedelta(seconds=1),
    )
    manager._complete_since = 0.0
    return manager


def published(manager) -> Publishing:
    return cast("Publishing", manager._reconcilers["Publishing"])


def test_kinds_in_logs_and_metrics_are_unique_and_stay_as_they_are():
    kinds = ["Pod", "PodStart", "Copy", "Reseal", "ScopedSecret", "SecretPolicy", "Sweep"]
    assert [each.kind for each in RECONCILERS] == kinds


def test_resync_enqueues_what_each_reconciler_yields_as_pending():
    async def story():
        manager = manager_of(Publishing)
        published(manager).objects = [Pending("web/a"), None, Pending("web/b", delay=5.0)]
        await manager.lead()
        await asyncio.sleep(10)
        return published(manager).reconciled

    assert run(story()) == [(0.0, "web/a"), (5.0, "web/b")]


def test_events_and_other_reconcilers_enqueue_keys():
    async def story():
        manager = manager_of(Publishing)
        await manager.lead()
        manager._on_changes(Changes(definitions=frozenset({"web/changed"})))
        manager.on_pod("ADDED", stored(job()))
        manager.enqueue("Publishing", Pending("web/asked"))
        await asyncio.sleep(1)
        return {key for _, key in published(manager).reconciled}

    assert run(story()) == {"web/changed", "web/job", "web/asked"}


def test_standby_enqueues_nothing():
    async def story():
        manager = manager_of(Publishing)
        published(manager).objects = [Pending("web/a")]
        manager._on_changes(Changes(definitions=frozenset({"web/changed"})))
        manager.on_pod("ADDED", stored(job()))
        await manager._resync()
        depth = manager.queue.depth()
        manager.queue.resume()
        await asyncio.sleep(1)
        return depth, published(manager).reconciled

    assert run(story()) == (0, [])


@pytest.mark.parametrize(("objects", "turns"), [(49, 0), (50, 1), (170, 3)])
def test_resync_lets_other_tasks_run_every_50_objects(objects, turns):
    async def story():
        manager = manager_of(Publishing)
        published(manager).objects = [None] * objects
        count = 0

        async def other():
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await manager.lead()
        task.cancel()
        return count

    assert run(story()) == turns


def test_resync_checks_20_bundles_of_ended_pods_per_second_after_all_other_work():
    async def story():
        manager = manager_of(*RECONCILERS)
        for number in range(3):
            body = admitted(job(metadata={"name": f"job-{number}"}), SNAPSHOT)
            manager.pods.put(stored(body, uid=f"ended-{number}", phase="Succeeded"), 0.0)
        manager.pods.put(stored(admitted(job(), SNAPSHOT), uid="waiting"), 0.0)
        await asyncio.sleep(0)
        return list(manager._reconcilers["Pod"].pending())

    assert run(story()) == [
        Pending("ended-0", Priority.RESYNC, 0.0),
        Pending("ended-1", Priority.RESYNC, 0.05),
        Pending("ended-2", Priority.RESYNC, 0.1),
        Pending("waiting", Priority.JOB),
    ]


def test_bundle_reconciler_needs_no_work_for_a_pod_that_runs():
    async def story():
        manager = manager_of(*RECONCILERS)
        await manager.lead()
        manager.on_pod("ADDED", stored(admitted(job(), SNAPSHOT), phase="Running"))
        return manager.queue.depth()

    assert run(story()) == 0
