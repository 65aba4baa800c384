"""Whether a mount point for a file can be made below a mount of the container itself.

The container runtime makes a missing mount point in the file system of the mount that it lies below. In a volume that
cannot be written to this fails, and the container does not start. In a persistent volume it leaves an empty file, and
folders that belong to root.
"""

from collections.abc import Iterable, Mapping

from scoped_secrets import names
from scoped_secrets.core.pod import Container, Mount, Pod, Volume, VolumeKind
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["check_mount_points", "parent_mount"]

_REMEDY = (
    "choose another path, or give the file `env` and no `path` in its definition: it then stays in "
    f"{names.MOUNT_PATH}, and a variable holds its path"
)


def check_mount_points(pod: Pod, container: Container, own_mounts: Mapping[str, Mount], paths: Iterable[str]) -> None:
    """Deny files whose mount points cannot be made, or would stay in a volume.

    Args:
        pod: The pod.
        container: The container.
        own_mounts: The container's own mounts by their collapsed paths.
        paths: The absolute paths of the files.

    Raises:
        DeniedError: A file, or the operator's own folder, lies below such a mount.
    """
    if not own_mounts:
        return
    volumes = {volume.name: volume for volume in pod.volumes}
    folder_mount = parent_mount(names.MOUNT_PATH, own_mounts)
    if folder_mount is not None:
        reason = _read_only_reason(own_mounts[folder_mount], volumes)
        if reason is not None:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"container '{container.name}' mounts {reason} at '{folder_mount}', so that {names.MOUNT_PATH}, where "
                "the job's secrets go, cannot be made and the container could not start; mount it elsewhere",
            )
    allows_volume_paths = pod.flag(names.ALLOW_VOLUME_PATHS_ANNOTATION)
    for path in sorted(paths):
        mount_path = parent_mount(path, own_mounts)
        if mount_path is None:
            continue
        mount = own_mounts[mount_path]
        reason = _read_only_reason(mount, volumes)
        if reason is not None:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"file '{path}' lies below '{mount_path}', where container '{container.name}' mounts {reason}, so that "
                f"the container could not start; {_REMEDY}",
            )
        volume = volumes.get(mount.volume)
        if volume is not None and volume.kind is VolumeKind.PERSISTENT and not allows_volume_paths:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"file '{path}' lies below '{mount_path}', where container '{container.name}' mounts the persistent "
                f"volume '{volume.name}', and would leave an empty file in it; {_REMEDY}. The pod's annotation "
                f'{names.ALLOW_VOLUME_PATHS_ANNOTATION}: "true" allows it',
            )


def parent_mount(path: str, own_mounts: Iterable[str]) -> str | None:
    """Return the innermost mount that a path lies below."""
    return max((mount for mount in own_mounts if path.startswith(f"{mount.rstrip('/')}/")), key=len, default=None)


def _read_only_reason(mount: Mount, volumes: Mapping[str, Volume]) -> str | None:
    """Return why a mount cannot be written to, as words for a message; ``None`` when it can."""
    volume = volumes.get(mount.volume)
    if volume is not None and volume.kind is VolumeKind.READ_ONLY:
        return f"the {volume.source} volume '{volume.name}', which is read-only"
    return f"the volume '{mount.volume}' read-only" if mount.read_only else None
