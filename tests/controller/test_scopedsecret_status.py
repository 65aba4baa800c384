"""How statuses change with time, with the test's own clock and a real API server."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.controller.lab import scoped_secret
from tests.controller.snapshots import inventory_of_pods
from tests.support.builders import entry_key, slot_at

from scoped_secrets import names
from scoped_secrets.api.value_fingerprints import value_fingerprint
from scoped_secrets.audit import AuditLog
from scoped_secrets.controller.condition_counts import ConditionCounts
from scoped_secrets.controller.reconciler import ReconcilerContext
from scoped_secrets.controller.resealing import ResealReconciler
from scoped_secrets.controller.scopedsecret_status import ScopedSecretStatusReconciler
from scoped_secrets.controller.value_age import ResealedTexts
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, RequeueAfter, Result
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.keys import Keys
from scoped_secrets.metrics import ControllerMetrics

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
KEYS = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
FINGERPRINT_KEY = FingerprintKey(bytes(range(32)))


class Reporter:
    """The part of a controller that writes statuses, as it is after a start."""

    def __init__(self, cluster: Cluster, clock: list[datetime], *, records_fingerprints: bool = True) -> None:
        self.cluster = cluster
        self.informer = Informer(Inventory(), default_organization="default", keep_sealed=True, keep_status=True)
        self.ring = KEYS
        self.fingerprint_key = FINGERPRINT_KEY
        self.context = ReconcilerContext(
            cluster=cluster,
            informer=self.informer,
            pods=inventory_of_pods(),
            keys=lambda: Keys(self.ring, self.informer.cluster_id, self.fingerprint_key),
            recorder=EventRecorder(cluster, now=lambda: clock[0]),
            settings=DecisionSettings(),
            audit=AuditLog(),
            metrics=ControllerMetrics(),
            condition_counts=ConditionCounts(),
            resealed_texts=ResealedTexts(),
            sweeps=False,
            records_fingerprints=records_fingerprints,
            complete_since=lambda: 0.0,
            leads_since=lambda: 0.0,
            enqueue=lambda kind, pending: None,
            clock=time.monotonic,
            now=lambda: clock[0],
        )
        self.statuses = ScopedSecretStatusReconciler(self.context)

    async def reconcile(self, location: str) -> Any:
        """List everything, and reconcile the status of one definition."""
        await self.informer.relist(self.cluster)
        return await self.statuses.reconcile(location)

    async def reseal(self, location: str, ring: KeyRing = KEYS) -> Outcome:
        """Fulfil a request to reseal a definition with other keys."""
        await self.informer.relist(self.cluster)
        self.ring = ring
        outcome = await ResealReconciler(self.context).reconcile(location)
        self.ring = KEYS
        return outcome

    def due_in(self, location: str) -> float | None:
        return self.statuses.due_in(location)


class Bench:
    """One definition, and the time."""

    def __init__(self, lab, cluster: Cluster) -> None:
        self.lab = lab
        self.cluster = cluster
        self.clock = [datetime.now(UTC)]
        self.namespace = lab.namespace(f"acme-{secrets.token_hex(4)}", "web")
        self.location = f"{self.namespace}/aws"
        self.reporter = Reporter(cluster, self.clock)

    async def store(self, value: str = "one", *, is_offline: bool = False, **spec: Any) -> None:
        """Store the definition as admission does."""
        await asyncio.to_thread(self.lab.apply, scoped_secret(self.namespace, "aws"))
        await self.reporter.informer.relist(self.cluster)
        informer = self.reporter.informer
        slot = slot_at(informer.inventory, self.location)
        context = sealing_context(informer.cluster_id, self.namespace, "aws", slot, entry_key("env", "KEY"))
        secret = SecretValue(value.encode())
        mark = (
            None if is_offline else fingerprint(FINGERPRINT_KEY, self.namespace, "aws", "env", "KEY", secret, bytes(12))
        )
        text = seal(secret, context, KEYS.active.public_key, mark)
        entries = [{"name": "KEY", "sealed": text}]
        await asyncio.to_thread(self.lab.apply, scoped_secret(self.namespace, "aws", env=entries, **spec))

    async def annotate(self, name: str, text: str) -> None:
        command = ("annotate", "ssec", "aws", "-n", self.namespace, f"{name}={text}")
        await asyncio.to_thread(self.lab.plane.kubectl, *command)

    async def reconcile(self) -> Any:
        return await self.reporter.reconcile(self.location)

    def restart(self) -> None:
        """Forget all that is in memory."""
        self.reporter = Reporter(self.cluster, self.clock)

    async def stored(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.lab.get, "scopedsecret", self.namespace, "aws")

    async def conditions(self) -> dict[str, tuple[str, str]]:
        return await asyncio.to_thread(self.lab.status, "scopedsecret", self.namespace, "aws")

    async def event_counts(self) -> Counter[str]:
        """Return the number of events of each reason."""
        listed = await asyncio.to_thread(self.lab.plane.get, "events", "-n", self.namespace)
        return Counter(event["reason"] for event in listed["items"])


@pytest_asyncio.fixture
async def bench(prepared):
    """A definition without any controller around, which would have another clock."""
    prepared.close()
    async with await Cluster.connect(str(prepared.plane.kubeconfig)) as cluster:
        yield Bench(prepared, cluster)


async def test_rotation_becomes_due_by_time_and_is_reported_in_one_event(bench):
    await bench.store(rotation={"intervalDays": 90, "remindDays": 7})
    await bench.reconcile()
    first = await bench.stored()
    (entry,) = first["status"]["entries"]
    assert (await bench.conditions())["RotationDue"] == ("False", "UpToDate")
    assert await bench.event_counts() == {}

    bench.clock[0] += 83 * DAY + DAY
    bench.restart()
    await bench.reconcile()

    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.stored())["status"]["entries"] == [entry]
    assert await bench.event_counts() == {names.Reason.ROTATION_DUE: 1}

    version = (await bench.stored())["metadata"]["resourceVersion"]
    bench.clock[0] += 30 * DAY
    bench.restart()
    assert await bench.reconcile() == Done()
    assert (await bench.stored())["metadata"]["resourceVersion"] == version
    assert await bench.event_counts() == {names.Reason.ROTATION_DUE: 1}


async def test_rotation_stays_due_until_a_different_value_is_stored(bench):
    rotation = {"intervalDays": 90}
    await bench.store(rotation=rotation)
    bench.clock[0] += 100 * DAY
    await bench.reconcile()
    (old,) = (await bench.stored())["status"]["entries"]

    await bench.store(rotation=rotation, description="another text for the same value")
    await bench.reconcile()
    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")
    assert (await bench.stored())["status"]["entries"] == [old]

    await bench.store("two", rotation=rotation)
    await bench.reconcile()
    (new,) = (await bench.stored())["status"]["entries"]
    assert (await bench.conditions())["RotationDue"] == ("False", "UpToDate")
    assert new["fingerprint"] != old["fingerprint"]
    assert datetime.fromisoformat(new["changedTime"]) == bench.clock[0].replace(microsecond=0)


@pytest.mark.parametrize("is_offline", [False, True])
async def test_resealing_for_a_newer_key_keeps_the_age_of_a_value(bench, is_offline):
    await bench.store(is_offline=is_offline, rotation={"intervalDays": 90})
    await bench.reconcile()
    (old,) = (await bench.stored())["status"]["entries"]
    bench.clock[0] += 100 * DAY
    await bench.annotate(names.RESEAL_ANNOTATION, "requested")

    await bench.reporter.reseal(bench.location, KEYS.with_key(PrivateSealingKey.generate(bench.clock[0])))
    await bench.reconcile()

    stored = await bench.stored()
    (new,) = stored["status"]["entries"]
    assert stored["metadata"]["generation"] == 3
    assert new["changedTime"] == old["changedTime"]
    assert (new == old) is not is_offline
    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")


async def test_definition_expires_by_time_is_reported_in_one_event_and_recovers_with_a_later_expire_time(bench):
    moment = bench.clock[0].replace(microsecond=0) + DAY
    await bench.store(expireTime=moment.isoformat())
    await bench.reconcile()
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.conditions())["Expired"] == ("False", "NotExpired")

    bench.clock[0] = moment
    assert bench.reporter.due_in(bench.location) == 0
    await bench.reconcile()
    assert (await bench.conditions())["Ready"] == ("False", "Expired")
    assert (await bench.conditions())["Expired"] == ("True", "Expired")
    bench.restart()
    assert await bench.reconcile() == Done()
    assert await bench.event_counts() == {names.Reason.EXPIRED: 1}

    await bench.store(expireTime=(moment + DAY).isoformat())
    await bench.reconcile()
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.conditions())["Expired"] == ("False", "NotExpired")

    await bench.store()
    await bench.reconcile()
    assert "Expired" not in await bench.conditions()


async def test_status_is_requeued_for_the_moment_at_which_it_changes_by_time(bench):
    moment = bench.clock[0] + timedelta(seconds=90)
    await bench.store(expireTime=moment.isoformat())

    assert await bench.reconcile() == RequeueAfter(90.0)
    await bench.reporter.informer.relist(bench.cluster)
    assert bench.reporter.due_in(bench.location) == 90.0
    bench.clock[0] += timedelta(seconds=89)
    assert bench.reporter.due_in(bench.location) == 1.0
    bench.clock[0] += timedelta(seconds=1)
    assert bench.reporter.due_in(bench.location) == 0.0
    assert await bench.reconcile() == Done()
    assert bench.reporter.due_in(bench.location) is None


async def test_status_is_requeued_after_an_hour_at_most(bench):
    """Clocks are set, and machines sleep."""
    await bench.store(expireTime=(bench.clock[0] + 365 * DAY).isoformat())

    assert await bench.reconcile() == RequeueAfter(3600.0)


def recorded_value(stored: dict[str, Any], value: str, key: FingerprintKey = FINGERPRINT_KEY) -> bool:
    """Tell whether the status has a fingerprint of this value for the stored text, made with this key."""
    (entry,) = stored["spec"]["env"]
    metadata = stored["metadata"]
    found = value_fingerprint(stored, entry_key("env", "KEY"), entry["sealed"])
    if found is None:
        return False
    secret = SecretValue(value.encode())
    return found == fingerprint(key, metadata["namespace"], metadata["name"], "env", "KEY", secret, found.salt)


async def test_a_value_that_was_sealed_offline_gets_a_fingerprint_once(bench):
    await bench.store(is_offline=True)
    await bench.reporter.informer.relist(bench.cluster)
    assert bench.reporter.due_in(bench.location) == 0.0
    await bench.reconcile()
    first = await bench.stored()
    assert recorded_value(first, "one")
    assert not recorded_value(first, "two")

    bench.restart()
    assert await bench.reconcile() == Done()
    assert bench.reporter.due_in(bench.location) is None
    assert (await bench.stored())["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    await bench.store("two", is_offline=True)
    assert not recorded_value(await bench.stored(), "one"), "the fingerprint of another text counts for nothing"
    await bench.reconcile()
    assert recorded_value(await bench.stored(), "two")


async def test_a_value_with_a_fingerprint_in_its_text_gets_no_second_one(bench):
    await bench.store()
    await bench.reconcile()

    (entry,) = (await bench.stored())["status"]["entries"]
    assert "recordedFingerprint" not in entry


async def test_a_recorded_fingerprint_of_a_former_key_is_renewed_when_resealing_is_requested_and_not_before(bench):
    present = FingerprintKey(bytes(range(1, 33)))
    await bench.store(is_offline=True, rotation={"intervalDays": 90})
    await bench.reconcile()
    before = await bench.stored()

    bench.clock[0] += 10 * DAY
    bench.reporter.fingerprint_key = present
    await bench.reconcile()
    assert bench.reporter.due_in(bench.location) != 0.0
    rotated = await bench.stored()
    assert rotated["status"] == before["status"]
    assert rotated["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

    await bench.annotate(names.RESEAL_ANNOTATION, "requested")
    outcome = await bench.reporter.reseal(bench.location)
    assert isinstance(outcome, Requeue)
    assert outcome.result is Result.WAITING
    assert bench.reporter.due_in(bench.location) == 0.0
    # A crash here loses nothing: the request is still there.
    bench.restart()
    bench.reporter.fingerprint_key = present
    await bench.reconcile()
    renewed = await bench.stored()

    assert recorded_value(renewed, "one", present)
    assert renewed["spec"] == before["spec"]
    (old,), (new,) = before["status"]["entries"], renewed["status"]["entries"]
    assert {**new, "recordedFingerprint": None} == {**old, "recordedFingerprint": None}
    assert await bench.reporter.reseal(bench.location) == Done(result=Result.RESEALED)
    await bench.reconcile()
    resealed = await bench.stored()
    assert names.RESEAL_ANNOTATION not in resealed["metadata"].get("annotations", {})
    assert recorded_value(resealed, "one", present)
    assert resealed["status"]["entries"][0]["changedTime"] == old["changedTime"]


async def test_a_value_that_cannot_be_opened_keeps_its_recorded_fingerprint_when_resealing_is_requested(bench):
    await bench.store(is_offline=True)
    await bench.reconcile()
    before = (await bench.stored())["status"]["entries"]
    await bench.annotate(names.RESEAL_ANNOTATION, "requested")

    bench.reporter.fingerprint_key = FingerprintKey(bytes(range(1, 33)))
    outcome = await bench.reporter.reseal(bench.location, KeyRing.generate(datetime(2026, 1, 2, tzinfo=UTC)))

    assert outcome == Done(result=Result.RESEALED)
    assert (await bench.stored())["status"]["entries"] == before


async def test_a_value_that_cannot_be_opened_gets_none_and_is_not_written_again(bench):
    await bench.store(is_offline=True)
    bench.reporter.ring = KeyRing.generate(datetime(2026, 1, 2, tzinfo=UTC))
    await bench.reconcile()
    first = await bench.stored()
    assert "recordedFingerprint" not in first["status"]["entries"][0]

    await bench.reconcile()

    assert (await bench.stored())["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_without_comparing_no_fingerprint_is_recorded_and_a_former_one_is_removed(bench):
    await bench.store(is_offline=True)
    await bench.reconcile()
    assert recorded_value(await bench.stored(), "one")

    bench.reporter = Reporter(bench.cluster, bench.clock, records_fingerprints=False)
    await bench.reconcile()

    assert "recordedFingerprint" not in (await bench.stored())["status"]["entries"][0]
    assert bench.reporter.due_in(bench.location) is None
