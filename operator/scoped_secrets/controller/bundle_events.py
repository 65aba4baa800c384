"""Events about pods and their bundles; each one is recorded once."""

from scoped_secrets import names
from scoped_secrets.controller.bundle_progress import ProgressTracker
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.reconciler import ReconcilerContext
from scoped_secrets.controller.unsealing import UnsealError
from scoped_secrets.core.audit import describe_decision
from scoped_secrets.core.decide import Denied
from scoped_secrets.core.injection.pod_warnings import PodWarning
from scoped_secrets.names import Reason

__all__ = ["BundleEvents", "pod_reference"]


class BundleEvents:
    """Records events about pods, and counts refusals."""

    def __init__(self, context: ReconcilerContext, progress: ProgressTracker) -> None:
        """Take what reconcilers share, and what remembers the recorded events."""
        self._context = context
        self._progress = progress

    def is_reported(self, record: PodRecord, reason: Reason, message: str) -> bool:
        """Tell whether an event about a pod was recorded before."""
        return (reason, message) in self._progress.peek(record.uid).reported

    async def warn(self, record: PodRecord, reason: Reason, message: str, denied: Denied | None = None) -> None:
        """Record and count that a pod does not get its bundle."""
        if self._is_new(record, reason, message):
            self._context.metrics.count_refusal(reason)
            if self._context.audit.wants(is_denial=True):
                pod = {"namespace": record.namespace, "name": record.name, "uid": record.uid}
                fields = {} if denied is None else describe_decision(denied)
                said = {"reason": reason.value, "message": message}
                self._context.audit.write("Bundle", is_denial=True, pod=pod, **{**said, **fields})
            await self._context.recorder.warn(pod_reference(record), reason, message)

    async def warn_not_unsealed(self, record: PodRecord, error: UnsealError) -> None:
        """Record at the pod and at the definition that a value cannot be unsealed."""
        definition = error.resolved.definition
        sentence = f"{error.resolved.entry.key} cannot be unsealed; store the value again"
        where = f"bundle '{definition.secret_name}', definition '{definition.location}'"
        await self.warn(record, error.reason, f"{where}: {sentence}")
        about = _reference(names.SCOPED_SECRET_KIND, names.API_VERSION, definition.namespace, definition.name)
        await self._context.recorder.warn(about | {"uid": definition.uid}, error.reason, sentence)

    async def advise(self, record: PodRecord, warning: PodWarning) -> None:
        """Record what the author of a pod should know although the pod gets its bundle."""
        if self._is_new(record, warning.reason, warning.message):
            await self._context.recorder.advise(pod_reference(record), warning.reason, warning.message)

    async def inform(self, record: PodRecord, reason: Reason, message: str) -> None:
        """Record something about a pod that is no failure."""
        if self._is_new(record, reason, message):
            await self._context.recorder.normal(pod_reference(record), reason, message)

    def _is_new(self, record: PodRecord, reason: Reason, message: str) -> bool:
        reported = self._progress.track(record.uid).reported
        is_new = (reason, message) not in reported
        reported.add((reason, message))
        return is_new


def pod_reference(record: PodRecord) -> dict[str, str]:
    """Return the `involvedObject` of events about a pod."""
    return _reference("Pod", "v1", record.namespace, record.name) | {"uid": record.uid}


def _reference(kind: str, api_version: str, namespace: str, name: str) -> dict[str, str]:
    return {"kind": kind, "apiVersion": api_version, "namespace": namespace, "name": name}
