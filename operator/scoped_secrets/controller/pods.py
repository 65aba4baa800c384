"""The inventory of pods that opted in, kept small.

Most pods are finished and their bundle is deleted: the inventory keeps a few names of them. It keeps the whole pod only
while the pod waits for its bundle. Watch events and lists update the inventory; both may repeat a state or deliver it
late, so an older resourceVersion of a pod never overwrites a newer one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.controller.start_failures import start_failures
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.injection.scheduling_gate import is_gated
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.errors import DeniedError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster

__all__ = ["DELETED_POD_SECONDS", "POD_SELECTOR", "InjectionState", "PodRecord", "Pods", "list_pods"]

POD_SELECTOR: Final = names.INJECT_LABEL
"""The label selector of pods with the opt-in label, whatever its value: the controller reads no other pod."""

DELETED_POD_SECONDS: Final = 600.0
"""How long a deleted pod is kept whose bundle is not deleted yet: longer than a change of leaders takes."""


class InjectionState(Enum):
    """What admission left in a pod."""

    INJECTED = auto()
    """The operator's volume, with a name that was made for this pod."""
    FOREIGN = auto()
    """A volume like the operator's, with a name that was not made for this pod."""
    NONE = auto()
    """No volume of the operator."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One pod that opted in.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its identity.
        created: Its creation time as RFC 3339 in UTC.
        version: The number of its resourceVersion.
        injection: What admission left in it.
        base: The common name of its bundle Secrets; empty unless it is injected.
        parts: The names of the bundle Secrets that it refers to.
        is_finished: Whether no container will run any more.
        is_deleting: Whether it has a deletion timestamp.
        has_started: Whether a container has run, so that its bundle existed.
        first_seen: When this process saw it first, in seconds of a monotonic clock.
        is_mislabeled: Whether the value of its opt-in label means neither yes nor no.
        start_failures: A message for each container with something of the operator that cannot start.
        pod: What decisions need, while the pod waits for its bundle.
        gates: Its scheduling gates, if the bundle's is among them; otherwise none.
        admitted: What admission vouched for about the pod, if its bundle's name confirmed it.
    """

    namespace: str
    name: str
    uid: str
    created: str
    version: int
    injection: InjectionState
    base: str
    parts: tuple[str, ...]
    is_finished: bool
    is_deleting: bool
    has_started: bool
    first_seen: float
    is_mislabeled: bool
    start_failures: tuple[str, ...]
    pod: Pod | None
    gates: tuple[str, ...]
    admitted: AdmissionRecord

    @property
    def location(self) -> str:
        """Return ``namespace/name``, for messages."""
        return f"{self.namespace}/{self.name}"

    @property
    def creation_order(self) -> tuple[str, str]:
        """Return the sort key among pods with the same base: the first one owns the bundle."""
        return self.created, self.uid

    @property
    def needs_bundle(self) -> bool:
        """Tell whether the pod waits for its bundle."""
        return not (self.is_finished or self.is_deleting or self.has_started)


class Pods:
    """The pods that opted in, and the deleted ones whose bundle may still exist.

    Attributes:
        list_version: The resourceVersion of the last complete list, empty before it.
    """

    def __init__(self, is_genuine: Callable[[str, str, str], bool]) -> None:
        """Begin empty.

        Args:
            is_genuine: Tells for a namespace, a pod's identity and a base whether the base was made for the pod.
        """
        self.list_version = ""
        self._is_genuine = is_genuine
        self._present: dict[str, PodRecord] = {}
        self._deleted: dict[str, tuple[PodRecord, float]] = {}
        self._by_base: dict[tuple[str, str], set[str]] = {}

    def __len__(self) -> int:
        """Return the number of pods that exist."""
        return len(self._present)

    def present(self) -> Iterator[PodRecord]:
        """Yield the pods that exist."""
        yield from self._present.values()

    def deleted(self) -> Iterator[PodRecord]:
        """Yield the deleted pods whose bundle may still exist."""
        return (record for record, _ in self._deleted.values())

    def get(self, uid: str) -> PodRecord | None:
        """Return a pod that exists."""
        return self._present.get(uid)

    def get_deleted(self, uid: str) -> PodRecord | None:
        """Return a deleted pod whose bundle may still exist."""
        found = self._deleted.get(uid)
        return None if found is None else found[0]

    def owner(self, record: PodRecord, has_bundle: Callable[[str], bool]) -> PodRecord:
        """Return the one pod, existing or deleted, that owns the bundle of a base.

        It is the pod that has the bundle already, otherwise the oldest one. Creation times are whole seconds: of two
        pods of the same second, the one with the greater UID may already have the bundle.

        Args:
            record: A pod with the base.
            has_bundle: Tells for a UID whether the bundle was created for that pod, or is just being created.
        """
        uids = self._by_base.get((record.namespace, record.base), ())
        found = (self._present.get(uid) or self.get_deleted(uid) for uid in uids)
        sharing = (record, *(other for other in found if other is not None))
        return min(sharing, key=lambda other: (not has_bundle(other.uid), other.creation_order))

    def put(self, body: Mapping[str, Any], now: float) -> PodRecord | None:
        """Record a pod's present state, and return its record if it is newer than the known one.

        A body that is not a valid pod, or that does not opt in, is ignored. A known pod stays known: what was decided
        at its admission does not depend on labels afterwards.
        """
        uid, version = _identity(body)
        known = self._present.get(uid) or self.get_deleted(uid)
        if not uid or (known is not None and version <= known.version):
            return None
        try:
            pod = parse_pod(body)
        except DeniedError:
            return None
        if known is None and not (pod.wants_injection or pod.is_mislabeled):
            return None
        record = self._record(pod, body, version, now, known)
        self._deleted.pop(uid, None)
        self._present[uid] = record
        if record.base:
            self._by_base.setdefault((record.namespace, record.base), set()).add(uid)
        return record

    def remove(self, uid: str, version: int, now: float) -> PodRecord | None:
        """Record a deletion, and return the pod's record if the deletion is new."""
        record = self._present.get(uid)
        if record is None or version < record.version:
            return None
        del self._present[uid]
        # A pod without a bundle leaves nothing to delete.
        if record.base:
            self._deleted[uid] = record, now
        return record

    def restore(self, body: Mapping[str, Any], now: float) -> None:
        """Record that a pod exists of which the watch has reported the deletion, because it lost its label."""
        self.put(body, now)
        uid, _ = _identity(body)
        found = self._deleted.pop(uid, None)
        if found is not None:
            self._present[uid] = found[0]

    def apply(self, event_type: str | None, body: Mapping[str, Any], now: float) -> PodRecord | None:
        """Apply one watch event, and return the pod's record if the event is new."""
        if event_type == "DELETED":
            return self.remove(*_identity(body), now)
        return self.put(body, now)

    def keep_only(self, uids: Iterable[str], before: set[str], version: int, now: float) -> list[PodRecord]:
        """Record the deletion of all pods that a complete list lacks, and return their records.

        Args:
            uids: The pods of the list.
            before: The pods that were known when the list began; newer ones may be missing from it.
            version: The list's resourceVersion; a pod with a later one is kept.
            now: The present time.
        """
        listed = set(uids)
        removed = (self.remove(uid, version, now) for uid in sorted(before - listed))
        return [record for record in removed if record is not None]

    def invalidate(self) -> None:
        """Have the next list check the foreign pods again, because the fingerprint keys have changed."""
        for uid, record in self._present.items():
            if record.injection is InjectionState.FOREIGN:
                self._present[uid] = replace(record, version=0)

    def known(self) -> set[str]:
        """Return the UIDs of the pods that exist."""
        return set(self._present)

    def forget(self, uid: str) -> None:
        """Forget a deleted pod, because its bundle is deleted."""
        found = self._deleted.pop(uid, None)
        if found is not None:
            self._forget_base(found[0])

    def forget_old(self, now: float) -> None:
        """Forget the pods that were deleted long ago: the garbage collector deletes their bundles."""
        for uid in [uid for uid, (_, since) in self._deleted.items() if since < now - DELETED_POD_SECONDS]:
            self.forget(uid)

    def _record(
        self, pod: Pod, body: Mapping[str, Any], version: int, now: float, known: PodRecord | None
    ) -> PodRecord:
        if known is not None and known.injection is InjectionState.INJECTED:
            # The spec cannot change, but the annotation with the record can.
            pod = replace(pod, record=known.admitted)
            injection: InjectionState = known.injection
            base = known.base
        else:
            injection, base = self._injection_state(pod)
        has_started = pod.phase == "Running" or _has_started(body)
        waits = not (pod.is_finished or pod.is_deleting or has_started)
        return PodRecord(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            created=body["metadata"].get("creationTimestamp") or "",
            version=version,
            injection=injection,
            base=base,
            parts=_parts(pod, base) if base else (),
            is_finished=pod.is_finished,
            is_deleting=pod.is_deleting,
            has_started=has_started,
            first_seen=now if known is None else known.first_seen,
            is_mislabeled=pod.is_mislabeled,
            start_failures=start_failures(pod, body, base) if base else (),
            pod=pod if waits and base else None,
            gates=pod.gates if base and is_gated(pod.gates) else (),
            admitted=pod.record if base else AdmissionRecord(),
        )

    def _injection_state(self, pod: Pod) -> tuple[InjectionState, str]:
        try:
            base = existing_base(pod)
        except DeniedError:
            return InjectionState.FOREIGN, ""
        if base is None:
            return InjectionState.NONE, ""
        if not self._is_genuine(pod.namespace, pod.identity, base):
            return InjectionState.FOREIGN, ""
        return InjectionState.INJECTED, base

    def _forget_base(self, record: PodRecord) -> None:
        key = record.namespace, record.base
        uids = self._by_base.get(key, set())
        uids.discard(record.uid)
        if not uids:
            self._by_base.pop(key, None)


async def list_pods(cluster: Cluster, pods: Pods, clock: Callable[[], float]) -> None:
    """List all pods that opted in, update the inventory, and record the deletion of those that the list lacks.

    Raises:
        ClusterError: The pods could not be listed; the inventory stays as it is.
    """
    before = pods.known()
    listed: set[str] = set()
    version = ""
    async for page in cluster.pages(paths.pods(), label_selector=POD_SELECTOR):
        if page.starts_list:
            listed.clear()
            version = page.resource_version
        for body in page.items:
            listed.add(_identity(body)[0])
            pods.put(body, clock())
    pods.keep_only(listed, before, int(version) if version.isdecimal() else 0, clock())
    pods.list_version = version


def _identity(body: Mapping[str, Any]) -> tuple[str, int]:
    """Return UID and resourceVersion: a number from etcd, which is greater for later states of one resource."""
    metadata = body.get("metadata") or {}
    version = str(metadata.get("resourceVersion") or "")
    return str(metadata.get("uid") or ""), int(version) if version.isdecimal() else 0


def _has_started(body: Mapping[str, Any]) -> bool:
    """Tell whether any container runs or has run: the kubelet mounts all volumes before it starts a container."""
    status = body.get("status") or {}
    return any(
        "running" in state or "terminated" in state
        for field in ("initContainerStatuses", "containerStatuses")
        for container in status.get(field) or ()
        for state in (container.get("state") or {}, container.get("lastState") or {})
    )


def _parts(pod: Pod, base: str) -> tuple[str, ...]:
    """Return the bundle Secrets that a pod refers to, by its volume or by variables, in the order of their numbers."""
    volumes = (item.secret for volume in pod.volumes if volume.name == names.VOLUME_NAME for item in volume.items or ())
    variables = (variable.secret for container in pod.containers for variable in container.env if variable.secret)
    parts = [secret for secret in {*volumes, *variables} if part_base(secret) == base]
    return tuple(sorted(parts, key=lambda part: int(part.rpartition("-")[2])))
