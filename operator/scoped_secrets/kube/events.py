"""Records events, which `kubectl describe` shows: names and reasons, never a value.

Events must not slow down the work: the same event is not repeated for some minutes, their rate is limited, and an event
that cannot be written is dropped.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from scoped_secrets import names
from scoped_secrets.clock import utc_now
from scoped_secrets.errors import ClusterError, ConflictError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.logs import context
from scoped_secrets.names import Reason
from scoped_secrets.timestamps import rfc3339

__all__ = ["EventRecorder"]

_logger = logging.getLogger(__name__)

_REPEAT_SECONDS: Final = 600.0
_MAX_REMEMBERED: Final = 10_000
_BURST: Final = 100.0
_PER_SECOND: Final = 5.0
# The limit of the API events.k8s.io/v1.
_MESSAGE_BYTES: Final = 1024
_DEFAULT_NAMESPACE: Final = "default"


class EventRecorder:
    """Writes events about pods and definitions.

    Attributes:
        dropped: How many events were dropped, because of a failed request or of the rate limit.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the client, seconds of a monotonic clock, and the wall-clock time for the events' timestamps."""
        self.dropped = 0
        self._cluster = cluster
        self._clock = clock
        self._now = now
        self._recorded_at: dict[tuple[str, str, str], float] = {}
        self._tokens = _BURST
        self._refilled_at = clock()

    async def warn(self, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        """Record a problem that a person has to resolve.

        Args:
            involved: `apiVersion`, `kind`, `namespace`, `name` and `uid` of the involved object.
            reason: The CamelCase reason.
            message: One sentence with the remedy.
        """
        await self._record("Warning", involved, reason, message)

    async def advise(self, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        """Record what a person should know although nothing failed; the arguments are those of `warn`.

        Such events are dropped first: they leave half of the burst to problems.
        """
        await self._record("Warning", involved, reason, message, reserve=_BURST / 2)

    async def normal(self, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        """Record a normal event; the arguments are those of `warn`."""
        await self._record("Normal", involved, reason, message)

    async def _record(
        self, event_type: str, involved: Mapping[str, str], reason: Reason, message: str, *, reserve: float = 0.0
    ) -> None:
        key = (involved.get("uid", ""), str(reason), message)
        if self._is_repeated(key):
            return
        if not self._is_allowed(reserve):
            self._drop(involved, reason, "too many events")
            return
        self._recorded_at[key] = self._clock()
        body = self._body(event_type, involved, reason, message)
        try:
            await self._cluster.create(paths.events(body["metadata"]["namespace"]), body)
        except ConflictError:
            # The event was recorded before a restart, and still exists.
            return
        except ClusterError as error:
            # The event does not exist, so that it may be recorded again.
            self._recorded_at.pop(key, None)
            self._drop(involved, reason, str(error))

    def _is_repeated(self, key: tuple[str, str, str]) -> bool:
        """Tell whether the same event was recorded recently; forget the events that were recorded long ago."""
        now = self._clock()
        if len(self._recorded_at) >= _MAX_REMEMBERED:
            recent = [(each, at) for each, at in self._recorded_at.items() if now - at < _REPEAT_SECONDS]
            # Insertion order is the order of time: when all are recent, the older half is forgotten.
            self._recorded_at = dict(recent[-_MAX_REMEMBERED // 2 :])
        recorded_at = self._recorded_at.get(key)
        return recorded_at is not None and now - recorded_at < _REPEAT_SECONDS

    def _is_allowed(self, reserve: float) -> bool:
        """Take a token from the bucket, which refills with time, unless it would leave less than the reserve."""
        now = self._clock()
        self._tokens = min(_BURST, self._tokens + (now - self._refilled_at) * _PER_SECOND)
        self._refilled_at = now
        if self._tokens < 1.0 + reserve:
            return False
        self._tokens -= 1.0
        return True

    def _drop(self, involved: Mapping[str, str], reason: Reason, why: str) -> None:
        self.dropped += 1
        where = f"{involved.get('namespace', '')}/{involved.get('name', '')}"
        _logger.info("an event is dropped", extra=context(object=where, reason=reason, error=why))

    def _body(self, event_type: str, involved: Mapping[str, str], reason: Reason, message: str) -> Body:
        namespace = involved.get("namespace") or _DEFAULT_NAMESPACE
        now = rfc3339(self._now())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": _event_name(involved, reason, message)},
            "involvedObject": dict(involved),
            "type": event_type,
            "reason": str(reason),
            "message": message.encode()[:_MESSAGE_BYTES].decode(errors="ignore"),
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": names.EVENT_REPORTER},
            "reportingComponent": names.EVENT_REPORTER,
        }


def _event_name(involved: Mapping[str, str], reason: Reason, message: str) -> str:
    """Return the same name for the same event, so that a restarted process does not repeat it while it exists."""
    content = "\0".join((involved.get("uid", ""), str(reason), message))
    return f"{involved['name'][:200]}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
