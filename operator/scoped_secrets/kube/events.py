"""Events, which people see with `kubectl describe`: names and reasons, never a value.

An event helps a person and must never hinder the work: the same one is not repeated for minutes, there are never many
at once, and one that cannot be written is given up.
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
_REMEMBERED: Final = 10_000
_BURST: Final = 100.0
_PER_SECOND: Final = 5.0
# The newer API of events takes 1024 bytes.
_MESSAGE_BYTES: Final = 1024
_DEFAULT_NAMESPACE: Final = "default"


class EventRecorder:
    """Writes events about pods and definitions.

    Attributes:
        dropped: How many were given up, for want of an answer or because there were too many.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the cluster, seconds of a monotonic clock, and the time of day for the events themselves."""
        self.dropped = 0
        self._cluster = cluster
        self._clock = clock
        self._now = now
        self._told: dict[tuple[str, str, str], float] = {}
        self._allowance = _BURST
        self._counted = clock()

    async def warn(self, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        """Tell of something that a person has to mend.

        Args:
            involved: `apiVersion`, `kind`, `namespace`, `name` and `uid` of the object that it is about.
            reason: The CamelCase word.
            message: One sentence with the remedy.
        """
        await self._record("Warning", involved, reason, message)

    async def normal(self, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        """Tell of something that is as it should be; the arguments are those of `warn`."""
        await self._record("Normal", involved, reason, message)

    async def _record(self, event_type: str, involved: Mapping[str, str], reason: Reason, message: str) -> None:
        key = (involved.get("uid", ""), str(reason), message)
        if self._is_repeated(key):
            return
        if not self._is_allowed():
            self._give_up(involved, reason, "too many events")
            return
        self._told[key] = self._clock()
        body = self._body(event_type, involved, reason, message)
        try:
            await self._cluster.create(paths.events(body["metadata"]["namespace"]), body)
        except ConflictError:
            # It was told before a restart, and people still see it.
            return
        except ClusterError as error:
            # It was not told, so it may be told again.
            self._told.pop(key, None)
            self._give_up(involved, reason, str(error))

    def _is_repeated(self, key: tuple[str, str, str]) -> bool:
        """Tell whether the same was told lately, and forget what was told long ago."""
        now = self._clock()
        if len(self._told) >= _REMEMBERED:
            recent = [(each, told) for each, told in self._told.items() if now - told < _REPEAT_SECONDS]
            # Insertion order is the order of time: the older half goes when all are recent.
            self._told = dict(recent[-_REMEMBERED // 2 :])
        told = self._told.get(key)
        return told is not None and now - told < _REPEAT_SECONDS

    def _is_allowed(self) -> bool:
        """Take one event from the allowance, which grows with time; tell whether there was one."""
        now = self._clock()
        self._allowance = min(_BURST, self._allowance + (now - self._counted) * _PER_SECOND)
        self._counted = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _give_up(self, involved: Mapping[str, str], reason: Reason, why: str) -> None:
        self.dropped += 1
        where = f"{involved.get('namespace', '')}/{involved.get('name', '')}"
        _logger.info("an event is not written", extra=context(object=where, reason=reason, error=why))

    def _body(self, event_type: str, involved: Mapping[str, str], reason: Reason, message: str) -> Body:
        namespace = involved.get("namespace") or _DEFAULT_NAMESPACE
        moment = rfc3339(self._now())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": _event_name(involved, reason, message)},
            "involvedObject": dict(involved),
            "type": event_type,
            "reason": str(reason),
            "message": message.encode()[:_MESSAGE_BYTES].decode(errors="ignore"),
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "source": {"component": names.EVENT_REPORTER},
            "reportingComponent": names.EVENT_REPORTER,
        }


def _event_name(involved: Mapping[str, str], reason: Reason, message: str) -> str:
    """Return the same name for the same event: a restarted process repeats nothing, as long as the event is kept."""
    told = "\0".join((involved.get("uid", ""), str(reason), message))
    return f"{involved['name'][:200]}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"
