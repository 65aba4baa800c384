"""Reads stored pods for the webhooks that decide about one (DESIGN section 9)."""

import asyncio
import logging
import re
from typing import Final

from scoped_secrets.errors import ClusterError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.logs import context

__all__ = ["ABSENT", "StoredPods"]

ABSENT: Final[Body] = {}
"""A pod that does not exist."""

_logger = logging.getLogger(__name__)

_SECONDS: Final = 2.0
"""The time for one reading, its wait included: much less than the five seconds of the webhook's timeout."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_POD_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

# Less than the client's connections: every client that reaches the port can send reviews, and must not stop lists.
_AT_ONCE: Final = 8


class StoredPods:
    """Reads pods at the time of the request; a copy of them would be older than the pod's last change."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a client of this event loop."""
        self._cluster = cluster
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, namespace: str, name: str) -> Body | None:
        """Return the pod, `ABSENT` if the API server has none of this name, ``None`` if it cannot be read in time."""
        # A review that the API server did not send may have any text as a name.
        if _LABEL.fullmatch(namespace) is None or _POD_NAME.fullmatch(name) is None:
            return None
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                pod = await self._cluster.get(paths.pods(namespace, name), seconds=_SECONDS)
        except (ClusterError, TimeoutError) as error:
            _logger.warning("pod not read", extra=context(error=str(error) or "too many pods are read at once"))
            return None
        return ABSENT if pod is None else pod
