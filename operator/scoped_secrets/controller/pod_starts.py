"""Reconciles the events of pods whose containers cannot start (DESIGN section 9)."""

from collections.abc import Iterator

from scoped_secrets.controller.bundle_events import pod_reference
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.reconciler import Pending, Reconciler
from scoped_secrets.controller.workqueue.queue import Done, Outcome
from scoped_secrets.names import Reason

__all__ = ["PodStartReconciler"]


class PodStartReconciler(Reconciler):
    """Records an event for each container with secrets that cannot start; a key is a pod's UID."""

    kind = "PodStart"

    async def reconcile(self, key: str) -> Outcome:
        """Record the events of one pod; the recorder skips those that it has recorded."""
        record = self._context.pods.get(key)
        if record is not None:
            for message in record.start_failures:
                await self._context.recorder.warn(pod_reference(record), Reason.CONTAINER_NOT_STARTED, message)
        return Done()

    def pending(self) -> Iterator[Pending | None]:
        """Yield the pods with a container that cannot start."""
        for record in list(self._context.pods.present()):
            yield Pending(record.uid) if record.start_failures else None

    def on_pod(self, record: PodRecord) -> tuple[Pending, ...]:
        """Return the pod, if a container of it cannot start."""
        return (Pending(record.uid),) if record.start_failures else ()

    def describe(self, key: str) -> str:
        """Return the pod's ``namespace/name``, its UID when the pod is not known any more."""
        record = self._context.pods.get(key)
        return key if record is None else record.location
