"""The options that several commands share, and the settings that they become."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from scoped_secrets import names
from scoped_secrets.config import AuditLevel, ClusterSettings, LeaseSettings, MetricsSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.logs import LogFormat

__all__ = [
    "CONNECTION_OPTIONS",
    "KUBECONFIG_OPTION",
    "LEASE_OPTIONS",
    "METRICS_OPTIONS",
    "NAMESPACE_OPTION",
    "OPERATOR_NAMESPACE_OPTION",
    "OPERATOR_OPTIONS",
    "PLACE_OPTIONS",
    "PROCESS_OPTIONS",
    "add_options",
    "cluster_settings",
    "examples",
    "lease_settings",
    "metrics_settings",
    "name_argument",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_LEASE = LeaseSettings()
_METRICS = MetricsSettings()

LOG_LEVELS = ("debug", "info", "warning", "error")

KUBECONFIG_OPTION: Callable[[Any], Any] = click.option(
    "--kubeconfig", metavar="FILE", help="Address and credentials of the cluster, instead of $KUBECONFIG."
)

OPERATOR_NAMESPACE_OPTION: Callable[[Any], Any] = click.option(
    "--operator-namespace", default=names.DEFAULT_NAMESPACE, show_default=True, help="Namespace of the operator."
)

OPERATOR_OPTIONS: Sequence[Callable[[Any], Any]] = (KUBECONFIG_OPTION, OPERATOR_NAMESPACE_OPTION)
"""The options of commands that talk to the cluster and to the operator in it."""

CONNECTION_OPTIONS: Sequence[Callable[[Any], Any]] = (
    KUBECONFIG_OPTION,
    click.option("--context", metavar="NAME", help="Context of the kubeconfig, instead of its current one."),
    click.option("--as", "as_user", metavar="USER", help="User to impersonate, if your role allows it."),
    click.option(
        "--as-group", "as_groups", metavar="GROUP", multiple=True, help="Group to impersonate; several times."
    ),
    click.option("--as-uid", metavar="UID", help="UID to impersonate."),
)
"""Address, credentials and identity, as in kubectl; `cli.session.connection` reads them."""

NAMESPACE_OPTION: Callable[[Any], Any] = click.option(
    "--namespace", "-n", metavar="NAME", help="Namespace; decides where the labels allow several."
)

_NOUNS = ("secret", "secrets")


def _name(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> str | None:
    """Return the name behind an optional word for the kind, as other command lines of CI systems have it."""
    has_noun = len(words) > 1 or (len(words) == 1 and not parameter.required)
    name = words[1:] if has_noun and words[0] in _NOUNS else words
    if len(name) > 1:
        raise click.UsageError(f"give one name, not {len(name)}", context)
    return name[0] if name else None


def name_argument(*, required: bool = True) -> Callable[[Any], Any]:
    """Return the argument NAME, before which the word `secret` may stand: `create secret aws`, `get secrets`."""
    metavar = "[secret] NAME" if required else "[secrets] [NAME]"
    return click.argument("name", nargs=-1, required=required, metavar=metavar, callback=_name)


PLACE_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option("--project", "--project-name", "-p", metavar="NAME", help="Project of the secret."),
    click.option("--environment", metavar="NAME", help="Environment or pattern such as 'review/*'."),
    click.option("--organization", metavar="NAME", help="Organization, where namespaces of several can be read."),
    NAMESPACE_OPTION,
)
"""Where a definition is; `cli.session.place_request` reads them."""

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


def add_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[_Command], _Command]:
    """Return a decorator that adds several options, in their order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def examples(*commands: str) -> str:
    """Return the examples of a verb as the end of its help; each command stays on its own line."""
    return "\n  ".join(("\b\nExamples:", *commands))


def cluster_settings(flags: dict[str, Any]) -> ClusterSettings:
    """Remove the shared settings from a command's flags and return them.

    Raises:
        ConfigurationError: A flag is not valid.
    """
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
