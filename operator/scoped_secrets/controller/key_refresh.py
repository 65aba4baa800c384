"""Keeps the operator's keys as its Secrets have them: the leader makes new ones, everybody takes over what is there.

The Secrets are read again every few seconds. So a key that another controller made is known before it is needed, one
that was deleted is missed soon, and one that was restored opens values again without a restart.
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
"""How often the Secrets of the keys are read: a small list, and few Secrets have the label."""


class KeyRefresher:
    """The present keys, and who has to hear of a change.

    Attributes:
        keys: The present keys.
        changed: Set at every change, for the one that hands them to the admission process; it clears the event.
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
        """Begin with keys that were loaded.

        Args:
            cluster: The client.
            namespace: The operator's own namespace.
            keys: What was loaded.
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
        """Take over the stored keys, and return those before them when there was a change.

        Args:
            leads: Whether keys may be made: the first one, and one whose time has come.

        Raises:
            KeyMaterialError: A key is damaged; those that were loaded stay.
            ClusterError: A Secret can be neither read nor created; those that were loaded stay.
        """
        async with self._refreshing:
            if leads:
                stored = await load_keys(self._cluster, self._namespace, self._now, rotation=self._rotation)
            else:
                # Without any, the leader is about to make one.
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
        """Refresh as `refresh` does; what goes wrong is logged, and tried again by the next call."""
        try:
            return await self.refresh(leads=leads)
        except (ClusterError, KeyMaterialError) as error:
            logger.warning("the keys cannot be read again", extra=context(error=str(error)))
            return None
