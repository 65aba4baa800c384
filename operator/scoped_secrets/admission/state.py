"""The state of the admission process, and whether it is ready to serve."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from scoped_secrets.admission.comparison_limit import ComparisonLimit
from scoped_secrets.admission.credentials import AdmissionCredentials
from scoped_secrets.admission.issuers import IssuersFile
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.clock import utc_now
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.kube.informer import Informer

__all__ = ["STALE_SECONDS", "AdmissionState"]

STALE_SECONDS: Final = 900.0
"""The age in seconds from which the process is not ready; until then an old inventory is better than no answer."""


class AdmissionState:
    """The state of the process, owned by the admission event loop.

    Attributes:
        credentials: Keys and certificate; ``None`` until they are read.
        is_draining: Whether the process is stopping.
        issuers: The trusted issuers.
        is_gating: Whether pods are gated until their bundle exists.
    """

    def __init__(
        self,
        informer: Informer,
        settings: DecisionSettings,
        *,
        credentials: AdmissionCredentials | None = None,
        keep_unchanged: bool = True,
        issuers: IssuersFile | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the informer with the inventory, and the configuration; the credentials may follow later."""
        self._informer = informer
        self._settings = settings
        self._keep_unchanged = keep_unchanged
        self._clock = clock
        self._comparisons = ComparisonLimit()
        self.issuers = issuers or IssuersFile(None)
        self.credentials = credentials
        self.is_draining = False
        self.is_gating = False

    def review_context(self) -> ReviewContext | None:
        """Return the state to decide from, or ``None`` while a part is missing: then no review may be decided."""
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
            settings=self._settings,
            now=self._clock(),
            comparisons=self._comparisons,
            keep_unchanged=self._keep_unchanged,
            gate=self.is_gating,
            issuers=self.issuers.issuers,
        )

    def problems(self) -> Iterator[str]:
        """Yield why the process is not ready, without any name."""
        if self.is_draining:
            yield "the process is stopping"
        if self.credentials is None:
            yield "the certificate and the keys are not read yet"
        if not self._informer.is_complete or not self._informer.cluster_id:
            yield "definitions, policies and namespaces are not read yet"
        elif self._informer.staleness() > STALE_SECONDS:
            yield "the API server has been unreachable for too long"
