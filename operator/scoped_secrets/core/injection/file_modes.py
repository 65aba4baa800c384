"""The mode of a file for the user that reads it (DESIGN section 8).

The kubelet gives the files of Secrets to root. A container of root gets the declared mode. A container of another user
gets a copy with the owner's rights to read and execute given to all: the file is not the user's own, so that programs
that refuse private files with wide modes, such as ssh, do not look at its mode. Where the pod has an ``fsGroup``, every
container is in that group, and the kubelet lets the group read every file (``SetVolumeOwnership``): the copy differs
only where the group must execute the file.
"""

from enum import Enum, auto

from scoped_secrets import names
from scoped_secrets.core.pod import Container, Pod
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["ContainerUser", "FileMode", "container_user", "file_mode", "stated_user"]

_OWNER_READ = 0o400
_OWNER_READ_EXECUTE = 0o500
_OWNER_EXECUTE = 0o100
_OTHERS_READ = 0o004
_FS_GROUP_READ = 0o440


class ContainerUser(Enum):
    """What is known of the user that a container runs as."""

    ROOT = auto()
    OTHER = auto()
    UNSTATED = auto()
    """The user is that of the image, which is not known here; files are made for root."""


@dataclass(frozen=True, slots=True)
class FileMode:
    """The mode of a file in one container.

    Attributes:
        projected: The mode in the projected volume.
        seen: The mode that the container sees.
        is_declared: Whether the projected mode is the one that the definition declares.
    """

    projected: int
    seen: int
    is_declared: bool

    @property
    def is_private(self) -> bool:
        """Tell whether a user who neither owns the file nor is in its group cannot read it."""
        return not self.seen & _OTHERS_READ


def stated_user(pod: Pod, binding: Binding) -> int | None:
    """Return the user that an annotation of the pod or of its namespace states.

    Raises:
        DeniedError: The annotation is no user ID.
    """
    text, owner = pod.annotations.get(names.RUN_AS_USER_ANNOTATION), ""
    if text is None:
        text, owner = binding.run_as_user, "the namespace's "
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise DeniedError(
            Reason.INVALID_ANNOTATION,
            f'{owner}annotation {names.RUN_AS_USER_ANNOTATION} must be the number of a user in quotes, such as "1000"',
        )
    return int(text)


def container_user(container: Container, stated: int | None) -> ContainerUser:
    """Return what is known of a container's user: what it states itself, else what an annotation states."""
    security = container.security
    if security.user is None and security.non_root:
        return ContainerUser.OTHER
    user = stated if security.user is None else security.user
    if user is None:
        return ContainerUser.UNSTATED
    return ContainerUser.OTHER if user else ContainerUser.ROOT


def file_mode(path: str, declared: int, user: ContainerUser, fs_group: int | None) -> FileMode:
    """Return the mode of a file in a container.

    Raises:
        DeniedError: The declared mode gives its owner no right to read the file.
    """
    if not declared & _OWNER_READ:
        raise DeniedError(
            Reason.UNREADABLE_FILE,
            f"file '{path}' has mode {declared:04o}, which gives its owner no right to read it; use 0400 or more",
        )
    projected = declared
    if user is ContainerUser.OTHER:
        if fs_group is None:
            rights = declared & _OWNER_READ_EXECUTE
            projected |= rights >> 3 | rights >> 6
        else:
            projected |= (declared & _OWNER_EXECUTE) >> 3
    seen = projected if fs_group is None else projected | _FS_GROUP_READ
    return FileMode(projected, seen, is_declared=projected == declared)
