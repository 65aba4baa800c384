"""``scoped-secrets controller``: the process that renders bundles and maintains statuses, keys and certificates."""

import asyncio
from typing import Any

import click

from scoped_secrets import logs
from scoped_secrets.cli.options import add_options
from scoped_secrets.cli.process_options import (
    LEASE_OPTIONS,
    METRICS_OPTIONS,
    PROCESS_OPTIONS,
    cluster_settings,
    lease_settings,
    metrics_settings,
)
from scoped_secrets.cli.signals import stop_on_signals
from scoped_secrets.config import CERTIFICATE_MODES, SWEEP_MODES, ClusterSettings, ControllerSettings, LeaseSettings
from scoped_secrets.controller.app import run_controller

__all__ = ["command"]

_DEFAULTS = ControllerSettings(ClusterSettings(), LeaseSettings())


@click.command("controller")
@add_options(PROCESS_OPTIONS)
@add_options(LEASE_OPTIONS)
@add_options(METRICS_OPTIONS)
@click.option("--probe-host", default=_DEFAULTS.probe_host, show_default=True, help="Address of the probes.")
@click.option("--probe-port", default=_DEFAULTS.probe_port, show_default=True, help="Port of the probes.")
@click.option("--workers", default=_DEFAULTS.workers, show_default=True, help="Number of concurrent workers.")
@click.option(
    "--key-rotation-days",
    default=_DEFAULTS.key_rotation_days,
    show_default=True,
    help="Age at which the sealing key is rotated, 0 for never. Old keys still unseal the values sealed for them.",
)
@click.option(
    "--admission-name",
    "admission_names",
    multiple=True,
    metavar="HOST",
    help="Another name or address of the admission server, for its certificate; may be repeated.",
)
@click.option(
    "--webhook-configuration",
    default=_DEFAULTS.webhook_configuration,
    show_default=True,
    metavar="NAME",
    help="Name of both webhook configurations, whose CA bundle the controller maintains.",
)
@click.option(
    "--admission-service",
    default=_DEFAULTS.admission_service,
    show_default=True,
    metavar="NAME",
    help="The Service of the admission server, for its certificate.",
)
@click.option(
    "--keep-unchanged/--no-keep-unchanged",
    default=_DEFAULTS.keep_unchanged,
    show_default=True,
    help="Whether values that were sealed without a fingerprint get one in the status, for `verify` and for applying "
    "them again; as the admission server's option.",
)
@click.option(
    "--certificates",
    type=click.Choice(CERTIFICATE_MODES),
    default=_DEFAULTS.certificates,
    show_default=True,
    help="Who issues the admission server's certificate: the controller, or another tool such as cert-manager.",
)
@click.option(
    "--sweep",
    type=click.Choice(SWEEP_MODES),
    default=_DEFAULTS.sweep,
    show_default=True,
    help="Whether pods that opted in and were not injected are only reported, or also deleted when their owner creates "
    "them again.",
)
@click.option("--ca-file", metavar="FILE", help="With external certificates: the CA bundle to publish; may change.")
def command(log_level: str, log_format: str, **flags: Any) -> None:
    """Render the Secrets of job pods, and maintain statuses, keys and certificates."""
    cluster, lease = cluster_settings(flags), lease_settings(flags)
    settings = ControllerSettings(cluster=cluster, lease=lease, metrics=metrics_settings(flags), **flags)
    logs.configure(log_level, logs.LogFormat(log_format))
    asyncio.run(_run(settings))


async def _run(settings: ControllerSettings) -> None:
    await run_controller(settings, stop_on_signals())
