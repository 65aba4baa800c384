"""The admission process as a whole: watches keep the inventory up to date, from which reviews are answered."""

import asyncio
import gc
import logging
from typing import Final

from scoped_secrets.admission.service import AdmissionService
from scoped_secrets.config import AdmissionSettings
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.watches import WatchSupervisor
from scoped_secrets.logs import context
from scoped_secrets.process import guard_process

__all__ = ["run_admission"]

_logger = logging.getLogger(__name__)

_STOP_SECONDS: Final = 5.0
_OBJECTS_BETWEEN_COLLECTIONS: Final = 20_000


async def run_admission(settings: AdmissionSettings, stop: asyncio.Event) -> None:
    """Serve until told to stop.

    The running event loop owns the inventory and answers the reviews; the watches have a thread of their own.

    Raises:
        ConfigurationError: A port cannot be opened, or there are no credentials.
    """
    guard_process(asyncio.get_running_loop())
    async with await Cluster.connect(settings.cluster.kubeconfig) as cluster:
        service = AdmissionService(settings, cluster)
        supervisor = WatchSupervisor(
            service.informer.watch_handlers(),
            _Repair(service),
            kubeconfig=settings.cluster.kubeconfig,
            resync_seconds=settings.cluster.resync_seconds,
        )
        await service.start()
        _logger.info(
            "admission process started",
            extra=context(probe_port=service.probe_port, metrics_port=service.metrics_port),
        )
        served = asyncio.Event()
        parts = {
            asyncio.create_task(supervisor.run(served), name="watches"),
            asyncio.create_task(service.ended(), name="service"),
        }
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({*parts, stopping}, return_when=asyncio.FIRST_COMPLETED)
            failures = [task.exception() for task in parts if task.done()]
        finally:
            # The watches continue meanwhile, so that the last reviews are decided from the newest definitions.
            await service.stop()
            served.set()
            await asyncio.wait(parts, timeout=_STOP_SECONDS)
            for task in (*parts, stopping):
                task.cancel()
            await asyncio.gather(*parts, stopping, return_exceptions=True)
    for failure in failures:
        if failure is not None:
            raise failure


class _Repair:
    """Lists everything; after the first time, excludes the inventory from garbage collection.

    A collection stops the process while it visits every object: with 10,000 definitions for a third of a second, in
    which no review is answered. Later, few reviews meet a collection: one makes some thousand objects, of which next to
    none is left.
    """

    def __init__(self, service: AdmissionService) -> None:
        self._service = service
        self._is_frozen = False

    async def __call__(self) -> None:
        await self._service.repair()
        if not self._is_frozen:
            self._is_frozen = True
            gc.collect()
            gc.freeze()
            gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
