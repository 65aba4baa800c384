"""How a process that is not root can read its files (DESIGN section 8).

The kubelet gives files of Secrets to root, and with ``fsGroup`` to that group, adding read access for it to every mode
(``SetVolumeOwnership``). A user who is not root therefore needs an ``fsGroup``; any group will do.
"""

from collections.abc import Iterator, Sequence
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
    "the pod's fsGroup {group} lets its group read {paths}; programs that ask for a private file may refuse it when "
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
class _InjectedFile:
    container: Container
    path: str
    mode: int

    @property
    def is_private(self) -> bool:
        return self.mode & _EVERYONE_READ != _EVERYONE_READ

    @property
    def is_non_root(self) -> bool:
        return self.container.security.is_non_root


def set_fs_group(pod: Pod, injections: Sequence[ContainerInjection]) -> FsGroupChange:
    """Return what makes every private file readable for its process.

    Raises:
        DeniedError: The mode of a file does not allow even its owner to read it.
    """
    files = list(_injected_files(injections))
    for file in files:
        if not file.mode & _OWNER_READ:
            raise DeniedError(
                Reason.UNREADABLE_FILE,
                f"file '{file.path}' has mode {file.mode:04o}, which gives its owner no right to read it; use 0400 or "
                "more",
            )
    unexecutable = {file.path for file in files if file.is_non_root and file.mode & _EXECUTE == _OWNER_EXECUTE}
    warnings = [_UNEXECUTABLE.format(paths=", ".join(sorted(unexecutable)))] if unexecutable else []
    operations: tuple[PatchOperation, ...] = ()
    group = pod.fs_group
    if group is None:
        unreadable = next((file for file in files if file.is_private and file.is_non_root), None)
        if unreadable is None:
            return FsGroupChange((), tuple(warnings))
        group = _choose_group(pod, unreadable.container)
        operations = (_add_group(pod, group),)
    widened = {file.path for file in files if file.is_private and not file.is_non_root}
    if widened:
        warnings.append(_WIDENED.format(group=group, paths=", ".join(sorted(widened))))
    return FsGroupChange(operations, tuple(warnings))


def _injected_files(injections: Sequence[ContainerInjection]) -> Iterator[_InjectedFile]:
    for injection in injections:
        for path, bundle_entry in injection.files.items():
            if bundle_entry.entry.mode is not None:
                yield _InjectedFile(injection.container, path, bundle_entry.entry.mode)


def _choose_group(pod: Pod, container: Container) -> int:
    candidates = (pod.security.group, container.security.group, container.security.user)
    return next((candidate for candidate in candidates if candidate), _FALLBACK_GROUP)


def _add_group(pod: Pod, group: int) -> PatchOperation:
    if not pod.has_security_context:
        return {"op": "add", "path": "/spec/securityContext", "value": {"fsGroup": group}}
    return {"op": "add", "path": "/spec/securityContext/fsGroup", "value": group}
