"""The options of the two processes, and the settings that they become."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from scoped_secrets import names
from scoped_secrets.cli.options import KUBECONFIG_OPTION
from scoped_secrets.config import AuditLevel, ClusterSettings, LeaseSettings, MetricsSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.kube.credentials import refuse_impersonation
from scoped_secrets.logs import LogFormat

__all__ = [
    "LEASE_OPTIONS",
    "METRICS_OPTIONS",
    "PROCESS_OPTIONS",
    "cluster_settings",
    "lease_settings",
    "metrics_settings",
]

_LEASE = LeaseSettings()
_METRICS = MetricsSettings()

LOG_LEVELS = ("debug", "info", "warning", "error")

PROCESS_OPTIONS: Sequence[Callable[[Any], Any]] = (
    KUBECONFIG_OPTION,
    click.option(
        "--namespace",
        default=names.DEFAULT_NAMESPACE,
        show_default=True,
        help="The operator's own namespace, with its keys and its Lease.",
    ),
    click.option(
        "--organization",
        default=names.DEFAULT_ORGANIZATION,
        show_default=True,
        help="The organization of namespaces that have only a project.",
    ),
    click.option(
        "--default-access",
        type=click.Choice([access.value for access in Access]),
        default=Access.ALLOW_IN_SCOPE.value,
        show_default=True,
        help="Access to a bundle that no policy selects.",
    ),
    click.option(
        "--default-home",
        default=names.DEFAULT_HOME,
        show_default=True,
        help="Home directory of containers that declare none.",
    ),
    click.option(
        "--resync-seconds", default=300.0, show_default=True, help="Seconds between two resyncs, which list everything."
    ),
    click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True),
    click.option(
        "--log-format",
        type=click.Choice([style.value for style in LogFormat]),
        default=LogFormat.TEXT.value,
        show_default=True,
        help="Lines for people, or JSON.",
    ),
    click.option(
        "--audit-log",
        type=click.Choice([level.value for level in AuditLevel]),
        default=ClusterSettings().audit_log,
        show_default=True,
        help="Which decisions about pods and sessions are written as lines of JSON, names only.",
    ),
)

LEASE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--lease-duration",
        default=_LEASE.duration,
        show_default=True,
        help="Seconds without renewal after which a standby takes over.",
    ),
    click.option(
        "--lease-renew-deadline",
        default=_LEASE.renew_deadline,
        show_default=True,
        help="Seconds without a successful renewal after which the leader steps down.",
    ),
    click.option(
        "--lease-retry-period",
        default=_LEASE.retry_period,
        show_default=True,
        help="Seconds between attempts to acquire or renew the Lease.",
    ),
)


METRICS_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--metrics/--no-metrics", default=True, show_default=True, help="Whether metrics are served at /metrics."
    ),
    click.option("--metrics-host", default=_METRICS.host, show_default=True, help="Address of the metrics."),
    click.option("--metrics-port", default=_METRICS.port, show_default=True, help="Port of the metrics."),
)


def cluster_settings(flags: dict[str, Any]) -> ClusterSettings:
    """Remove the shared settings from a command's flags and return them.

    Raises:
        ConfigurationError: A flag is not valid, or the kubeconfig cannot be read or impersonates a user.
    """
    # kopf's watches have no such headers: a process would read and write with different rights.
    refuse_impersonation(flags["kubeconfig"])
    fields = (
        "kubeconfig",
        "namespace",
        "organization",
        "default_access",
        "default_home",
        "resync_seconds",
        "audit_log",
    )
    return ClusterSettings(**{field: flags.pop(field) for field in fields})


def lease_settings(flags: dict[str, Any]) -> LeaseSettings:
    """Remove the times of leader election from a command's flags and return them.

    Raises:
        ConfigurationError: A flag is not valid.
    """
    fields = ("duration", "renew_deadline", "retry_period")
    return LeaseSettings(**{field: flags.pop(f"lease_{field}") for field in fields})


def metrics_settings(flags: dict[str, Any]) -> MetricsSettings | None:
    """Remove the address of the metrics from a command's flags and return it, ``None`` when they are not served.

    Raises:
        ConfigurationError: A flag is not valid.
    """
    is_on, host, port = (flags.pop(name) for name in ("metrics", "metrics_host", "metrics_port"))
    return MetricsSettings(host, port) if is_on else None
