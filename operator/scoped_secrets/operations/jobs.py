"""The pods that are asked about: of a file, or described by a few facts."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from scoped_secrets import names
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.decide import DecisionSettings, Denied, Granted, decide
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.core.pod_template import pod_of_template, template_of, template_path
from scoped_secrets.core.reserved_secrets import refuse_foreign_bundles
from scoped_secrets.errors import ConfigurationError, DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from scoped_secrets.operations.manifests import Document

__all__ = ["BASE", "JobDescription", "JobPod", "Question", "described_pod", "judge", "pods_of"]

BASE: Final = f"{names.BUNDLE_PREFIX}rendered"
"""The common name of the bundle Secrets of a pod that is not created; admission makes a name that is bound to it."""

_CONTAINER: Final = "job"


@dataclass(frozen=True, slots=True)
class Question:
    """What a decision depends on beside the pod and the state of the cluster.

    Attributes:
        now: The present time, with its zone.
        settings: The operator's settings.
        record: What admission would vouch for: creator, ref and event.
    """

    now: datetime
    settings: DecisionSettings = field(default_factory=DecisionSettings)
    record: AdmissionRecord = field(default_factory=AdmissionRecord)


@dataclass(frozen=True, slots=True)
class JobPod:
    """A pod that does not exist yet.

    Attributes:
        body: The pod as it would be created.
        origin: What it comes from, such as `pods/web.yaml Job 'deploy'`.
    """

    body: Mapping[str, Any] = field(repr=False)
    namespace: str
    origin: str

    @property
    def wants_injection(self) -> bool:
        """Tell whether the pod opts in."""
        labels = (self.body.get("metadata") or {}).get("labels")
        return isinstance(labels, Mapping) and labels.get(names.INJECT_LABEL) == names.INJECT_VALUE


@dataclass(frozen=True, slots=True)
class JobDescription:
    """A job by the facts that decide: its place, what it asks for, and what the cluster vouches for.

    Attributes:
        secrets: The text of the annotation that names bundles.
        namespace: Its namespace; by default the one that organization, project and environment lead to.
    """

    secrets: str = ""
    namespace: str | None = None
    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    service_account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def pods_of(document: "Document", namespace: str | None) -> Iterator[JobPod]:
    """Yield the pod of a Pod or of a workload with a pod template; nothing for another kind.

    Raises:
        ConfigurationError: No namespace is known for it.
    """
    metadata = document.metadata
    if document.kind == "Pod":
        body = dict(document.body)
    else:
        template = template_of(document.body, template_path(document.kind))
        if template is None or not isinstance(template.get("spec"), Mapping):
            return
        body = {"apiVersion": "v1", "kind": "Pod", **pod_of_template(template, document.name)}
    home = metadata.get("namespace") or namespace
    origin = f"{document.path} {document.kind} '{document.name or metadata.get('generateName') or ''}'"
    if not isinstance(home, str):
        raise ConfigurationError(f"{origin} must have a `metadata.namespace`; write it, or give --namespace")
    yield JobPod(body, home, origin)


def described_pod(job: JobDescription, inventory: Inventory) -> JobPod:
    """Return a pod with one container for a job.

    Raises:
        ConfigurationError: No namespace, or more than one, is the job's.
    """
    namespace, environment = _place(job, inventory)
    annotations = {names.SECRETS_ANNOTATION: job.secrets, **job.annotations}
    if environment is not None:
        annotations[names.ENVIRONMENT_ANNOTATION] = environment
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "job",
            "namespace": namespace,
            "labels": {**job.labels, names.INJECT_LABEL: names.INJECT_VALUE},
            "annotations": annotations,
        },
        "spec": {"serviceAccountName": job.service_account, "containers": [{"name": _CONTAINER, "image": "job"}]},
    }
    return JobPod(body, namespace, "the job")


def judge(job: JobPod, snapshot: ClusterSnapshot, question: Question) -> tuple[Pod | None, Granted | Denied]:
    """Return the decision that admission makes when the pod is created, with the pod as far as it can be read."""
    try:
        pod = dataclasses.replace(parse_pod(job.body, job.namespace), record=question.record)
        base = existing_base(pod)
        refuse_foreign_bundles(job.body, None)
    except DeniedError as denial:
        return None, Denied(denial.reason, denial.message)
    if base is not None:
        return None, Denied(
            Reason.RESERVED_NAME,
            f"volume '{names.VOLUME_NAME}' names a bundle that was not made for this pod; remove the volume and "
            "everything else that was injected into the pod that it was copied from",
        )
    return pod, decide(pod, snapshot, BASE, question.settings, question.now)


def _place(job: JobDescription, inventory: Inventory) -> tuple[str, str | None]:
    """Return the namespace of a job, and the environment that its pod has to ask for there.

    An environment with namespaces of its own runs its jobs there. Otherwise the job asks for the environment in a
    namespace of its project.
    """
    if job.namespace is not None:
        binding = inventory.binding(job.namespace)
        own = None if binding is None else binding.environment
        return job.namespace, job.environment if job.environment != own else None
    bindings = [
        binding
        for binding in inventory.bindings()
        if job.organization in (None, binding.organization) and binding.project == job.project
    ]
    for environment in dict.fromkeys((job.environment, None)):
        found = sorted(binding.namespace for binding in bindings if binding.environment == environment)
        if len(found) > 1:
            raise ConfigurationError(
                f"the job can run in several namespaces ({', '.join(found[:5])}); name one with `namespace`"
            )
        if found:
            return found[0], job.environment if environment is None else None
    where = "project" if job.project is not None else "organization"
    raise ConfigurationError(f"no namespace of the job's {where} is known; check the name, or name the namespace")
