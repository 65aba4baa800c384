"""Keeps the operator's keys equal to its Secrets: the leader creates keys, every process loads them.

A process reads the Secrets every few seconds. It knows a key of another controller before it needs it, reports a
deleted key soon, and unseals values with a restored key without a restart.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from scoped_secrets.clock import utc_now
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, load_keys, read_keys
from scoped_secrets.logs import context

__all__ = ["KEY_CHECK_SECONDS", "KeyRefresher"]

logger = logging.getLogger(__name__)

KEY_CHECK_SECONDS: Final = 5.0
"""How often a process reads the Secrets of the keys: a small list, because few Secrets have the label."""


class KeyRefresher:
    """The present keys, and the event that signals a change.

    Attributes:
        keys: The present keys.
        changed: Set at every change, and cleared by the task that hands the keys to the admission process.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        keys: Keys,
        *,
        rotation: timedelta | None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Begin with loaded keys.

        Args:
            cluster: The client.
            namespace: The operator's own namespace.
            keys: The loaded keys.
            rotation: The age at which a sealing key gets a successor; ``None`` for never.
            now: The time, with its zone.
        """
        self.keys = keys
        self.changed = asyncio.Event()
        self._cluster = cluster
        self._namespace = namespace
        self._rotation = rotation
        self._now = now
        self._refreshing = asyncio.Lock()

    async def refresh(self, *, leads: bool) -> Keys | None:
        """Load the stored keys, and return the former ones if there was a change.

        Args:
            leads: Whether this process may create keys: the first one, and the successor of one that is due.

        Raises:
            KeyMaterialError: A key is damaged; the loaded keys stay.
            ClusterError: A Secret can be neither read nor created; the loaded keys stay.
        """
        async with self._refreshing:
            if leads:
                stored = await load_keys(self._cluster, self._namespace, self._now, rotation=self._rotation)
            else:
                # If there is none, the leader is about to create one.
                stored = await read_keys(self._cluster, self._namespace) or self.keys
            before = self.keys
            if stored.is_same_as(before):
                return None
            self.keys = stored
            self.changed.set()
        logger.info(
            "the keys have changed", extra=context(key_id=stored.ring.active.key_id, keys=len(stored.ring.keys))
        )
        return before

    async def try_refresh(self, *, leads: bool) -> Keys | None:
        """Refresh as `refresh` does; log an error, which the next call may resolve."""
        try:
            return await self.refresh(leads=leads)
        except (ClusterError, KeyMaterialError) as error:
            logger.warning("the keys cannot be refreshed", extra=context(error=str(error)))
            return None
