"""The settings of the processes, validated once at the start. The command line parses flags into them."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scoped_secrets import names
from scoped_secrets.errors import ConfigurationError

__all__ = [
    "CERTIFICATE_MODES",
    "SWEEP_MODES",
    "AdmissionSettings",
    "AuditLevel",
    "ClusterSettings",
    "ControllerSettings",
    "LeaseSettings",
    "MetricsSettings",
]

CERTIFICATE_MODES: Final = ("selfManaged", "external")
SWEEP_MODES: Final = ("Report", "Delete")

_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MAX_PORT: Final = 65535
_MIN_RESYNC_SECONDS: Final = 10.0
_MAX_WORKERS: Final = 64
_MIN_ROTATION_DAYS: Final = 0.0001
_MAX_ROTATION_DAYS: Final = 36500
# A renewal that is a little late must not lose the lease.
_RETRY_FACTOR: Final = 1.2


class AuditLevel(StrEnum):
    """Which decisions are written to the audit log."""

    NONE = "none"
    DENIED = "denied"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The settings that both processes share: with different ones they would decide differently about a pod.

    Attributes:
        kubeconfig: File with address and credentials; without one, the variable KUBECONFIG or the ServiceAccount.
        namespace: The operator's own namespace, where its Secrets and its Lease are.
        organization: The organization of namespaces that have only a project.
        default_access: `AllowInScope` or `Deny`: the decision about a bundle that no Allow policy selects.
        default_home: Home directory of containers that do not state theirs; files with relative paths go there.
        resync_seconds: Seconds between complete lists, which repair what watches have missed.
        audit_log: `none`, `denied` or `all`: the decisions that are written to the audit log.
    """

    kubeconfig: str | None = None
    namespace: str = names.DEFAULT_NAMESPACE
    organization: str = names.DEFAULT_ORGANIZATION
    default_access: str = "AllowInScope"
    default_home: str = names.DEFAULT_HOME
    resync_seconds: float = 300.0
    audit_log: str = "all"

    def __post_init__(self) -> None:
        """Raise ConfigurationError for settings that cannot work."""
        _require(
            _NAMESPACE.fullmatch(self.namespace) is not None,
            "--namespace must be the name of a namespace: lower-case letters, digits and '-'",
        )
        _require(
            _LABEL_VALUE.fullmatch(self.organization) is not None,
            "--organization must be a label value: at most 63 letters, digits, '.', '_' and '-'",
        )
        _require(
            self.default_access in {"AllowInScope", "Deny"},
            "--default-access must be AllowInScope or Deny",
        )
        _require(
            self.audit_log in tuple(AuditLevel),
            "--audit-log must be none, denied or all",
        )
        _require(
            self.default_home.startswith("/") and ".." not in self.default_home.split("/"),
            "--default-home must be an absolute path without '..'",
        )
        _require(
            self.resync_seconds >= _MIN_RESYNC_SECONDS,
            f"--resync-seconds must be at least {_MIN_RESYNC_SECONDS:.0f}",
        )


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The times of leader election in seconds, with the defaults of Kubernetes' own components.

    Attributes:
        duration: Another candidate may take a lease that has not been renewed for this time.
        renew_deadline: The leader stops when it has not renewed the lease for this time.
        retry_period: Time between two attempts to take or renew the lease.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        """Raise ConfigurationError for times that let two controllers lead at once."""
        _require(
            self.duration >= 1.0 and self.duration == int(self.duration),
            "--lease-duration must be whole seconds: the Lease has no room for fractions",
        )
        _require(
            self.renew_deadline < self.duration,
            "--lease-renew-deadline must be less than --lease-duration, or two controllers could lead at once",
        )
        _require(
            0 < self.retry_period * _RETRY_FACTOR < self.renew_deadline,
            "--lease-retry-period must be well below --lease-renew-deadline",
        )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where the metrics are served.

    Attributes:
        host: Address of the metrics server.
        port: Its port, 0 for any free one.
    """

    host: str = "0.0.0.0"  # noqa: S104 - Prometheus scrapes at the pod's address, which is not known here.
    port: int = 8080

    def __post_init__(self) -> None:
        """Raise ConfigurationError for settings that cannot work."""
        _require_port("--metrics-port", self.port)


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Settings of the controller.

    Attributes:
        cluster: The settings that both processes share.
        lease: The times of leader election.
        probe_host: Address of the probe server.
        probe_port: Port of the probe server, 0 for any free one.
        workers: How many keys are reconciled at once; more than 16 slow the API server down.
        admission_names: Names and addresses in the admission server's certificate, beside those of its Service.
        key_rotation_days: The age in days at which a sealing key gets a successor, 0 for never.
        metrics: Where the metrics are served; ``None`` for nowhere.
        webhook_configuration: Name of both webhook configurations, whose CA bundle is kept.
        admission_service: Name of the admission Service, which the certificate is for.
        certificates: `selfManaged`, or `external` when another program issues the admission server's certificate.
        ca_file: With `external`, the file with the CA bundle; without one, another program publishes it too.
        sweep: `Report`, or `Delete` to delete pods that were not injected and that their owner creates again.
        keep_unchanged: Whether values that were sealed without a fingerprint get one in the status, so that they can be
            compared as the others; as the setting of the same name of the admission server.
    """

    cluster: ClusterSettings
    lease: LeaseSettings
    probe_host: str = "0.0.0.0"  # noqa: S104 - the kubelet probes at the pod's address, which is not known here.
    probe_port: int = 8081
    workers: int = 16
    admission_names: tuple[str, ...] = ()
    key_rotation_days: float = 30.0
    metrics: MetricsSettings | None = None
    webhook_configuration: str = names.WEBHOOK_CONFIGURATION
    admission_service: str = names.ADMISSION_SERVICE
    certificates: str = "selfManaged"
    ca_file: str | None = None
    sweep: str = "Report"
    keep_unchanged: bool = True

    def __post_init__(self) -> None:
        """Raise ConfigurationError for settings that cannot work."""
        _require_port("--probe-port", self.probe_port)
        _require_different("--probe", (self.probe_host, self.probe_port), self.metrics)
        _require(1 <= self.workers <= _MAX_WORKERS, f"--workers must be from 1 to {_MAX_WORKERS}")
        # The leader makes the successor; a shorter interval would be a loop of new keys.
        _require(
            self.key_rotation_days == 0 or _MIN_ROTATION_DAYS <= self.key_rotation_days <= _MAX_ROTATION_DAYS,
            f"--key-rotation-days must be 0 for never, or from {_MIN_ROTATION_DAYS:g} to {_MAX_ROTATION_DAYS}",
        )
        _require_name("--webhook-configuration", self.webhook_configuration)
        _require_name("--admission-service", self.admission_service)
        _require(self.sweep in SWEEP_MODES, f"--sweep must be {' or '.join(SWEEP_MODES)}")
        _require(self.certificates in CERTIFICATE_MODES, f"--certificates must be {' or '.join(CERTIFICATE_MODES)}")
        _require(
            self.ca_file is None or self.certificates == "external",
            "--ca-file needs --certificates external: otherwise the controller makes the authority itself",
        )


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Settings of the admission server.

    Attributes:
        cluster: The settings that both processes share.
        material: Folder with certificate, public keys and the fingerprint key: the mounted Secret.
        material_secret: Name of that Secret, to read it through the API instead; for development.
        tls: Folder with tls.crt and tls.key that another program issues; they take precedence over `material`.
        client_ca_file: File with the authority of client certificates; without it, clients need no certificate.
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.
        probe_host: Address of the probe server.
        probe_port: Port of the probe server, 0 for any free one.
        keep_unchanged: Whether applying a stored value again changes nothing. Users with update access to a definition
            can then test a guess by applying it. Without it, every apply seals every value again.
        gate: Whether pods are gated until their bundle exists. The controller needs the right to patch pods.
        gate_policy: Name of the ValidatingAdmissionPolicy, and of its binding, that limits this right. Without both in
            the cluster no pod is gated.
        metrics: Where the metrics are served; ``None`` for nowhere.
        trusted_issuers_file: The file with the trusted issuers; it may change at any time.
    """

    cluster: ClusterSettings
    material: str | None = None
    material_secret: str | None = None
    tls: str | None = None
    client_ca_file: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - the API server calls at the pod's address, which is not known here.
    port: int = 10250
    probe_host: str = "0.0.0.0"  # noqa: S104 - as above, for the kubelet.
    probe_port: int = 8081
    keep_unchanged: bool = True
    gate: bool = False
    gate_policy: str = names.GATE_POLICY
    metrics: MetricsSettings | None = None
    trusted_issuers_file: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigurationError for settings that cannot work."""
        _require_port("--port", self.port)
        _require_port("--probe-port", self.probe_port)
        _require_name("--gate-policy", self.gate_policy)
        _require(
            (self.material is None) != (self.material_secret is None),
            "give either --material, a folder, or --material-secret, the name of a Secret",
        )
        _require(
            self.port == 0 or (self.host, self.port) != (self.probe_host, self.probe_port),
            "--port and --probe-port must differ",
        )
        _require_different("-", (self.host, self.port), self.metrics)
        _require_different("--probe", (self.probe_host, self.probe_port), self.metrics)


def _require_port(flag: str, port: int) -> None:
    _require(0 <= port <= _MAX_PORT, f"{flag} must be from 0 to {_MAX_PORT}")


def _require_name(flag: str, name: str) -> None:
    _require(
        _OBJECT_NAME.fullmatch(name) is not None,
        f"{flag} must be the name of an object: lower-case letters, digits, '-' and '.'",
    )


def _require_different(flag: str, taken: tuple[str, int], metrics: MetricsSettings | None) -> None:
    """Raise ConfigurationError when metrics and another server have the same address."""
    is_free = metrics is None or metrics.port == 0 or (metrics.host, metrics.port) != taken
    _require(is_free, f"{flag}-port and --metrics-port must differ")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)
