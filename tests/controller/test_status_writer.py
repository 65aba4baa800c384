"""What time does to statuses, with a clock of the test's and a real API server."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.controller.lab import scoped_secret
from tests.support.builders import entry_key

from scoped_secrets import names
from scoped_secrets.controller.resealing import Resealer
from scoped_secrets.controller.status_writer import StatusWriter, Subject
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import After, Done
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer, Kind

pytestmark = pytest.mark.integration

DAY = timedelta(days=1)
KEYS = KeyRing.generate(datetime(2026, 1, 1, tzinfo=UTC))
FINGERPRINT_KEY = FingerprintKey(bytes(range(32)))


class Reporter:
    """The part of a controller that writes statuses, as it is after a start."""

    def __init__(self, cluster: Cluster, clock: list[datetime]) -> None:
        self.cluster = cluster
        self.informer = Informer(Inventory(), default_organization="default", keep_sealed=True, keep_status=True)
        self.reports = StatusWriter(
            cluster=cluster,
            informer=self.informer,
            unsealer=lambda: Unsealer(KEYS, self.informer.cluster_id),
            recorder=EventRecorder(cluster, now=lambda: clock[0]),
            now=lambda: clock[0],
        )

    async def look(self, location: str) -> Any:
        """List everything, and do what is to be done about one definition."""
        await self.informer.relist(self.cluster)
        return await self.reports.work(Subject(Kind.SCOPED_SECRET, location))

    async def reseal(self, location: str, keys: KeyRing) -> None:
        """Fulfil a request to seal a definition anew."""
        await self.informer.relist(self.cluster)
        reseals = Resealer(
            cluster=self.cluster,
            informer=self.informer,
            unsealer=lambda: Unsealer(keys, self.informer.cluster_id),
            fingerprint_key=lambda: FINGERPRINT_KEY,
            recorder=EventRecorder(self.cluster),
            on_moved=self.reports.keep_age,
        )
        await reseals.work(location)

    def pending(self, location: str) -> float | None:
        return self.reports.pending(Subject(Kind.SCOPED_SECRET, location))


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
        slot = informer.inventory.get(self.location).slot
        context = sealing_context(informer.cluster_id, self.namespace, "aws", slot, entry_key("env", "KEY"))
        secret = SecretValue(value.encode())
        mark = None if is_offline else fingerprint(FINGERPRINT_KEY, self.namespace, "aws", "env", "KEY", secret)
        text = seal(secret, context, KEYS.active.public_key, mark)
        entries = [{"name": "KEY", "sealed": text}]
        await asyncio.to_thread(self.lab.apply, scoped_secret(self.namespace, "aws", env=entries, **spec))

    async def annotate(self, name: str, text: str) -> None:
        command = ("annotate", "ssec", "aws", "-n", self.namespace, f"{name}={text}")
        await asyncio.to_thread(self.lab.plane.kubectl, *command)

    async def look(self) -> Any:
        return await self.reporter.look(self.location)

    def restart(self) -> None:
        """Forget all that is in memory."""
        self.reporter = Reporter(self.cluster, self.clock)

    async def stored(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.lab.get, "scopedsecret", self.namespace, "aws")

    async def conditions(self) -> dict[str, tuple[str, str]]:
        return await asyncio.to_thread(self.lab.status, "scopedsecret", self.namespace, "aws")

    async def told(self) -> Counter[str]:
        """Return how many events there are of each reason."""
        listed = await asyncio.to_thread(self.lab.plane.get, "events", "-n", self.namespace)
        return Counter(event["reason"] for event in listed["items"])


@pytest_asyncio.fixture
async def bench(prepared):
    """A definition without any controller around, which would have another clock."""
    prepared.close()
    async with await Cluster.connect(str(prepared.plane.kubeconfig)) as cluster:
        yield Bench(prepared, cluster)


async def test_a_value_is_due_when_its_time_has_come_and_somebody_is_told_once(bench):
    await bench.store(rotation={"intervalDays": 90, "remindDays": 7})
    await bench.look()
    first = await bench.stored()
    (entry,) = first["status"]["entries"]
    assert (await bench.conditions())["RotationDue"] == ("False", "UpToDate")
    assert await bench.told() == {}

    bench.clock[0] += 83 * DAY + DAY
    bench.restart()
    await bench.look()

    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.stored())["status"]["entries"] == [entry]
    assert await bench.told() == {names.Reason.ROTATION_DUE: 1}

    version = (await bench.stored())["metadata"]["resourceVersion"]
    bench.clock[0] += 30 * DAY
    bench.restart()
    assert await bench.look() == Done()
    assert (await bench.stored())["metadata"]["resourceVersion"] == version
    assert await bench.told() == {names.Reason.ROTATION_DUE: 1}


async def test_a_new_value_ends_the_reminder_and_the_same_one_does_not(bench):
    rotation = {"intervalDays": 90}
    await bench.store(rotation=rotation)
    bench.clock[0] += 100 * DAY
    await bench.look()
    (old,) = (await bench.stored())["status"]["entries"]

    await bench.store(rotation=rotation, description="another text for the same value")
    await bench.look()
    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")
    assert (await bench.stored())["status"]["entries"] == [old]

    await bench.store("two", rotation=rotation)
    await bench.look()
    (new,) = (await bench.stored())["status"]["entries"]
    assert (await bench.conditions())["RotationDue"] == ("False", "UpToDate")
    assert new["fingerprint"] != old["fingerprint"]
    assert datetime.fromisoformat(new["changedTime"]) == bench.clock[0].replace(microsecond=0)


@pytest.mark.parametrize("is_offline", [False, True])
async def test_a_value_that_is_sealed_anew_for_a_newer_key_is_no_younger(bench, is_offline):
    await bench.store(is_offline=is_offline, rotation={"intervalDays": 90})
    await bench.look()
    (old,) = (await bench.stored())["status"]["entries"]
    bench.clock[0] += 100 * DAY
    await bench.annotate(names.RESEAL_ANNOTATION, "somebody asks")

    await bench.reporter.reseal(bench.location, KEYS.with_key(PrivateSealingKey.generate(bench.clock[0])))
    await bench.look()

    stored = await bench.stored()
    (new,) = stored["status"]["entries"]
    assert stored["metadata"]["generation"] == 3
    assert new["changedTime"] == old["changedTime"]
    assert (new == old) is not is_offline
    assert (await bench.conditions())["RotationDue"] == ("True", "RotationDue")


async def test_an_expiry_comes_by_itself_is_told_once_and_goes_with_a_later_time(bench):
    moment = bench.clock[0].replace(microsecond=0) + DAY
    await bench.store(expireTime=moment.isoformat())
    await bench.look()
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.conditions())["Expired"] == ("False", "NotExpired")

    bench.clock[0] = moment
    assert bench.reporter.pending(bench.location) == 0
    await bench.look()
    assert (await bench.conditions())["Ready"] == ("False", "Expired")
    assert (await bench.conditions())["Expired"] == ("True", "Expired")
    bench.restart()
    assert await bench.look() == Done()
    assert await bench.told() == {names.Reason.EXPIRED: 1}

    await bench.store(expireTime=(moment + DAY).isoformat())
    await bench.look()
    assert (await bench.conditions())["Ready"] == ("True", "Available")
    assert (await bench.conditions())["Expired"] == ("False", "NotExpired")

    await bench.store()
    await bench.look()
    assert "Expired" not in await bench.conditions()


async def test_nobody_looks_before_a_status_changes_by_itself(bench):
    moment = bench.clock[0] + timedelta(seconds=90)
    await bench.store(expireTime=moment.isoformat())

    assert await bench.look() == After(90.0)
    await bench.reporter.informer.relist(bench.cluster)
    assert bench.reporter.pending(bench.location) == 90.0
    bench.clock[0] += timedelta(seconds=89)
    assert bench.reporter.pending(bench.location) == 1.0
    bench.clock[0] += timedelta(seconds=1)
    assert bench.reporter.pending(bench.location) == 0.0
    assert await bench.look() == Done()
    assert bench.reporter.pending(bench.location) is None


async def test_a_timer_is_never_trusted_for_long(bench):
    """Clocks are set, and machines sleep."""
    await bench.store(expireTime=(bench.clock[0] + 365 * DAY).isoformat())

    assert await bench.look() == After(3600.0)
