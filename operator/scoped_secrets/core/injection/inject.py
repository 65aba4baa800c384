"""The patch of a pod (DESIGN section 8): references and mounts, never a value.

Injection computes what a pod needs and adds what is missing. Applied to its own result it adds nothing, and it denies a
pod whose references to a bundle differ from the resolution. So one function serves three callers: the first pass of
admission, a second pass after other webhooks, and the controller, which checks stored pods with it.
"""

from collections.abc import Iterable
from dataclasses import field

from scoped_secrets import names
from scoped_secrets.core.grant import Grant
from scoped_secrets.core.injection.containers import ContainerInjection, plan_container, target_containers
from scoped_secrets.core.injection.entries import collect_entries
from scoped_secrets.core.injection.file_modes import stated_user
from scoped_secrets.core.injection.job import Job
from scoped_secrets.core.injection.json_patch import (
    PatchOperation,
    annotation_operations,
    container_operations,
    volume_operations,
)
from scoped_secrets.core.injection.layout import RESOLUTION_RESERVE, BundleLayout, lay_out_bundle, part_base
from scoped_secrets.core.injection.optional_entries import referenced_data_keys
from scoped_secrets.core.injection.pod_warnings import PodWarning, pod_warnings
from scoped_secrets.core.injection.report import report_resolution
from scoped_secrets.core.pod import Pod
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["Injection", "existing_base", "inject"]


@dataclass(frozen=True, slots=True)
class Injection:
    """The result of injection.

    Attributes:
        operations: JSON patch operations (RFC 6902); empty for a pod that has everything.
        layout: The Secrets that the patched pod needs.
        resolution: The text of ``resolution.json``.
        warnings: What the author of the pod should know.
        exec_bound: An upper bound of what injected variables take in bytes in each container; ``None`` when the result
            depends on what the texts of a container say, beside the value of its variable `HOME`. Otherwise it is the
            same for other texts, as long as `is_below_limits` holds for each container.
    """

    operations: tuple[PatchOperation, ...]
    layout: BundleLayout
    resolution: str
    warnings: tuple[PodWarning, ...]
    exec_bound: int | None = field(default=None, compare=False)


def existing_base(pod: Pod) -> str | None:
    """Return the name of the bundle that the pod already mounts; ``None`` for a pod that is not injected.

    Raises:
        DeniedError: The pod has a volume with the reserved name that injection did not add.
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
        grant: What the pod gets.
        base: The common name of its bundle Secrets.
        default_home: The home directory of containers that do not declare one.

    Raises:
        DeniedError: The pod cannot get it; the message names the container or file, and the remedy.
    """
    bundle_entries = collect_entries(grant, referenced_data_keys(pod, base))
    job = Job(pod, grant, bundle_entries, base, default_home, stated_user(pod, grant.binding))
    injections = [plan_container(job, container) for container in target_containers(pod)]
    layout = lay_out_bundle(
        base,
        (
            entry
            for each in injections
            for entry in (
                *each.variables.values(),
                *(file.bundle_entry for file in each.files.placements.values()),
            )
        ),
        bundle_entries.memo,
    )
    report = report_resolution(grant, bundle_entries, injections)
    if max(len(report.document.encode()), len(report.annotation.encode())) > RESOLUTION_RESERVE:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"the job's resolution takes more than {RESOLUTION_RESERVE} bytes; reference fewer bundles",
        )
    locations = layout.locations()
    operations: list[PatchOperation] = []
    for injection in injections:
        operations += container_operations(injection, locations)
    operations += volume_operations(pod, layout, injections)
    operations += annotation_operations(pod, report.annotation)
    return Injection(
        tuple(operations), layout, report.document, tuple(pod_warnings(pod, injections)), _exec_bound(injections)
    )


def _exec_bound(injections: Iterable[ContainerInjection]) -> int | None:
    largest = 0
    for each in injections:
        if each.exec_bound is None:
            return None
        largest = max(largest, each.exec_bound)
    return largest
