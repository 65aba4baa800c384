"""The patch of a pod (DESIGN section 8): references and mounts, never a value.

Injection states what a pod must have and adds what is missing. Run again over its own result it adds nothing, and where
a pod has something of ours that is not what it should be, it refuses. That makes one function serve three callers: the
first pass of admission, a second pass after other webhooks, and the controller, which checks a stored pod with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection import report as provenance
from scoped_secrets.core.injection.containers import ContainerInjection, plan_container, target_containers
from scoped_secrets.core.injection.entries import collect_entries
from scoped_secrets.core.injection.fs_group import arrange_fs_group
from scoped_secrets.core.injection.json_patch import (
    PatchOperation,
    annotation_operations,
    container_operations,
    volume_operations,
)
from scoped_secrets.core.injection.layout import RESOLUTION_RESERVE, BundleLayout, lay_out_bundle, part_base
from scoped_secrets.core.injection.optional_entries import keys_referred_to
from scoped_secrets.core.injection.report import InjectionTrace
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["Injection", "existing_base", "inject"]


@dataclass(frozen=True, slots=True)
class Injection:
    """What injection comes to.

    Attributes:
        operations: JSON Patch operations (RFC 6902); empty for a pod that has everything.
        layout: The Secrets that the pod then needs.
        resolution: The text of ``resolution.json``.
        warnings: Sentences for the person who creates the pod.
    """

    operations: tuple[PatchOperation, ...]
    layout: BundleLayout
    resolution: str
    warnings: tuple[str, ...]


def existing_base(pod: Pod) -> str | None:
    """Return the name of the bundle that the pod already mounts, ``None`` for a pod that was not injected.

    Raises:
        DeniedError: The pod has a volume of our name that is not ours.
    """
    for volume in pod.volumes:
        if volume.name == names.VOLUME_NAME:
            base = part_base(volume.items[0].secret) if volume.items else None
            if base is None:
                raise DeniedError(
                    Reason.RESERVED_NAME,
                    f"volume '{names.VOLUME_NAME}' is reserved for the job's secrets; give your volume another name",
                )
            return base
    return None


def inject(pod: Pod, grant: Grant, base: str, default_home: str = names.DEFAULT_HOME) -> Injection:
    """Return what the pod lacks to get what was granted.

    Args:
        pod: The pod as it is.
        grant: What it gets.
        base: The common name of its bundle Secrets.
        default_home: The home directory of containers that do not tell theirs.

    Raises:
        DeniedError: The pod cannot get it as it is; the message names container or file, and the remedy.
    """
    bundle_entries = collect_entries(grant, keys_referred_to(pod, base))
    trace = InjectionTrace(bundle_entries.variables)
    injections = [
        plan_container(pod, container, grant, bundle_entries, base, default_home, trace)
        for container in target_containers(pod)
    ]
    layout = lay_out_bundle(base, _entries(injections))
    annotation, resolution = provenance.texts(grant, trace)
    if max(len(resolution.encode()), len(annotation.encode())) > RESOLUTION_RESERVE:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"the job's resolution takes more than {RESOLUTION_RESERVE} bytes; reference fewer bundles",
        )
    locations = layout.locations()
    operations: list[PatchOperation] = []
    for container in injections:
        operations += container_operations(container, locations)
    operations += volume_operations(pod, layout)
    operations += annotation_operations(pod, annotation)
    ownership, warnings = arrange_fs_group(pod, injections)
    return Injection((*operations, *ownership), layout, resolution, warnings)


def _entries(injections: Sequence[ContainerInjection]) -> Iterator[tuple[str, Contribution]]:
    for container in injections:
        for _, key, contribution in container.variables:
            yield key, contribution
        yield from container.files.values()
