"""Metrics and log lines of the admission process."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from scoped_secrets import metrics as gauges
from scoped_secrets.admission.review import Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.state import AdmissionState
from scoped_secrets.admission.webhooks import WEBHOOKS, webhook_name
from scoped_secrets.crypto.certificates import certificate_end
from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.resources import Kind
from scoped_secrets.logs import context
from scoped_secrets.metrics import AdmissionMetrics

__all__ = ["ReviewRecorder"]

_logger = logging.getLogger(__name__)

_NAMES: Final = {path: webhook_name(path) for path in WEBHOOKS}

_NAME_CHARACTERS: Final = 253
"""The longest name of an object. A client may send a longer one, which a log line should not hold."""


class ReviewRecorder:
    """Counts and logs reviews and answers."""

    def __init__(
        self,
        state: AdmissionState,
        informer: Informer,
        certificate: Callable[[], bytes | None],
        *,
        gates: bool = False,
    ) -> None:
        """Connect the gauges to the process.

        Args:
            state: Reports whether the process is ready, and holds the keys.
            informer: Holds the inventory.
            certificate: Returns the certificate that is served, as PEM; ``None`` before the first one.
            gates: Whether pods are to be gated.
        """
        self.metrics = AdmissionMetrics(_NAMES.values())

        def certificate_expiry() -> float | None:
            served = certificate()
            end = None if served is None else certificate_end(served)
            return None if end is None else end.timestamp()

        def keys() -> float | None:
            return None if state.credentials is None else len(state.credentials.recipients.keys)

        def key_created() -> float | None:
            return None if state.credentials is None else state.credentials.recipients.active.created.timestamp()

        read = self.metrics.read_one
        read(gauges.READY, lambda: float(not any(state.problems())))
        read(gauges.ISSUERS_VALID, lambda: float(state.issuers.is_valid))
        read(gauges.GATING, lambda: float(state.is_gating) if gates else None)
        read(gauges.INVENTORY_STALENESS, informer.staleness)
        read(gauges.CERTIFICATE_EXPIRY, certificate_expiry)
        read(gauges.KEYS, keys)
        read(gauges.KEY_CREATED, key_created)
        self.metrics.read(
            gauges.INVENTORY_OBJECTS, lambda: [((kind.value,), float(informer.count(kind))) for kind in Kind]
        )

    def decided(self, path: str, review: Review, outcome: Outcome) -> None:
        """Count a decision, and log it: a denial at level info, others at level debug."""
        webhook = _NAMES[path]
        match outcome:
            case ReviewDenied(reason, _):
                result, denial = "denied", {"reason": reason.value}
            case ReviewAllowed(operations, _):
                result, denial = ("patched" if operations else "allowed"), {}
        self.metrics.count_review(webhook, result, denial.get("reason", ""))
        level = logging.INFO if denial else logging.DEBUG
        if _logger.isEnabledFor(level):
            fields = {"webhook": webhook, **_subject(review), "result": result, **denial}
            _logger.log(level, "review decided", extra=context(**fields))

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Record an answer: its time for a review, its status for anything else."""
        if status == HTTPStatus.OK:
            self.metrics.time_review(_NAMES[path], seconds)
        else:
            self.metrics.count_refused(status)


def _subject(review: Review) -> Mapping[str, object]:
    """Return kind and name of the object of a review, shortened to the longest valid name."""
    name = review.name
    if not name:
        metadata: Any = (review.object or {}).get("metadata")
        generated = metadata.get("generateName") if isinstance(metadata, Mapping) else None
        name = f"{generated}*" if isinstance(generated, str) else "*"
    fields: dict[str, object] = {"kind": review.kind, "object": f"{review.namespace}/{name}"}
    if review.dry_run:
        fields["dry_run"] = True
    return {field: value[:_NAME_CHARACTERS] if isinstance(value, str) else value for field, value in fields.items()}
