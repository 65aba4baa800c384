"""Render: the pods of some files as admission would inject them, from definitions in files."""

from dataclasses import dataclass, field

from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.injection.scheduling_gate import add_gate
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.definitions import PlainSource, SealedSource, SecretKeySource
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError
from scoped_secrets.operations.jobs import JobPod, Question, judge, pods_of
from scoped_secrets.operations.manifests import Manifests
from scoped_secrets.operations.offline_cluster import OfflineCluster

__all__ = ["RenderedPod", "RenderedSecret", "RenderedValue", "render_pods"]


@dataclass(frozen=True, slots=True)
class RenderedValue:
    """One value of a bundle Secret.

    Attributes:
        key: The key of the Secret's data.
        bundle: The bundle.
        entry: The variable or file.
        definition: The definition that it comes from, as `namespace/name`.
        size: The upper bound of its size in bytes, as admission counts it.
        origin: `file` when the files have the value, else `sealed` or `valueFrom`.
        value: The value; ``None`` unless the files have it and it was asked for.
    """

    key: str
    bundle: str
    entry: EntryKey
    definition: str
    size: int
    origin: str
    value: SecretValue | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RenderedSecret:
    """One bundle Secret."""

    name: str
    values: tuple[RenderedValue, ...]


@dataclass(frozen=True, slots=True)
class RenderedPod:
    """One pod, and what admission makes of it.

    Attributes:
        job: The pod as it would be created.
        decision: What admission decides; ``None`` for a pod that does not opt in, which stays as it is.
        operations: The JSON Patch of admission.
        secrets: The Secrets that the controller creates for it.
    """

    job: JobPod
    decision: Granted | Denied | None
    operations: tuple[PatchOperation, ...] = ()
    secrets: tuple[RenderedSecret, ...] = ()


def render_pods(
    pods: Manifests,
    cluster: OfflineCluster,
    question: Question,
    namespace: str | None = None,
    *,
    gate: bool = False,
    reveal: bool = False,
) -> tuple[RenderedPod, ...]:
    """Return what admission makes of every pod, and of the pods of every workload.

    Args:
        pods: The files of the pods and workloads.
        cluster: The definitions, policies and namespaces.
        question: The time, the settings and the record.
        namespace: The namespace of pods that name none.
        gate: Whether admission adds the scheduling gate.
        reveal: Whether to return the values that the files have.

    Raises:
        ConfigurationError: A file cannot be read, or there is no pod.
    """
    pods.require_readable()
    jobs = [job for document in pods.documents for job in pods_of(document, namespace)]
    if not jobs:
        raise ConfigurationError("the files of --pod must have a Pod, or a workload with a pod template")
    return tuple(_render(job, cluster, question, gate=gate, reveal=reveal) for job in jobs)


def _render(job: JobPod, cluster: OfflineCluster, question: Question, *, gate: bool, reveal: bool) -> RenderedPod:
    if not job.wants_injection:
        return RenderedPod(job, None)
    pod, decision = judge(job, cluster.inventory, question)
    if pod is None or isinstance(decision, Denied):
        return RenderedPod(job, decision)
    operations = _operations(pod, decision, gate=gate)
    secrets = tuple(
        RenderedSecret(part.name, tuple(_value(entry, cluster, reveal=reveal) for entry in part.entries))
        for part in decision.injection.layout.parts
    )
    return RenderedPod(job, decision, operations, secrets)


def _operations(pod: Pod, decision: Granted, *, gate: bool) -> tuple[PatchOperation, ...]:
    return (*decision.injection.operations, *(add_gate(pod) if gate else ()))


def _value(entry: BundleEntry, cluster: OfflineCluster, *, reveal: bool) -> RenderedValue:
    resolved = entry.resolved
    location = resolved.definition.location
    plain = _plaintext(cluster.models[location], resolved.entry.key)
    match resolved.entry.source:
        case SecretKeySource():
            origin = "valueFrom"
        case PlainSource() | SealedSource():
            origin = "sealed" if plain is None else "file"
    return RenderedValue(
        entry.data_key,
        entry.bundle,
        resolved.entry.key,
        location,
        resolved.entry.source.size,
        origin,
        plain if reveal else None,
    )


def _plaintext(model: ScopedSecret, key: EntryKey) -> SecretValue | None:
    """Return the value of an entry, if the file has it in plain text."""
    plain = next((entry.plaintext() for entry in model.entries if entry.key == key), None)
    return None if plain is None else SecretValue(plain)
