"""The controller process as a whole: what starts, in which order, and how it ends."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from scoped_secrets.audit import AuditLog
from scoped_secrets.clock import utc_now
from scoped_secrets.config import AuditLevel, ControllerSettings
from scoped_secrets.controller.key_refresh import KEY_CHECK_SECONDS, KeyRefresher
from scoped_secrets.controller.manager import Manager
from scoped_secrets.controller.metrics import measure
from scoped_secrets.controller.pods import POD_SELECTOR
from scoped_secrets.controller.webhook_certificates import WebhookCertificates
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.policy.policy import Access
from scoped_secrets.crypto.encoding import KeyMaterialError
from scoped_secrets.crypto.guesses import comparison_key
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.keys import Keys, load_keys
from scoped_secrets.kube.leader_election import LeaderElection
from scoped_secrets.kube.public_key import publish_keys
from scoped_secrets.kube.resources import PODS
from scoped_secrets.kube.watch_handlers import WatchHandler
from scoped_secrets.kube.watches import WatchSupervisor
from scoped_secrets.logs import context
from scoped_secrets.metrics import READY, ControllerMetrics
from scoped_secrets.process import guard_process, serve_metrics, serve_probes

__all__ = ["run_controller"]

logger = logging.getLogger(__name__)

_STOP_SECONDS: Final = 10.0
"""How long work that has started may take when the process stops."""

_RETRY_SECONDS: Final = 5.0
"""The longest pause between two attempts at a step that the start needs."""

_CA_BUNDLE_SECONDS: Final = 0.5
"""How often the controller checks whether the webhooks have their CA bundle, until they do."""

_STUCK_SECONDS: Final = 600.0
"""How long a key may wait or be reconciled before the probe counts the work as stuck."""

_STALE_RESYNCS: Final = 4
"""After how many resync intervals without a list or an event the probe counts the watches as stuck."""

_START_SECONDS: Final = 600.0
"""How long the first complete inventory may take."""


async def run_controller(settings: ControllerSettings, stop: asyncio.Event) -> None:
    """Run as leader or standby until `stop` is set; then finish the running work and release leadership.

    The running event loop owns the inventory and does all work; the watches have a thread of their own.

    Raises:
        KeyMaterialError: A key of the operator is damaged.
        ConfigurationError: A port cannot be opened, or there are no credentials.
    """
    guard_process(asyncio.get_running_loop())
    health, metrics = _Health(settings), ControllerMetrics()
    metrics.read_one(READY, lambda: float(not any(health.ready())))
    async with (
        await Cluster.connect(settings.cluster.kubeconfig) as cluster,
        serve_probes(settings.probe_host, settings.probe_port, health.alive, health.ready) as port,
        serve_metrics(settings.metrics, metrics.render) as metrics_port,
    ):
        logger.info("the controller has started", extra=context(probe_port=port, metrics_port=metrics_port))
        keys = await _load_keys(cluster, settings.cluster.namespace, stop)
        if keys is None:
            return
        controller = _Controller(settings, cluster, keys, metrics)
        health.controller = controller
        await controller.run(stop)


class _Controller:
    """The parts of one controller, which run concurrently."""

    def __init__(self, settings: ControllerSettings, cluster: Cluster, keys: Keys, metrics: ControllerMetrics) -> None:
        self._settings = settings
        self._cluster = cluster
        days = settings.key_rotation_days
        rotation = timedelta(days=days) if days else None
        self._certificates = WebhookCertificates(cluster, settings)
        self.has_ca_bundle = False
        """Whether the webhooks had their CA bundle once: before that, the API server denies valid pods."""
        self._key_refresher = KeyRefresher(cluster, settings.cluster.namespace, keys, rotation=rotation)
        shared = settings.cluster
        self.manager = Manager(
            cluster,
            keys=lambda: self._key_refresher.keys,
            settings=DecisionSettings(Access(shared.default_access), shared.default_home),
            organization=shared.organization,
            workers=settings.workers,
            metrics=metrics,
            audit=AuditLog(AuditLevel(shared.audit_log)),
            sweeps=settings.sweep == "Delete",
            records_fingerprints=settings.keep_unchanged,
        )
        measure(metrics, self.manager, lambda: self._key_refresher.keys, rotation)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, or until a part fails permanently."""
        ended = asyncio.Event()
        parts = {
            asyncio.create_task(self._watch(ended), name="watches"),
            asyncio.create_task(self._elect(), name="election"),
            asyncio.create_task(self._refresh_keys_periodically(), name="keys"),
        }
        stopping = asyncio.create_task(stop.wait(), name="stop")
        awaiting_bundle = asyncio.create_task(self._await_ca_bundle(), name="ca-bundle")
        try:
            await asyncio.wait({*parts, stopping}, return_when=asyncio.FIRST_COMPLETED)
            failures = [task.exception() for task in parts if task.done() and not task.cancelled()]
        finally:
            # While this process still holds the lease: no other one starts before its requests have ended.
            await self.manager.step_down(_STOP_SECONDS)
            ended.set()
            tasks = (*parts, stopping, awaiting_bundle)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            logger.info("the controller has stopped")
        for failure in failures:
            if failure is not None:
                raise failure

    async def _watch(self, ended: asyncio.Event) -> None:
        shared = self._settings.cluster
        manager = self.manager
        pods = WatchHandler(PODS, manager.on_pod, POD_SELECTOR, lambda: manager.pods.list_version)
        supervisor = WatchSupervisor(
            [*manager.informer.watch_handlers(), pods],
            manager.relist,
            kubeconfig=shared.kubeconfig,
            resync_seconds=shared.resync_seconds,
        )
        await supervisor.run(ended)

    async def _await_ca_bundle(self) -> None:
        while not self.has_ca_bundle:
            with contextlib.suppress(ClusterError):
                self.has_ca_bundle = await self._certificates.is_complete()
            await asyncio.sleep(_CA_BUNDLE_SECONDS)

    async def _elect(self) -> None:
        # A process without a complete inventory must not lead.
        await self.manager.completed.wait()
        lease = self._settings.lease
        election = LeaderElection(self._cluster, self._settings.cluster.namespace, settings=lease)
        # The rest of the lease when its holder gives up, less a second to cancel what is late.
        grace = max(lease.duration - lease.renew_deadline - 1.0, 0.0)
        await election.run(self._lead, lambda: self.manager.step_down(grace))

    async def _refresh_keys_periodically(self) -> None:
        # A standby refreshes them too: it checks names of bundles with them, and may lead at any moment.
        while True:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            await self._refresh_keys(leads=not self.manager.queue.is_paused)

    async def _refresh_keys(self, *, leads: bool) -> None:
        before = await self._key_refresher.try_refresh(leads=leads)
        if before is None:
            return
        try:
            await self.manager.on_keys_changed(
                check_pods=not before.has_same_fingerprint_keys(self._key_refresher.keys)
            )
        except ClusterError as error:
            # The next resync, at most minutes away, lists the same pods.
            logger.warning("the pods cannot be listed after a change of keys", extra=context(error=error))

    async def _lead(self) -> None:
        """Do what only the leader does, for as long as it leads."""
        # Another leader may have just created a key, and values may be sealed for it already.
        await self._refresh_keys(leads=True)
        await self.manager.lead()
        namespace = self._settings.cluster.namespace
        while True:
            self._key_refresher.changed.clear()
            keys = self._key_refresher.keys
            try:
                pause = await self._certificates.maintain(keys)
                certificate = SealingCertificate(keys.cluster_id, keys.ring.public())
                comparison = comparison_key(keys.fingerprint_key).public_key
                await publish_keys(self._cluster, namespace, certificate, comparison)
            except (ClusterError, KeyMaterialError) as error:
                pause = _RETRY_SECONDS
                logger.warning("the certificates cannot be maintained", extra=context(error=error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._key_refresher.changed.wait()


class _Health:
    """What the probes report."""

    def __init__(self, settings: ControllerSettings) -> None:
        self.controller: _Controller | None = None
        self._began = time.monotonic()
        self._most_stale = settings.cluster.resync_seconds * _STALE_RESYNCS

    def alive(self) -> Iterator[str]:
        """Yield what a restart may repair. Any answer shows that the event loop runs."""
        manager = self.controller.manager if self.controller is not None else None
        if manager is None or not manager.is_complete:
            if time.monotonic() - self._began > _START_SECONDS:
                yield "the inventory does not become complete"
            return
        if manager.informer.staleness() > self._most_stale:
            yield "the inventory has been stale for too long"
        if manager.queue.oldest_age() > _STUCK_SECONDS:
            yield "work has been waiting for too long"

    def ready(self) -> Iterator[str]:
        """Yield what is missing; a standby is as ready as a leader."""
        if self.controller is None:
            yield "the keys are not loaded"
        elif not self.controller.manager.is_complete:
            yield "the inventory is not complete"
        elif not self.controller.has_ca_bundle:
            yield "the webhooks have no CA bundle yet"


async def _load_keys(cluster: Cluster, namespace: str, stop: asyncio.Event) -> Keys | None:
    """Load the keys, with retries; return ``None`` if `stop` is set before that."""
    pause = 0.2
    while not stop.is_set():
        try:
            return await load_keys(cluster, namespace, utc_now)
        except ClusterError as error:
            logger.warning("the keys cannot be loaded", extra=context(error=error))
        try:
            async with asyncio.timeout(pause * (0.5 + random.random() / 2)):  # noqa: S311 - jitter is no secret
                await stop.wait()
        except TimeoutError:
            pause = min(pause * 2, _RETRY_SECONDS)
    return None
