"""The JSON patch (RFC 6902) that adds to a pod what it lacks; it never replaces a list."""

from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from scoped_secrets import names
from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.files import FilePlacement, PlacedFiles
from scoped_secrets.core.injection.layout import BundleLayout
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.pod import Mount, Pod, SecretItem, Variable
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["PatchOperation", "annotation_operations", "container_operations", "volume_operations"]

_EVERYONE_READ = 0o444

PatchOperation: TypeAlias = dict[str, object]


def container_operations(injection: ContainerInjection, locations: Mapping[str, str]) -> Iterator[PatchOperation]:
    """Yield what adds a container's variables and mounts and expands its expressions.

    Raises:
        DeniedError: The container already refers to the bundle in a way that differs from the resolution.
    """
    container = injection.container
    for pointer, text in injection.texts.items():
        yield {"op": "replace", "path": pointer, "value": text}
    if injection.injected_before or injection.moved_variables:
        bodies = yield from _missing_variables(injection, locations)
    else:
        bodies = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": locations[entry.data_key], "key": entry.data_key}}}
            for name, entry in injection.variables.items()
        ]
        bodies += ({"name": name, "value": text} for name, text in injection.file_variables.items())
    yield from _add_all(f"{container.pointer}/env", container.has_env, bodies, front=True)
    yield from _mount_operations(injection)


def _missing_variables(
    injection: ContainerInjection, locations: Mapping[str, str]
) -> Generator[PatchOperation, None, list[dict[str, object]]]:
    """Yield what changes variables of an earlier pass, and return those that are missing.

    Raises:
        DeniedError: The container has other variables that refer to the bundle.
    """
    container = injection.container
    variables = [
        Variable(name, secret=locations[entry.data_key], key=entry.data_key)
        for name, entry in injection.variables.items()
    ]
    variables += (Variable(name, value=text) for name, text in injection.file_variables.items())
    moved = {injection.container.env[index].name: index for index in injection.moved_variables}
    for variable in variables:
        if variable.name in moved:
            yield {
                "op": "replace",
                "path": f"{container.pointer}/env/{moved[variable.name]}/value",
                "value": variable.value,
            }
    _deny_unexpected(injection.injected_before, variables, f"variables of container '{container.name}'")
    existing = set(injection.injected_before)
    missing = [variable for variable in variables if variable not in existing and variable.name not in moved]
    return [_variable_body(variable) for variable in missing]


def _mount_operations(injection: ContainerInjection) -> Iterator[PatchOperation]:
    """Yield what adds a container's mounts, and replaces a mount of an earlier pass of the same file in another mode.

    Raises:
        DeniedError: The container has other mounts of the volume.
    """
    container, files = injection.container, injection.files
    mounts = files.memo.get(("mounts",), _expected_mounts, files)
    if all(mount.volume != names.VOLUME_NAME for mount in container.mounts):
        bodies = files.memo.get(("mount bodies",), _mount_bodies, mounts)
        yield from _add_all(f"{container.pointer}/volumeMounts", container.has_mounts, bodies)
        return
    expected = {(mount.path, _data_key(mount.sub_path)): mount for mount in mounts}
    existing: set[Mount] = set()
    for index, mount in enumerate(container.mounts):
        if mount.volume != names.VOLUME_NAME:
            continue
        same_file = expected.get((mount.path, _data_key(mount.sub_path)))
        if same_file is None or same_file.sub_path == mount.sub_path:
            existing.add(mount)
        else:
            yield {
                "op": "replace",
                "path": f"{container.pointer}/volumeMounts/{index}",
                "value": _mount_body(same_file),
            }
            existing.add(same_file)
    _deny_unexpected(existing, mounts, f"mounts of container '{container.name}'")
    bodies = _mount_bodies(mount for mount in mounts if mount not in existing)
    yield from _add_all(f"{container.pointer}/volumeMounts", container.has_mounts, bodies)


def _expected_mounts(files: PlacedFiles) -> tuple[Mount, ...]:
    """Return the mounts of a container with these files."""
    return (
        Mount(names.VOLUME_NAME, names.MOUNT_PATH, read_only=True),
        *(
            Mount(names.VOLUME_NAME, path, file.volume_path, read_only=True)
            for path, file in files.placements.items()
            if file.is_mounted
        ),
    )


def _volume_items(layout: BundleLayout, files: Iterable[FilePlacement]) -> tuple[SecretItem, ...]:
    """Return the files of the volume: each file once for each mode in which containers read it."""
    modes: dict[str, dict[str, int]] = {}
    for file in files:
        modes.setdefault(file.bundle_entry.data_key, {})[file.volume_path] = file.mode.projected
    items = [SecretItem(layout.parts[0].name, names.RESOLUTION_FILE, names.RESOLUTION_FILE, _EVERYONE_READ)]
    for part in layout.parts:
        items += (
            SecretItem(part.name, each.data_key, path, mode)
            for each in part.entries
            for path, mode in sorted(modes.get(each.data_key, {}).items())
        )
    return tuple(items)


def volume_operations(
    pod: Pod, layout: BundleLayout, injections: Iterable[ContainerInjection]
) -> Iterator[PatchOperation]:
    """Yield what adds the projected volume with every file and ``resolution.json``."""
    items = _volume_items(layout, (file for each in injections for file in each.files.placements.values()))
    found = next(((i, volume) for i, volume in enumerate(pod.volumes) if volume.name == names.VOLUME_NAME), None)
    if found is None:
        yield from _add_all("/spec/volumes", pod.has_volumes, [_volume_body(items)])
        return
    index, volume = found
    if volume.items != items:
        # Another webhook may have changed the user of a container, and with it the mode in which a file is read.
        _deny_unexpected([_references(volume.items or ())], [_references(items)], f"volume '{names.VOLUME_NAME}'")
        yield {"op": "replace", "path": f"/spec/volumes/{index}", "value": _volume_body(items)}


def _references(items: Iterable[SecretItem]) -> frozenset[tuple[str, str]]:
    """Return the Secrets and keys that a volume refers to."""
    return frozenset((item.secret, item.key) for item in items)


def _data_key(sub_path: str) -> str:
    """Return the data key of a file in the volume, whatever the mode in which it is read."""
    return sub_path.rpartition("/")[2]


def annotation_operations(pod: Pod, resolution: str) -> Iterator[PatchOperation]:
    """Yield what records the resolution, and what admission vouches for, on the pod."""
    wanted = {names.CLAIMS_ANNOTATION: pod.record.text(), names.RESOLUTION_ANNOTATION: resolution}
    # A second pass may see newer definitions that change nothing else in the pod.
    missing = {name: text for name, text in wanted.items() if pod.annotations.get(name) != text}
    if missing and not pod.has_annotations:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    for name, text in missing.items():
        yield {"op": "add", "path": json_pointer("metadata", "annotations", name), "value": text}


def _deny_unexpected(existing: Iterable[Hashable], expected: Iterable[Hashable], subject: str) -> None:
    if not frozenset(expected).issuperset(existing):
        raise DeniedError(
            Reason.DEFINITIONS_CHANGED,
            f"{subject} refer to the job's secrets otherwise than resolution says now; remove what is written by hand, "
            "stop other webhooks from changing what was injected, or create the pod again if definitions have just "
            "changed",
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
    if variable.value is not None:
        return {"name": variable.name, "value": variable.value}
    return {"name": variable.name, "valueFrom": {"secretKeyRef": {"name": variable.secret, "key": variable.key}}}


def _mount_bodies(mounts: Iterable[Mount]) -> list[dict[str, object]]:
    return [_mount_body(mount) for mount in mounts]


def _mount_body(mount: Mount) -> dict[str, object]:
    body: dict[str, object] = {"name": mount.volume, "mountPath": mount.path, "readOnly": True}
    return body | {"subPath": mount.sub_path} if mount.sub_path else body


def _volume_body(items: Sequence[SecretItem]) -> dict[str, object]:
    by_secret: dict[str, list[dict[str, object]]] = {}
    for item in items:
        by_secret.setdefault(item.secret, []).append({"key": item.key, "path": item.path, "mode": item.mode})
    sources = [{"secret": {"name": secret, "items": bodies}} for secret, bodies in by_secret.items()]
    return {"name": names.VOLUME_NAME, "projected": {"defaultMode": _EVERYONE_READ, "sources": sources}}
