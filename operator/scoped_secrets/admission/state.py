"""What the process knows at the moment, and whether that is enough to serve."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from scoped_secrets.admission.knowledge import Knowledge
from scoped_secrets.admission.material import AdmissionMaterial
from scoped_secrets.core.decide import Rules
from scoped_secrets.kube.feed import Feed

__all__ = ["STALE_SECONDS", "State"]

STALE_SECONDS: Final = 900.0
"""Without any proof of freshness for so long, another replica should answer; until then an old answer beats none."""


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class State:
    """The state of the process, owned by the admission loop.

    Attributes:
        material: Keys and certificate; ``None`` until they were read.
        is_draining: Whether the process is about to end.
    """

    def __init__(
        self,
        feed: Feed,
        rules: Rules,
        *,
        material: AdmissionMaterial | None = None,
        keep_unchanged: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the feed, whose inventory is decided from, and the configuration's rules; material may come later."""
        self._feed = feed
        self._rules = rules
        self._keep_unchanged = keep_unchanged
        self._clock = clock
        self.material = material
        self.is_draining = False

    def knowledge(self) -> Knowledge | None:
        """Return what to decide from now; ``None`` while something is missing, and then nothing may be decided."""
        material, feed = self.material, self._feed
        if material is None or not feed.is_complete or not feed.cluster_id:
            return None
        return Knowledge(
            inventory=feed.inventory,
            fingerprint_key=material.fingerprint_key,
            recipients=material.recipients,
            cluster_id=material.cluster_id or feed.cluster_id,
            former_fingerprint_keys=material.former_fingerprint_keys,
            may_read_sources=material.may_read_sources,
            rules=self._rules,
            now=self._clock(),
            keep_unchanged=self._keep_unchanged,
        )

    def problems(self) -> Iterator[str]:
        """Yield why the process should get no reviews now, in words without any name."""
        if self.is_draining:
            yield "the process is ending"
        if self.material is None:
            yield "certificate and keys have not been read"
        if not self._feed.is_complete or not self._feed.cluster_id:
            yield "definitions, policies and namespaces have not been read"
        elif self._feed.staleness() > STALE_SECONDS:
            yield "the API server has been out of reach for too long"
