"""How a process that is not root can read its files (DESIGN section 8).

The kubelet gives files of Secrets to root, and with ``fsGroup`` to that group, adding read access for it to every mode
(``SetVolumeOwnership``). So a user who is not root needs an ``fsGroup``, and any one will do.
"""

from collections.abc import Sequence

from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.pod import Container, Pod
from scoped_secrets.core.resolution.definitions import FileEntry
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["arrange_fs_group"]

_ANYBODY = 0o444
_OWNER_READ = 0o400
_EXECUTE = 0o111
_OWNER_EXECUTE = 0o100

_WIDENED = (
    "the pod's fsGroup {group} lets its group read {paths}; programs that ask for a private file may refuse it when "
    "they run as root"
)
_UNEXECUTABLE = (
    "only root may execute {paths}, and the container runs as another user; give the file a mode like 0550, whose "
    "group may execute it too"
)

_FALLBACK_GROUP = 65532
"""The group of files for a user that is known not to be root and otherwise unknown."""


def arrange_fs_group(
    pod: Pod, injections: Sequence[ContainerInjection]
) -> tuple[list[PatchOperation], tuple[str, ...]]:
    """Return what makes every private file readable for its process, and warnings for the person.

    Raises:
        DeniedError: A mode lets not even the owner read.
    """
    modes = [
        (injection.container, path, contribution.entry.mode)
        for injection in injections
        for path, (_, contribution) in injection.files.items()
        if isinstance(contribution.entry, FileEntry)
    ]
    for _, path, mode in modes:
        if not mode & _OWNER_READ:
            raise DeniedError(
                Reason.UNREADABLE_FILE,
                f"file '{path}' has mode {mode:04o}, which gives its owner no right to read it; use 0400 or more",
            )
    private = [(container, path) for container, path, mode in modes if mode & _ANYBODY != _ANYBODY]
    needing = [container for container, _ in private if container.security.is_non_root]
    unexecutable = sorted(
        {
            path
            for container, path, mode in modes
            if container.security.is_non_root and mode & _EXECUTE == _OWNER_EXECUTE
        }
    )
    warnings = [_UNEXECUTABLE.format(paths=", ".join(unexecutable))] if unexecutable else []
    operations: list[PatchOperation] = []
    group = pod.fs_group
    if group is None:
        if not needing:
            return [], tuple(warnings)
        group = _group_for(pod, needing[0])
        operations = _group_operations(pod, group)
    widened = sorted({path for container, path in private if not container.security.is_non_root})
    if widened:
        warnings.append(_WIDENED.format(group=group, paths=", ".join(widened)))
    return operations, tuple(warnings)


def _group_for(pod: Pod, container: Container) -> int:
    candidates = (pod.security.group, container.security.group, container.security.user)
    return next((candidate for candidate in candidates if candidate), _FALLBACK_GROUP)


def _group_operations(pod: Pod, group: int) -> list[PatchOperation]:
    if not pod.has_security_context:
        return [{"op": "add", "path": "/spec/securityContext", "value": {"fsGroup": group}}]
    return [{"op": "add", "path": "/spec/securityContext/fsGroup", "value": group}]
