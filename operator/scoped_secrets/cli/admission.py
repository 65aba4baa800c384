"""``scoped-secrets admission``: the process that serves the admission webhooks."""

import asyncio
from typing import Any

import click

from scoped_secrets import logs
from scoped_secrets.admission.app import run_admission
from scoped_secrets.cli.options import add_options
from scoped_secrets.cli.process_options import METRICS_OPTIONS, PROCESS_OPTIONS, cluster_settings, metrics_settings
from scoped_secrets.cli.signals import stop_on_signals
from scoped_secrets.config import AdmissionSettings, ClusterSettings

__all__ = ["command"]

_DEFAULTS = AdmissionSettings(ClusterSettings(), material="")


@click.command("admission")
@add_options(PROCESS_OPTIONS)
@add_options(METRICS_OPTIONS)
@click.option("--material", metavar="FOLDER", help="Certificate and keys: where their Secret is mounted.")
@click.option(
    "--material-secret", metavar="NAME", help="The same, read from this Secret through the API; for development."
)
@click.option(
    "--tls",
    metavar="FOLDER",
    help="tls.crt and tls.key, issued by another program; they take precedence over --material.",
)
@click.option(
    "--client-ca-file",
    metavar="FILE",
    help="Require of every client a certificate that an authority in this PEM file signed; for the API server's.",
)
@click.option("--host", default=_DEFAULTS.host, show_default=True, help="Address of the webhooks.")
@click.option("--port", default=_DEFAULTS.port, show_default=True, help="Port of the webhooks.")
@click.option("--probe-host", default=_DEFAULTS.probe_host, show_default=True, help="Address of the probes.")
@click.option("--probe-port", default=_DEFAULTS.probe_port, show_default=True, help="Port of the probes.")
@click.option(
    "--keep-unchanged/--no-keep-unchanged",
    default=_DEFAULTS.keep_unchanged,
    show_default=True,
    help="Whether applying a stored value again keeps its sealed text; users who may update can then test a guess.",
)
@click.option(
    "--gate/--no-gate",
    default=_DEFAULTS.gate,
    show_default=True,
    help="Whether pods get a scheduling gate until their bundle exists; the controller must be able to patch pods.",
)
@click.option(
    "--gate-policy",
    default=_DEFAULTS.gate_policy,
    show_default=True,
    metavar="NAME",
    help="The ValidatingAdmissionPolicy that limits the controller's right to patch pods; without it none is gated.",
)
@click.option(
    "--trusted-issuers-file",
    metavar="FILE",
    help="Trusted issuers in YAML or JSON: which creators of pods state project, ref and event. Read again on change.",
)
def command(log_level: str, log_format: str, **flags: Any) -> None:
    """Serve the admission webhooks for pods, ScopedSecrets and SecretPolicies."""
    settings = AdmissionSettings(cluster=cluster_settings(flags), metrics=metrics_settings(flags), **flags)
    logs.configure(log_level, logs.LogFormat(log_format))
    asyncio.run(_run(settings))


async def _run(settings: AdmissionSettings) -> None:
    await run_admission(settings, stop_on_signals())
