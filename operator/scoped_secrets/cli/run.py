"""``scoped-secrets run``: both processes for development, against the cluster of the current kubeconfig."""

import asyncio
import contextlib
import functools
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import click

from scoped_secrets import names
from scoped_secrets.api.crds import crd_documents
from scoped_secrets.cli.options import PROCESS_OPTIONS, add_options, cluster_settings
from scoped_secrets.config import ClusterSettings
from scoped_secrets.errors import ClusterError, ConfigurationError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.process_hardening import harden_process
from scoped_secrets.shipped_manifests import NAMESPACE_MANIFEST, ROLES_MANIFEST, WEBHOOKS_MANIFEST, read_manifest

__all__ = ["command"]

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Ports:
    webhook: int
    controller_probes: int
    admission_probes: int
    controller_metrics: int
    admission_metrics: int


@click.command("run")
@click.option(
    "--install", is_flag=True, help="Apply CRDs, roles and webhook configurations that point at this process."
)
@click.option("--port", default=0, show_default="a free one", help="Port of the webhooks on loopback.")
@add_options(PROCESS_OPTIONS)
def command(install: bool, port: int, **shared: Any) -> None:
    """Run controller and admission on this machine, and print a line that begins with "ready" when both serve.

    For development: the webhook configurations point at a loopback address, so the API server must run here too. They
    are removed at the end.
    """
    flags = [text for name, value in shared.items() if value is not None for text in (_flag(name), str(value))]
    # Read here as well, so that a wrong flag is one error and not two.
    settings = cluster_settings(shared)
    # Its limit of core files is the children's, and it holds credentials itself.
    harden_process()
    sys.exit(asyncio.run(_run(settings, flags, port, install=install)))


async def _run(settings: ClusterSettings, flags: Sequence[str], port: int, *, install: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cluster = await Cluster.connect(settings.kubeconfig)
    ports = _ports(port)
    try:
        async with _installed(cluster, settings.namespace, ports, enabled=install), _children(flags, ports) as children:
            ended = asyncio.ensure_future(asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED))
            ready = asyncio.ensure_future(_wait_ready(cluster, ports, check_bundle=install))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({ended, ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                click.echo(f"ready: webhooks on https://{_LOOPBACK}:{ports.webhook}, stop with Ctrl-C")
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (ended, ready, stopped):
                task.cancel()
            if not stop.is_set():
                click.echo("Error: a process ended by itself; its last lines above say why", err=True)
            return 0 if stop.is_set() else 1
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def _installed(cluster: Cluster, namespace: str, ports: _Ports, *, enabled: bool) -> AsyncIterator[None]:
    """Apply what the processes need, and take the webhook configurations away at the end: nothing would answer them."""
    if not enabled:
        yield
        return
    for document in (*crd_documents().values(), *_documents(namespace)):
        await _apply(cluster, document)
    # A CRD is served a moment after it was applied; both processes list its objects first of all.
    for path in (paths.scoped_secrets(), paths.secret_policies()):
        await _until(functools.partial(_is_served, cluster, path))
    try:
        for document in read_manifest(WEBHOOKS_MANIFEST):
            await _apply(cluster, _pointed_here(document, ports.webhook))
        yield
    finally:
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            with contextlib.suppress(ClusterError):
                await cluster.delete(paths.object_path(kind, names.WEBHOOK_CONFIGURATION))


def _documents(namespace: str) -> list[dict[str, Any]]:
    documents = [*read_manifest(NAMESPACE_MANIFEST), *read_manifest(ROLES_MANIFEST)]
    if namespace != names.DEFAULT_NAMESPACE:
        raise ConfigurationError(
            f"--namespace must be '{names.DEFAULT_NAMESPACE}' with --install; leave it out, or apply the roles yourself"
        )
    return documents


async def _apply(cluster: Cluster, document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    await cluster.apply(paths.object_path(document["kind"], metadata["name"], metadata.get("namespace")), document)


def _pointed_here(configuration: dict[str, Any], port: int) -> dict[str, Any]:
    """Return the webhook configuration with addresses of this machine instead of the Service."""
    for webhook in configuration["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://{_LOOPBACK}:{port}{path}"}
    return configuration


@contextlib.asynccontextmanager
async def _children(flags: Sequence[str], ports: _Ports) -> AsyncIterator[list[asyncio.Task[int]]]:
    program = [sys.executable, "-m", "scoped_secrets"]
    controller = [*program, "controller", *flags, *_places(ports.controller_probes, ports.controller_metrics)]
    controller += ["--admission-name", _LOOPBACK]
    admission = [*program, "admission", *flags, *_places(ports.admission_probes, ports.admission_metrics)]
    admission += ["--host", _LOOPBACK, "--port", str(ports.webhook), "--material-secret", names.ADMISSION_SECRET]
    # Sessions of their own keep Ctrl-C in the terminal from ending them before the webhooks are taken away.
    processes = [
        await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
        for argv in (controller, admission)
    ]
    try:
        yield [asyncio.ensure_future(process.wait()) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _wait_ready(cluster: Cluster, ports: _Ports, *, check_bundle: bool) -> None:
    probes = [f"http://{_LOOPBACK}:{port}/readyz" for port in (ports.controller_probes, ports.admission_probes)]
    async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as session:
        for probe in probes:
            await _until(functools.partial(_answers, session, probe))
        if check_bundle:
            await _until(functools.partial(_is_trusted, cluster))


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - another process decides; there is no event to wait for
        await asyncio.sleep(_POLL_SECONDS)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - HTTP OK
    except aiohttp.ClientError:
        return False


async def _is_served(cluster: Cluster, path: str) -> bool:
    # While the server prepares the storage of a new kind it answers 429.
    with contextlib.suppress(UnavailableError):
        return await cluster.get(path) is not None
    return False


async def _is_trusted(cluster: Cluster) -> bool:
    """Tell whether the controller has written its CA bundle into every webhook."""
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        configuration = await cluster.get(paths.object_path(kind, names.WEBHOOK_CONFIGURATION))
        if configuration is None or not all(w["clientConfig"].get("caBundle") for w in configuration["webhooks"]):
            return False
    return True


def _places(probes: int, metrics: int) -> list[str]:
    """Return the flags that tell a process where to serve probes and metrics."""
    probe_flags = ["--probe-host", _LOOPBACK, "--probe-port", str(probes)]
    return [*probe_flags, "--metrics-host", _LOOPBACK, "--metrics-port", str(metrics)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _ports(webhook: int) -> _Ports:
    """Return ports that are free at the moment and differ; of the webhooks' one, the given one unless that is 0."""
    with contextlib.ExitStack() as listeners:
        found = []
        for _ in range(5):
            # All are open at once, or the system could give the same one twice.
            listener = listeners.enter_context(socket.socket())
            listener.bind((_LOOPBACK, 0))
            found.append(int(listener.getsockname()[1]))
    return _Ports(webhook or found[0], *found[1:])
