"""Leadership by a Lease: one controller writes, others stand by.

The election that the client library ships was read and is not used. It measures leases by the wall clock, so that a
step of the clock makes two leaders or none; its times are local ones marked as UTC; an answer that does not come ends
it with an exception instead of counting as a failed renewal; it never gives the Lease back; it runs once; and it logs
whole responses.

As in Kubernetes' own components, no clocks are compared: a candidate waits until it has seen the same record for the
whole duration by its own monotonic clock, and the leader gives up at the renewal deadline, which is shorter.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from scoped_secrets import names
from scoped_secrets.config import LeaseSettings
from scoped_secrets.errors import ClusterError, ConflictError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.logs import context

__all__ = ["LeaderElection"]

_logger = logging.getLogger(__name__)

_MANAGED_BY: Final = {names.MANAGED_BY_LABEL: names.DISTRIBUTION}


class LeaderElection:
    """One candidate for one Lease.

    Attributes:
        identity: What this candidate calls itself: the host's name and a random part.
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
        """Prepare a candidate.

        Args:
            cluster: The client.
            namespace: Where the Lease is.
            name: Name of the Lease.
            settings: Its times.
            identity: What to call itself, unique among candidates.
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
        self._seen_version = ""
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._holder_is_another = False

    async def run(
        self,
        on_started: Callable[[], Coroutine[None, None, None]],
        on_stopped: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Stand by, lead, and stand by again, until cancelled; then give the Lease back.

        Args:
            on_started: Called when leadership begins; cancelled when that ends before it has returned.
            on_stopped: Called when leadership has ended, by loss or by cancellation. When it returns, nothing that only
                a leader may do is done any more. It has the time from the renewal deadline to the lease's end.
        """
        try:
            while True:
                while not await self._try(self._settings.renew_deadline):  # noqa: ASYNC110 - a Lease tells nobody.
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
        """Renew the Lease until it is lost; a start that takes long must not cost it."""
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
            if seconds <= 0 or (not await self._try(seconds) and self._holder_is_another):
                return

    def _seconds_left(self) -> float:
        """Return the time in which leadership must be renewed."""
        return self._settings.renew_deadline - (self._clock() - self._renewed_at)

    async def _try(self, seconds: float) -> bool:
        """Take or renew the Lease within so many seconds; return whether it is ours now."""
        began = self._clock()
        try:
            async with asyncio.timeout(seconds):
                succeeded = await self._take_or_renew(began)
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

    async def _take_or_renew(self, now: float) -> bool:
        self._holder_is_another = False
        lease = await self._cluster.get(self._path)
        if lease is None:
            await self._cluster.create(self._collection, self._record({}, {"leaseTransitions": 0}))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = str(lease["metadata"].get("resourceVersion", ""))
        if holder not in ("", self.identity):
            if version != self._seen_version:
                self._seen_version, self._seen_at = version, now
            # What the holder promised counts, not what we would have promised.
            duration = float(spec.get("leaseDurationSeconds") or self._settings.duration)
            if now - self._seen_at < duration:
                self._holder_is_another = True
                return False
        await self._cluster.replace(self._path, self._record(lease, spec))
        return True

    async def _release(self) -> None:
        """Give the Lease back when it is ours, so that the next candidate need not wait for its end."""
        if not self._renewed_at:
            return
        # Nobody waits for us any more, and a lease that is not given back ends by itself.
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(self._settings.retry_period):
                lease = await self._cluster.get(self._path)
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _timestamp()}
                    await self._cluster.replace(self._path, lease)

    def _record(self, lease: Body, spec: Body) -> Body:
        """Return the Lease as ours; the version that was read guards it against another candidate."""
        moment = _timestamp()
        is_renewal = spec.get("holderIdentity") == self.identity
        record = dict(spec) | {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._settings.duration),
            "renewTime": moment,
        }
        if not is_renewal:
            record["acquireTime"] = moment
            record["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if lease else 0)
        metadata = lease.get("metadata") or {"name": self._name, "labels": _MANAGED_BY}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": record}


def _timestamp() -> str:
    """Return the time of day as a MicroTime; people read it, candidates do not."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
