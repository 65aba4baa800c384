"""The state of the admission process, and whether it is ready to serve."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from scoped_secrets.admission.credentials import AdmissionCredentials
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.clock import utc_now
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.kube.informer import Informer

__all__ = ["STALE_SECONDS", "AdmissionState"]

STALE_SECONDS: Final = 900.0
"""After so long without a list or an event another replica should answer; until then an old inventory is used."""


class AdmissionState:
    """The state of the process, owned by the admission loop.

    Attributes:
        credentials: Keys and certificate; ``None`` until they have been read.
        is_draining: Whether the process is about to end.
    """

    def __init__(
        self,
        informer: Informer,
        rules: DecisionSettings,
        *,
        credentials: AdmissionCredentials | None = None,
        keep_unchanged: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the informer of the inventory and the settings; the credentials may be set later."""
        self._informer = informer
        self._rules = rules
        self._keep_unchanged = keep_unchanged
        self._clock = clock
        self.credentials = credentials
        self.is_draining = False

    def review_context(self) -> ReviewContext | None:
        """Return the present context of reviews; ``None`` while something is missing: nothing may be decided then."""
        credentials, informer = self.credentials, self._informer
        if credentials is None or not informer.is_complete or not informer.cluster_id:
            return None
        return ReviewContext(
            inventory=informer.inventory,
            fingerprint_key=credentials.fingerprint_key,
            recipients=credentials.recipients,
            cluster_id=credentials.cluster_id or informer.cluster_id,
            former_fingerprint_keys=credentials.former_fingerprint_keys,
            may_read_sources=credentials.may_read_sources,
            rules=self._rules,
            now=self._clock(),
            keep_unchanged=self._keep_unchanged,
        )

    def problems(self) -> Iterator[str]:
        """Yield why the process should receive no reviews now, without the name of any object."""
        if self.is_draining:
            yield "the process is ending"
        if self.credentials is None:
            yield "certificate and keys have not been read"
        if not self._informer.is_complete or not self._informer.cluster_id:
            yield "definitions, policies and namespaces have not been read"
        elif self._informer.staleness() > STALE_SECONDS:
            yield "the API server has been out of reach for too long"
