"""Leader election by a Lease: one controller writes, the others stand by.

The election of the client library is not used. It measures leases by the wall clock, so that a step of the clock makes
two leaders or none; its times are local times marked as UTC; a request without a response ends it with an exception
instead of counting as a failed renewal; it never releases the Lease; it runs once; and it logs whole responses.

As in client-go, no clocks are compared: a standby acquires the Lease after it has seen the same record for the whole
lease duration by its own monotonic clock, and the leader steps down at the renewal deadline, which is shorter.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final

from scoped_secrets import names
from scoped_secrets.clock import utc_now
from scoped_secrets.config import LeaseSettings
from scoped_secrets.errors import ClusterError, ConflictError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.logs import context
from scoped_secrets.timestamps import rfc3339

__all__ = ["LeaderElection"]

_logger = logging.getLogger(__name__)

_LABELS: Final = {names.MANAGED_BY_LABEL: names.DISTRIBUTION}


class LeaderElection:
    """One participant in the election of a Lease's holder.

    Attributes:
        identity: The name of this participant: the host's name and a random part.
        is_leader: Whether it holds the Lease, as far as it knows.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str = names.LEASE_NAME,
        settings: LeaseSettings | None = None,
        *,
        identity: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a participant.

        Args:
            cluster: The client.
            namespace: The namespace of the Lease.
            name: The name of the Lease.
            settings: Its times.
            identity: The name of this participant, unique among all.
            clock: Seconds of a monotonic clock.
        """
        self.identity = identity or f"{socket.gethostname()}_{secrets.token_hex(5)}"
        self.is_leader = False
        self._cluster = cluster
        self._collection = paths.leases(namespace)
        self._path = paths.leases(namespace, name)
        self._name = name
        self._settings = settings or LeaseSettings()
        self._clock = clock
        self._observed_version = ""
        self._observed_at = 0.0
        self._renewed_at = 0.0
        self._is_held_by_another = False

    async def run(
        self,
        on_started: Callable[[], Coroutine[None, None, None]],
        on_stopped: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Stand by, lead, and stand by again, until cancelled; then release the Lease.

        Args:
            on_started: Called when leadership begins; cancelled when leadership ends before it has returned.
            on_stopped: Called when leadership has ended, by loss or by cancellation. When it returns, all work that
                only a leader may do has stopped. It has the time from the renewal deadline to the lease's end.
        """
        try:
            while True:
                while not await self._try(self._settings.renew_deadline):  # noqa: ASYNC110 - a Lease has no event.
                    await asyncio.sleep(self._settings.retry_period)
                self.is_leader = True
                _logger.info("leadership begins", extra=context(identity=self.identity))
                try:
                    await self._lead(on_started)
                finally:
                    self.is_leader = False
                    _logger.info("leadership ends", extra=context(identity=self.identity))
                    await on_stopped()
        finally:
            await self._release()

    async def _lead(self, on_started: Callable[[], Coroutine[None, None, None]]) -> None:
        """Renew the Lease until it is lost, also while `on_started` still runs."""
        starting = asyncio.create_task(on_started(), name="start of leadership")
        renewing = asyncio.create_task(self._renew_until_lost(), name="renewal of the lease")
        try:
            await asyncio.wait((starting, renewing), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await renewing
        finally:
            starting.cancel()
            renewing.cancel()
            await asyncio.gather(starting, renewing, return_exceptions=True)

    async def _renew_until_lost(self) -> None:
        while True:
            await asyncio.sleep(min(self._settings.retry_period, max(self._seconds_left(), 0.0)))
            seconds = self._seconds_left()
            if seconds <= 0 or (not await self._try(seconds) and self._is_held_by_another):
                return

    def _seconds_left(self) -> float:
        """Return the time in which the Lease must be renewed."""
        return self._settings.renew_deadline - (self._clock() - self._renewed_at)

    async def _try(self, seconds: float) -> bool:
        """Acquire or renew the Lease within so many seconds; return whether this participant holds it now."""
        began = self._clock()
        try:
            async with asyncio.timeout(seconds):
                succeeded = await self._acquire_or_renew(began)
        except ConflictError:
            return False
        except (ClusterError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            _logger.warning("the lease cannot be read or renewed", extra=context(error=reason))
            return False
        if succeeded:
            # From before the request: the server's time of renewal is not earlier.
            self._renewed_at = began
        return succeeded

    async def _acquire_or_renew(self, now: float) -> bool:
        self._is_held_by_another = False
        lease = await self._cluster.get(self._path)
        if lease is None:
            await self._cluster.create(self._collection, self._record({}, {"leaseTransitions": 0}))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = str(lease["metadata"].get("resourceVersion", ""))
        if holder not in ("", self.identity):
            if version != self._observed_version:
                self._observed_version, self._observed_at = version, now
            # The holder's lease duration applies, not that of our own settings.
            duration = float(spec.get("leaseDurationSeconds") or self._settings.duration)
            if now - self._observed_at < duration:
                self._is_held_by_another = True
                return False
        await self._cluster.replace(self._path, self._record(lease, spec))
        return True

    async def _release(self) -> None:
        """Release the Lease if this participant holds it, so that a standby does not wait for its end."""
        if not self._renewed_at:
            return
        # The process is about to end, and a lease that is not released ends by itself.
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(self._settings.retry_period):
                lease = await self._cluster.get(self._path)
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
                    await self._cluster.replace(self._path, lease)

    def _record(self, lease: Body, spec: Body) -> Body:
        """Return the Lease with this participant as holder; the write fails if the Lease has changed since the read."""
        now = _micro_time()
        is_renewal = spec.get("holderIdentity") == self.identity
        record = dict(spec) | {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._settings.duration),
            "renewTime": now,
        }
        if not is_renewal:
            record["acquireTime"] = now
            record["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if lease else 0)
        metadata = lease.get("metadata") or {"name": self._name, "labels": _LABELS}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": record}


def _micro_time() -> str:
    """Return the wall-clock time as Kubernetes' MicroTime; for people, the election does not read it."""
    return rfc3339(utc_now(), timespec="microseconds")
