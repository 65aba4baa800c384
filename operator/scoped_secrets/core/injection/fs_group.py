"""How a process that is not root can read its files (DESIGN section 8).

The kubelet gives files of Secrets to root, and with ``fsGroup`` to that group, adding read access for it to every mode
(``SetVolumeOwnership``). A user who is not root therefore needs an ``fsGroup``; any group will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.pod import Container, Pod
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["FsGroupChange", "set_fs_group"]

_EVERYONE_READ = 0o444
_OWNER_READ = 0o400
_EXECUTE = 0o111
_OWNER_EXECUTE = 0o100

_WIDENED = (
    "the pod's fsGroup {group} lets its group read {paths}; programs that require a private file may refuse it when "
    "they run as root"
)
_UNEXECUTABLE = (
    "only root may execute {paths}, and the container runs as another user; give the file a mode like 0550, whose "
    "group may execute it too"
)

_FALLBACK_GROUP = 65532
"""The group of files for a user that is known not to be root and is otherwise unknown."""


@dataclass(frozen=True, slots=True)
class FsGroupChange:
    """What makes every private file readable for its process.

    Attributes:
        operations: The operations that set the ``fsGroup`` of the pod; empty when it needs none or has one.
        warnings: Sentences for the author of the pod.
    """

    operations: tuple[PatchOperation, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _FileAccess:
    """What the modes of the injected files mean for the users of the containers.

    Attributes:
        unexecutable: The files that only root may execute, in containers of other users.
        private: The files that not everyone may read, in containers whose user may be root.
        unreadable_in: The first container that cannot read a file without an ``fsGroup``.
    """

    unexecutable: tuple[str, ...]
    private: tuple[str, ...]
    unreadable_in: Container | None


def set_fs_group(pod: Pod, injections: Sequence[ContainerInjection]) -> FsGroupChange:
    """Return what makes every private file readable for its process.

    Raises:
        DeniedError: The mode of a file does not allow even its owner to read it.
    """
    access = _file_access(injections)
    warnings = [_UNEXECUTABLE.format(paths=", ".join(access.unexecutable))] if access.unexecutable else []
    operations: tuple[PatchOperation, ...] = ()
    group = pod.fs_group
    if group is None:
        if access.unreadable_in is None:
            return FsGroupChange((), tuple(warnings))
        group = _choose_group(pod, access.unreadable_in)
        operations = (_add_group(pod, group),)
    if access.private:
        warnings.append(_WIDENED.format(group=group, paths=", ".join(access.private)))
    return FsGroupChange(operations, tuple(warnings))


def _file_access(injections: Sequence[ContainerInjection]) -> _FileAccess:
    """Return what the modes of the files mean.

    Raises:
        DeniedError: The mode of a file does not allow even its owner to read it.
    """
    unexecutable: set[str] = set()
    private: set[str] = set()
    unreadable_in: Container | None = None
    for injection in injections:
        is_non_root = injection.container.security.is_non_root
        for path, bundle_entry in injection.files.items():
            mode = bundle_entry.resolved.entry.mode or 0
            if not mode & _OWNER_READ:
                raise DeniedError(
                    Reason.UNREADABLE_FILE,
                    f"file '{path}' has mode {mode:04o}, which gives its owner no right to read it; use 0400 or more",
                )
            if is_non_root and mode & _EXECUTE == _OWNER_EXECUTE:
                unexecutable.add(path)
            if mode & _EVERYONE_READ == _EVERYONE_READ:
                continue
            if not is_non_root:
                private.add(path)
            elif unreadable_in is None:
                unreadable_in = injection.container
    return _FileAccess(tuple(sorted(unexecutable)), tuple(sorted(private)), unreadable_in)


def _choose_group(pod: Pod, container: Container) -> int:
    candidates = (pod.security.group, container.security.group, container.security.user)
    return next((candidate for candidate in candidates if candidate), _FALLBACK_GROUP)


def _add_group(pod: Pod, group: int) -> PatchOperation:
    if not pod.has_security_context:
        return {"op": "add", "path": "/spec/securityContext", "value": {"fsGroup": group}}
    return {"op": "add", "path": "/spec/securityContext/fsGroup", "value": group}
