"""The JSON Patch (RFC 6902) that adds to a pod what it lacks; it never replaces a list."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from scoped_secrets import names
from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.expressions import rewrite
from scoped_secrets.core.injection.layout import BundleLayout
from scoped_secrets.core.pod import Mount, Pod, SecretItem, Variable, Volume
from scoped_secrets.core.resolution.definitions import FileEntry
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["PatchOperation", "annotation_operations", "container_operations", "volume_operations"]

_FILES_FOLDER = "files"
_ANYBODY = 0o444

PatchOperation: TypeAlias = dict[str, object]


def container_operations(injection: ContainerInjection, locations: Mapping[str, str]) -> Iterator[PatchOperation]:
    """Yield what adds a container's variables and mounts and expands its expressions.

    Raises:
        DeniedError: The container refers to the bundle in a way that it should not.
    """
    container = injection.container
    for pointer, text in injection.texts:
        yield {"op": "replace", "path": pointer, "value": rewrite(text, injection.expressions)}
    variables = [Variable(name, secret=locations[key], key=key) for name, key, _ in injection.variables]
    _refuse_unexpected(injection.present, variables, f"variables of container '{container.name}'")
    present = set(injection.present)
    missing = [variable for variable in variables if variable not in present]
    yield from _add_all(
        f"{container.pointer}/env", container.has_env, [_variable_body(variable) for variable in missing], front=True
    )
    mounts = [Mount(names.VOLUME_NAME, names.MOUNT_PATH, read_only=True)]
    mounts += (
        Mount(names.VOLUME_NAME, path, f"{_FILES_FOLDER}/{key}", read_only=True)
        for path, (key, _) in injection.files.items()
    )
    existing = [mount for mount in container.mounts if mount.volume == names.VOLUME_NAME]
    _refuse_unexpected(existing, mounts, f"mounts of container '{container.name}'")
    present_mounts = set(existing)
    bodies = [_mount_body(mount) for mount in mounts if mount not in present_mounts]
    yield from _add_all(f"{container.pointer}/volumeMounts", container.has_mounts, bodies)


def _volume_items(layout: BundleLayout) -> tuple[SecretItem, ...]:
    items = [SecretItem(layout.parts[0].name, names.RESOLUTION_FILE, names.RESOLUTION_FILE, _ANYBODY)]
    for part in layout.parts:
        items += (
            SecretItem(part.name, key, f"{_FILES_FOLDER}/{key}", contribution.entry.mode)
            for key, contribution in part.entries
            if isinstance(contribution.entry, FileEntry)
        )
    return tuple(items)


def volume_operations(pod: Pod, layout: BundleLayout) -> Iterator[PatchOperation]:
    """Yield what adds the projected volume with every file and ``resolution.json``."""
    items = _volume_items(layout)
    present = [volume for volume in pod.volumes if volume.name == names.VOLUME_NAME]
    injections = [Volume(names.VOLUME_NAME, items)]
    _refuse_unexpected(present, injections, f"volume '{names.VOLUME_NAME}'")
    if not present:
        yield from _add_all("/spec/volumes", pod.has_volumes, [_volume_body(items)])


def annotation_operations(pod: Pod, text: str) -> Iterator[PatchOperation]:
    """Yield what records the resolution on the pod."""
    # A second pass may know more recent definitions that change nothing in the pod; the annotation then follows.
    if pod.annotations.get(names.RESOLUTION_ANNOTATION) == text:
        return
    if not pod.has_annotations:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    yield {
        "op": "add",
        "path": f"/metadata/annotations/{names.RESOLUTION_ANNOTATION.replace('/', '~1')}",
        "value": text,
    }


def _refuse_unexpected(present: Iterable[Hashable], injections: Iterable[Hashable], subject: str) -> None:
    if not frozenset(injections).issuperset(present):
        raise DeniedError(
            Reason.DEFINITIONS_CHANGED,
            f"{subject} refer to the job's secrets otherwise than resolution says now; remove what is written by hand, "
            "or create the pod again if definitions have just changed",
        )


def _add_all(
    pointer: str, exists: bool, bodies: Sequence[Mapping[str, object]], *, front: bool = False
) -> Iterator[PatchOperation]:
    if not bodies:
        return
    if not exists:
        yield {"op": "add", "path": pointer, "value": list(bodies)}
        return
    for index, body in enumerate(bodies):
        yield {"op": "add", "path": f"{pointer}/{index if front else '-'}", "value": body}


def _variable_body(variable: Variable) -> dict[str, object]:
    return {"name": variable.name, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}


def _mount_body(mount: Mount) -> dict[str, object]:
    body: dict[str, object] = {"name": mount.volume, "mountPath": mount.path, "readOnly": True}
    return body | {"subPath": mount.sub_path} if mount.sub_path else body


def _volume_body(items: Sequence[SecretItem]) -> dict[str, object]:
    by_secret: dict[str, list[dict[str, object]]] = {}
    for item in items:
        by_secret.setdefault(item.secret, []).append({"key": item.key, "path": item.path, "mode": item.mode})
    sources = [{"secret": {"name": secret, "items": bodies}} for secret, bodies in by_secret.items()]
    return {"name": names.VOLUME_NAME, "projected": {"defaultMode": _ANYBODY, "sources": sources}}
