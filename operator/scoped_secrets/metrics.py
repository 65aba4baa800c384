"""The metrics of both processes, in the text format of Prometheus.

Code increments counters and histograms where the event happens. Gauges read the present state (queue, inventory,
leadership, keys) at each scrape. The event loop that owns the state answers the scrape, so no lock is needed and no
scrape sees a partial update.

No label contains the name of an object, a namespace or a user: every label value comes from a fixed list, so the number
of series is bounded and no series reveals the name of a secret.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from platform import python_version
from typing import Final, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from scoped_secrets import __version__
from scoped_secrets.names import Reason

__all__ = [
    "CERTIFICATE_EXPIRY",
    "CONDITIONS",
    "GATING",
    "INVENTORY_OBJECTS",
    "INVENTORY_STALENESS",
    "ISSUERS_VALID",
    "KEYS",
    "KEY_CREATED",
    "KEY_ROTATION",
    "LEADER",
    "QUEUE_DEPTH",
    "QUEUE_OLDEST_AGE",
    "QUEUE_RUNNING",
    "READY",
    "AdmissionMetrics",
    "Component",
    "ControllerMetrics",
    "Gauge",
    "Metrics",
    "Sample",
]

_PREFIX: Final = "scoped_secrets"

_REVIEW_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""In seconds; the API server times out after five."""

_WORK_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""In seconds; a bundle is to be complete within 0.2 (DESIGN section 9)."""

_REFUSALS: Final = (
    Reason.BUNDLE_FAILED,
    Reason.BUNDLE_TAKEN,
    Reason.DEFINITIONS_CHANGED,
    Reason.KEY_LOST,
    Reason.NOT_INJECTED,
    Reason.SOURCE_MISSING,
)
"""Reasons whose series start at 0, because alerts compute their increase."""

# By default the library adds a creation time to each counter, which doubles the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]  # The library has no types there.

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""The values of a gauge's labels, in their order, and the gauge's value."""


class Component(StrEnum):
    """One of the two processes."""

    ADMISSION = "admission"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric whose value is read at each scrape.

    Attributes:
        name: Its name, with the unit at the end.
        help: What it says, for people.
        labels: Names of its labels.
        is_shared: Whether both processes have it; then a label tells of which one it is.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    is_shared: bool = False


_BUILD_INFO: Final = Gauge(
    f"{_PREFIX}_build_info", "Always 1; the labels tell what runs.", ("version", "python_version"), is_shared=True
)
READY: Final = Gauge(f"{_PREFIX}_ready", "Whether the process is ready.", is_shared=True)
INVENTORY_OBJECTS: Final = Gauge(
    f"{_PREFIX}_inventory_objects",
    "Objects in the inventory; of namespaces, those with a scope path.",
    ("kind",),
    is_shared=True,
)
INVENTORY_STALENESS: Final = Gauge(
    f"{_PREFIX}_inventory_staleness_seconds",
    "Time since the last proof that the inventory is up to date; infinite before the first.",
    is_shared=True,
)
KEYS: Final = Gauge(f"{_PREFIX}_sealing_keys", "Sealing keys that the process has loaded.", is_shared=True)
KEY_CREATED: Final = Gauge(
    f"{_PREFIX}_sealing_key_created_timestamp_seconds",
    "Creation time of the active sealing key, in Unix time.",
    is_shared=True,
)
ISSUERS_VALID: Final = Gauge(
    f"{_PREFIX}_admission_trusted_issuers_valid",
    "Whether the file of trusted issuers is in use as it is; 0 while an invalid one leaves the former issuers in use.",
)
GATING: Final = Gauge(
    f"{_PREFIX}_admission_gating",
    "Whether pods are gated until their bundle exists; 0 while the policy that limits the controller is missing. "
    "Left out without --gate.",
)
KEY_ROTATION: Final = Gauge(
    f"{_PREFIX}_sealing_key_rotation_interval_seconds",
    "The age at which the active sealing key gets a successor; 0 for never.",
)
CERTIFICATE_EXPIRY: Final = Gauge(
    f"{_PREFIX}_certificate_expiry_timestamp_seconds", "End of the webhook certificate's validity, in Unix time."
)
LEADER: Final = Gauge(f"{_PREFIX}_leader", "Whether the controller is the leader; 0 for a standby.")
QUEUE_DEPTH: Final = Gauge(f"{_PREFIX}_queue_depth", "Keys that wait in the work queue, due or not.")
QUEUE_RUNNING: Final = Gauge(f"{_PREFIX}_queue_running", "Keys that are being reconciled.")
QUEUE_OLDEST_AGE: Final = Gauge(f"{_PREFIX}_queue_oldest_age_seconds", "Time since the longest-waiting key became due.")
CONDITIONS: Final = Gauge(
    f"{_PREFIX}_conditions",
    "Objects by kind and by a condition's type, status and reason; reported by the leader.",
    ("kind", "type", "status", "reason"),
)


class Metrics(Collector):
    """The metrics of one process, in a registry of its own."""

    def __init__(self, component: Component) -> None:
        """Begin with the metrics of every process: build information, CPU time, memory and open files."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._component = component.value
        self._gauges: dict[Gauge, Callable[[], Iterable[Sample]]] = {}
        self.read(_BUILD_INFO, lambda: [((__version__, python_version()), 1.0)])
        self.registry.register(self)

    def read(self, gauge: Gauge, samples: Callable[[], Iterable[Sample]]) -> None:
        """Read a gauge's samples with this function from now on, once for each scrape."""
        self._gauges[gauge] = samples

    def read_one(self, gauge: Gauge, value: Callable[[], float | None]) -> None:
        """Read a gauge without labels; ``None`` leaves it out, for what is not known yet."""
        self.read(gauge, lambda: [((), number)] if (number := value()) is not None else [])

    def render(self) -> bytes:
        """Return everything as text; called in the event loop that owns what the gauges read."""
        return generate_latest(self.registry)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges without values: registration must not read them."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges with their values."""
        for gauge, samples in self._gauges.items():
            names, fixed = (("component",), (self._component,)) if gauge.is_shared else ((), ())
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=(*names, *gauge.labels))
            for labels, value in samples():
                family.add_metric((*fixed, *labels), value)
            yield family


class AdmissionMetrics(Metrics):
    """The metrics of the admission process."""

    def __init__(self, webhooks: Iterable[str] = ()) -> None:
        """Begin with nothing counted.

        Args:
            webhooks: Their names; what alerts ask for is there from the start, or they would miss the first time.
        """
        super().__init__(Component.ADMISSION)
        reviews = Counter(
            f"{_PREFIX}_admission_reviews_total",
            "Admission reviews by result (patched, allowed, denied) and reason of the denial.",
            ("webhook", "result", "reason"),
            registry=self.registry,
        )
        seconds = Histogram(
            f"{_PREFIX}_admission_review_duration_seconds",
            "Time from the headers of a review to its response.",
            ("webhook",),
            buckets=_REVIEW_BUCKETS,
            registry=self.registry,
        )
        self._refused = Counter(
            f"{_PREFIX}_admission_refused_requests_total",
            "Requests that are not reviews, too large or too slow, by HTTP status.",
            ("code",),
            registry=self.registry,
        )
        # Looking a series up by its labels costs more than counting, so they are looked up once.
        self._review_of = cache(reviews.labels)
        self._seconds_of = cache(seconds.labels)
        for webhook in webhooks:
            self._seconds_of(webhook)
            for reason in (Reason.INTERNAL_ERROR, Reason.NOT_SYNCHRONIZED):
                self._review_of(webhook, "denied", reason.value)

    def count_review(self, webhook: str, result: str, reason: str) -> None:
        """Count a decision.

        Args:
            webhook: Name of the webhook, as in the webhook configuration.
            result: One of a few words.
            reason: Why it was denied; empty for what was not.
        """
        self._review_of(webhook, result, reason).inc()

    def time_review(self, webhook: str, seconds: float) -> None:
        """Note how long an answer took."""
        self._seconds_of(webhook).observe(seconds)

    def count_refused(self, code: int) -> None:
        """Count a request that was answered with a failure of HTTP."""
        self._refused.labels(code).inc()


class ControllerMetrics(Metrics):
    """The metrics of the controller."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        super().__init__(Component.CONTROLLER)
        self._reconciles = Counter(
            f"{_PREFIX}_reconciles_total",
            "Reconciles by kind of work and result.",
            ("kind", "result"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            f"{_PREFIX}_reconcile_duration_seconds",
            "Duration of a reconciliation.",
            ("kind",),
            buckets=_WORK_BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            f"{_PREFIX}_reconcile_errors_total",
            "Reconciliations that failed and are retried, by error.",
            ("kind", "error"),
            registry=self.registry,
        )
        self._created = Counter(
            f"{_PREFIX}_bundle_secrets_created_total", "Bundle Secrets that were created.", registry=self.registry
        )
        self._deleted = Counter(
            f"{_PREFIX}_bundle_secrets_deleted_total", "Bundle Secrets that were deleted.", registry=self.registry
        )
        self._delay = Histogram(
            f"{_PREFIX}_bundle_delay_seconds",
            "Time from the first sight of a pod to its complete bundle.",
            buckets=_WORK_BUCKETS,
            registry=self.registry,
        )
        self._refusals = Counter(
            f"{_PREFIX}_bundle_refusals_total",
            "Admitted pods that get no bundle, once for each pod and reason.",
            ("reason",),
            registry=self.registry,
        )
        for reason in _REFUSALS:
            self._refusals.labels(reason.value)

    def count_reconcile(self, kind: str, result: str, seconds: float) -> None:
        """Count a reconciliation and its duration.

        Args:
            kind: The kind of work: one of a few words.
            result: The result: one of a few words.
            seconds: How long it took.
        """
        self._reconciles.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)

    def count_error(self, kind: str, error: str) -> None:
        """Count a failure by the name of its class, which must be one of a few."""
        self._errors.labels(kind, error).inc()

    def count_created(self) -> None:
        """Count a bundle Secret that was created."""
        self._created.inc()

    def count_deleted(self) -> None:
        """Count a bundle Secret that was deleted."""
        self._deleted.inc()

    def time_bundle(self, seconds: float) -> None:
        """Note how long a pod waited for its bundle."""
        self._delay.observe(seconds)

    def count_refusal(self, reason: str) -> None:
        """Count a pod that gets no bundle."""
        self._refusals.labels(reason).inc()
