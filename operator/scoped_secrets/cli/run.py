"""``scoped-secrets run``: runs both processes for development, with the cluster of a kubeconfig."""

import asyncio
import contextlib
import functools
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import click

from scoped_secrets import names
from scoped_secrets.api.crds import crd_documents
from scoped_secrets.cli.options import add_options
from scoped_secrets.cli.process_options import PROCESS_OPTIONS, cluster_settings
from scoped_secrets.cli.signals import stop_on_signals
from scoped_secrets.config import ClusterSettings
from scoped_secrets.errors import ClusterError, ConfigurationError, UnavailableError
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import own_user
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.webhook_certificates import has_bundle
from scoped_secrets.process_hardening import harden_process
from scoped_secrets.shipped_manifests import (
    GUARD_MANIFEST,
    INJECTED_MANIFEST,
    NAMESPACE_MANIFEST,
    OPT_IN_MANIFEST,
    ROLES_MANIFEST,
    WEBHOOKS_MANIFEST,
    read_manifest,
)

__all__ = ["command"]

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0
_REMOVE_SECONDS = 10.0
_READY_SECONDS = 120.0
# The policy goes first: it denies pods that opted in as soon as the webhooks are gone.
_REMOVED = (INJECTED_MANIFEST, WEBHOOKS_MANIFEST, OPT_IN_MANIFEST, GUARD_MANIFEST)
_REMOVED_KINDS = (
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
)
_LABEL = "app.kubernetes.io/name=scoped-secrets"
_CONTROLLER = f"system:serviceaccount:{names.DEFAULT_NAMESPACE}:{names.CONTROLLER_ACCOUNT}"
# They limit the controller's own account, which is here that of the person.
_NOT_APPLIED = frozenset(f"{names.WEBHOOK_CONFIGURATION}-{end}" for end in ("controller", "specs", "gate"))


@dataclass(frozen=True, slots=True)
class _Ports:
    webhook: int
    controller_probes: int
    admission_probes: int
    controller_metrics: int
    admission_metrics: int


class _StoppedError(Exception):
    """Ctrl-C came before both processes were started."""


@click.command("run")
@click.option(
    "--install",
    is_flag=True,
    help="Apply the CRDs, the roles, the policies, and webhook configurations with addresses of this machine.",
)
@click.option("--port", default=0, show_default="a free one", help="Port of the webhooks on loopback.")
@add_options(PROCESS_OPTIONS)
def command(install: bool, port: int, **shared: Any) -> None:
    """Run the controller and the admission server on this machine, for development.

    It prints a line that begins with "ready" when both serve. The webhook configurations point at a loopback address,
    so the API server must run on this machine too. They and the policies are removed at the end.
    """
    flags = [text for name, value in shared.items() if value is not None for text in (_flag(name), str(value))]
    # Validated here as well, so that an invalid flag is reported once and not by both processes.
    settings = cluster_settings(shared)
    # The children inherit the limit of core files, and this process holds credentials itself.
    harden_process()
    sys.exit(asyncio.run(_run(settings, flags, port, install=install)))


async def _run(settings: ClusterSettings, flags: Sequence[str], port: int, *, install: bool) -> int:
    stop = stop_on_signals()
    cluster = await Cluster.connect(settings.kubeconfig)
    ports = _ports(port)
    try:
        async with (
            _installed(cluster, settings.namespace, ports, stop, enabled=install),
            _children(flags, ports) as children,
        ):
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
                click.echo("Error: a process ended by itself; see its last lines above", err=True)
            return 0 if stop.is_set() else 1
    except _StoppedError:
        return 0
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def _installed(
    cluster: Cluster, namespace: str, ports: _Ports, stop: asyncio.Event, *, enabled: bool
) -> AsyncIterator[None]:
    """Apply what the processes need; delete what concerns every pod at the end, when no process serves it.

    Raises:
        _StoppedError: `stop` is set before everything is applied.
        ClusterError: Something may be left at the end.
    """
    if not enabled:
        yield
        return
    await _unless(stop, _install_kinds(cluster, namespace))
    applied: set[str] = set()
    cause = ""
    try:
        await _unless(stop, _install_webhooks(cluster, ports, applied))
        yield
    except ClusterError as error:
        # An error of the removal would hide it.
        cause = f"{error}; "
        raise
    finally:
        await _remove(cluster, applied, cause)


async def _remove(cluster: Cluster, applied: set[str], cause: str) -> None:
    """Delete what concerns every pod, also what a former run has left.

    Args:
        cluster: The client.
        applied: The paths of what this run may have applied; each that is gone is taken out.
        cause: What an error begins with: why the run ends, if it failed.

    Raises:
        ClusterError: Something that this run applied may be left.
    """
    # A binding goes before its policy, as it stands behind it in the manifest.
    documents = [document for manifest in _REMOVED for document in reversed(read_manifest(manifest))]
    removed = [_path_of(document) for document in documents]
    why = "the API server did not delete them in time"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REMOVE_SECONDS):
            # Twice: the API server may carry out an interrupted apply after the deletion of the same object.
            for path in (*removed, *removed):
                try:
                    await cluster.delete(path)
                except ClusterError as error:
                    why = str(error) if path in applied else why
                else:
                    applied.discard(path)
    if applied:
        raise ClusterError(
            f"{cause}webhooks and policies may be left ({why}); they deny pods that opted in and changes of "
            f"definitions; remove them with: kubectl delete {','.join(_REMOVED_KINDS)} -l {_LABEL}"
        )


async def _install_kinds(cluster: Cluster, namespace: str) -> None:
    for document in (*crd_documents().values(), *_documents(namespace)):
        await _apply(cluster, document)
    # The API server serves a CRD shortly after it was applied; both processes start with a list of its objects.
    for path in (paths.scoped_secrets(), paths.secret_policies()):
        await _until(functools.partial(_is_served, cluster, path))


async def _install_webhooks(cluster: Cluster, ports: _Ports, applied: set[str]) -> None:
    """Apply what concerns every pod, and add the path of each object that may be stored to a set."""
    for document in read_manifest(WEBHOOKS_MANIFEST):
        await _apply_and_record(cluster, _with_local_urls(document, ports.webhook), applied)
    user = await own_user(cluster)
    for document in (*read_manifest(INJECTED_MANIFEST), *read_manifest(OPT_IN_MANIFEST), *_guard(user)):
        await _apply_and_record(cluster, document, applied)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do work to its end.

    Raises:
        _StoppedError: `stop` is set before.
    """
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _StoppedError
        working.result()
    finally:
        working.cancel()
        stopped.cancel()
        # Nothing of the work happens after the return.
        await asyncio.gather(working, stopped, return_exceptions=True)


def _guard(user: str) -> list[dict[str, Any]]:
    """Return the policies of the guard for a controller that acts as a user."""
    text = json.dumps(read_manifest(GUARD_MANIFEST))
    # A JSON string is a string of the policies' language (CEL) too.
    literal = json.dumps(json.dumps(user))[1:-1]
    documents: list[dict[str, Any]] = json.loads(text.replace(f"'{_CONTROLLER}'", literal))
    return [document for document in documents if document["metadata"]["name"] not in _NOT_APPLIED]


def _documents(namespace: str) -> list[dict[str, Any]]:
    documents = [*read_manifest(NAMESPACE_MANIFEST), *read_manifest(ROLES_MANIFEST)]
    if namespace != names.DEFAULT_NAMESPACE:
        raise ConfigurationError(
            f"--namespace must be '{names.DEFAULT_NAMESPACE}' with --install; leave it out, or apply the roles yourself"
        )
    return documents


async def _apply(cluster: Cluster, document: dict[str, Any]) -> None:
    await cluster.apply(_path_of(document), document)


async def _apply_and_record(cluster: Cluster, document: dict[str, Any], applied: set[str]) -> None:
    path = _path_of(document)
    # Before the request: when there is no answer, the object may be stored.
    applied.add(path)
    try:
        await _apply(cluster, document)
    except ClusterError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            applied.discard(path)
        raise


def _path_of(document: dict[str, Any]) -> str:
    metadata = document["metadata"]
    return paths.object_path(document["kind"], metadata["name"], metadata.get("namespace"))


def _with_local_urls(configuration: dict[str, Any], port: int) -> dict[str, Any]:
    """Return the webhook configuration with URLs of this machine instead of the Service."""
    for webhook in configuration["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://{_LOOPBACK}:{port}{path}"}
    return configuration


@contextlib.asynccontextmanager
async def _children(flags: Sequence[str], ports: _Ports) -> AsyncIterator[list[asyncio.Task[int]]]:
    program = [sys.executable, "-m", "scoped_secrets"]
    controller = [*program, "controller", *flags, *_address_flags(ports.controller_probes, ports.controller_metrics)]
    controller += ["--admission-name", _LOOPBACK]
    admission = [*program, "admission", *flags, *_address_flags(ports.admission_probes, ports.admission_metrics)]
    admission += ["--host", _LOOPBACK, "--port", str(ports.webhook), "--material-secret", names.ADMISSION_SECRET]
    # Without the policy that limits the controller's account, no pod is gated.
    admission += ["--no-gate"]
    # In sessions of their own, Ctrl-C in the terminal does not end them before the webhook configurations are deleted.
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
            await _until(functools.partial(_is_ready, session, probe))
        if check_bundle:
            await _until(functools.partial(has_bundle, cluster, names.WEBHOOK_CONFIGURATION))


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - the state of another process has no event to wait for
        await asyncio.sleep(_POLL_SECONDS)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - HTTP OK
    except aiohttp.ClientError:
        return False


async def _is_served(cluster: Cluster, path: str) -> bool:
    # The server responds with 429 while it prepares the storage of a new kind.
    with contextlib.suppress(UnavailableError):
        return await cluster.get(path) is not None
    return False


def _address_flags(probes: int, metrics: int) -> list[str]:
    """Return the flags for the addresses of probes and metrics."""
    probe_flags = ["--probe-host", _LOOPBACK, "--probe-port", str(probes)]
    return [*probe_flags, "--metrics-host", _LOOPBACK, "--metrics-port", str(metrics)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _ports(webhook: int) -> _Ports:
    """Return distinct free ports; for the webhooks, the given port unless it is 0."""
    with contextlib.ExitStack() as listeners:
        found = []
        for _ in range(5):
            # All are open at the same time, because the system could otherwise return one twice.
            listener = listeners.enter_context(socket.socket())
            listener.bind((_LOOPBACK, 0))
            found.append(int(listener.getsockname()[1]))
    return _Ports(webhook or found[0], *found[1:])
