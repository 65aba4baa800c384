"""What names a bundle and has to be changed by a person when the bundle gets another name.

Three kinds of objects name bundles: the pod templates of workloads, namespaces, whose annotation names bundles for all
of their pods, and SecretPolicies. Pods that run keep what they have: see `operations.usage`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scoped_secrets import names
from scoped_secrets.core.pod_template import pod_of_template, template_of, template_path
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.resolution.references import parse_references
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath, Slot
from scoped_secrets.errors import DeniedError, ForbiddenError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.pipelining import gather
from scoped_secrets.operations.locate import Located, slot_of

if TYPE_CHECKING:
    from scoped_secrets.core.pod import Pod

__all__ = ["Mentions", "read_mentions"]

_KINDS: Final = ("CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet")
_ENDED: Final = frozenset({"Complete", "Failed"})


@dataclass(frozen=True, slots=True)
class Mentions:
    """The objects that name a bundle; each has to be changed by a person.

    Attributes:
        workloads: Workloads whose pod template opts in and names the bundle, such as `CronJob web/nightly`.
        namespaces: Namespaces whose annotation names the bundle for all of their pods.
        policies: Policies that govern the definition by its present name and not by the new one, as `namespace/name`.
        unread: What could not be read, as parts of sentences.
    """

    workloads: tuple[str, ...]
    namespaces: tuple[str, ...]
    policies: tuple[str, ...]
    unread: tuple[str, ...]


async def read_mentions(cluster: Cluster, located: Located, new_name: str) -> Mentions:
    """Return what names the bundle of a definition, as far as the person may read it.

    Jobs that have ended and Jobs of CronJobs are left out: no person changes them.

    Args:
        cluster: The client.
        located: The definition, with the policies around it.
        new_name: The name that the bundle gets.

    Raises:
        ClusterError: A request failed for another reason than missing rights.
    """
    place = _Place.of(located)
    read = await gather(*(_workloads(cluster, kind, place) for kind in _KINDS))
    return Mentions(
        workloads=tuple(sorted(name for found, _ in read for name in found)),
        namespaces=tuple(
            binding.namespace
            for binding in located.view.bindings
            if place.concerns(binding.namespace) and _lists(binding.secrets, place.bundle)
        ),
        policies=tuple(_policies(located, new_name)),
        unread=tuple(sorted({phrase for _, unread in read for phrase in unread})),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where jobs can get a definition."""

    located: Located
    bundle: str
    slot: Slot | None

    @classmethod
    def of(cls, located: Located) -> "_Place":
        return cls(located, located.secret_name, slot_of(located.location, located.view.inventory))

    @property
    def knows_all_labels(self) -> bool:
        """Tell whether the labels of all namespaces are known: otherwise, those of one at most."""
        return len(self.located.view.namespaces) > 1

    @property
    def namespaces(self) -> Sequence[str]:
        """Return the namespaces whose jobs can get it, as far as their labels are known; its own is always one."""
        known = (binding.namespace for binding in self.located.view.bindings if self.concerns(binding.namespace))
        return sorted({self.located.namespace, *known})

    def concerns(self, namespace: str) -> bool:
        """Tell whether jobs of a namespace can get it; a namespace whose labels are not known counts."""
        if self.slot is None or namespace not in self.located.view.namespaces:
            return True
        binding = self.located.view.binding(namespace)
        return binding is not None and _can_get(self.slot, binding)


def _can_get(slot: Slot, binding: Binding) -> bool:
    """Tell whether a job of a namespace can get the definition of a slot; it may state an environment itself."""
    environment = binding.environment or slot.environment
    return slot.applies_to(ScopePath(binding.organization, binding.project, environment))


async def _workloads(cluster: Cluster, kind: str, place: _Place) -> tuple[list[str], list[str]]:
    """Return the workloads of a kind that name the bundle, and what could not be read."""
    found: list[Body] = []
    unread: list[str] = []
    try:
        found = await cluster.list_all(paths.workloads(kind))
    except ForbiddenError:
        if not place.knows_all_labels:
            unread.append(f"the {kind}s of other namespaces")
        for namespace in place.namespaces:
            try:
                found += await cluster.list_all(paths.workloads(kind, namespace))
            except ForbiddenError:
                unread.append(f"the {kind}s of namespace '{namespace}'")
    return [_name(kind, body) for body in found if _names_bundle(kind, body, place)], unread


def _name(kind: str, body: Body) -> str:
    metadata = body["metadata"]
    return f"{kind} {metadata['namespace']}/{metadata['name']}"


def _names_bundle(kind: str, body: Body, place: _Place) -> bool:
    metadata = body["metadata"]
    template = template_of(body, template_path(kind))
    if template is None or not place.concerns(metadata["namespace"]) or _is_over(body):
        return False
    # Imported here: without a workload, nothing needs the models of pods.
    from scoped_secrets.core.pod import parse_pod  # noqa: PLC0415

    try:
        pod = parse_pod(pod_of_template(template, metadata["name"]), metadata["namespace"])
    except DeniedError:
        # Admission denies its pods, under any name.
        return False
    return pod.wants_injection and (
        _lists(pod.annotations.get(names.SECRETS_ANNOTATION, ""), place.bundle) or _has_expression(pod, place.bundle)
    )


def _is_over(body: Body) -> bool:
    """Tell whether a workload starts no pod of its own any more, or another one that is listed made it."""
    conditions: Sequence[Any] = (body.get("status") or {}).get("conditions") or ()
    owners: Sequence[Any] = body["metadata"].get("ownerReferences") or ()
    return any(each["kind"] == "CronJob" for each in owners) or any(
        each["type"] in _ENDED and each["status"] == "True" for each in conditions
    )


def _lists(text: str, bundle: str) -> bool:
    """Tell whether a list of references names a bundle; one that is malformed denies the job, and names none."""
    try:
        return any(each.name == bundle for each in parse_references(text, field=names.SECRETS_ANNOTATION))
    except DeniedError:
        return False


def _has_expression(pod: "Pod", bundle: str) -> bool:
    # Imported here, as above.
    from scoped_secrets.core.injection.expressions import find_expressions  # noqa: PLC0415

    for container in pod.containers:
        for pointer, text in container.texts_with(names.EXPRESSION_MARK):
            try:
                if any(each.bundle == bundle for each in find_expressions(text, field=pointer)):
                    return True
            except DeniedError:
                continue
    return False


def _policies(located: Located, new_name: str) -> Iterator[str]:
    from scoped_secrets.core.policy.claims import matches_any  # noqa: PLC0415 - as above.
    from scoped_secrets.operations.effects import governing  # noqa: PLC0415 - as above.

    inventory = located.view.inventory
    entry = inventory.get(located.location)
    if isinstance(entry, SlottedDefinition):
        for policy in governing(entry, inventory):
            if not matches_any(policy.secret_names, new_name):
                yield policy.location
