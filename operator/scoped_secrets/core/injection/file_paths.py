"""Where a bundle's files go in a container (DESIGN section 4, rule B)."""

from collections.abc import Collection, Iterable

from scoped_secrets import names
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["MAX_COMPONENT", "check_paths", "collapse", "is_below", "is_home_relative", "normalise"]

_FORBIDDEN = (
    "/proc",
    "/sys",
    "/dev",
    "/var/run/secrets/kubernetes.io",
    "/run/secrets/kubernetes.io",
    names.MOUNT_PATH,
)
MAX_COMPONENT = 255
"""The maximum length of one name in a path in bytes: ``NAME_MAX`` of Linux."""

_BELOW_FORBIDDEN = tuple(f"{path}/" for path in _FORBIDDEN)


def _parents(path: str) -> Iterable[str]:
    position = path.rfind("/")
    while position > 0:
        path = path[:position]
        yield path
        position = path.rfind("/")


_PARENTS_OF_FORBIDDEN = frozenset(parent for path in _FORBIDDEN for parent in _parents(path))


def is_home_relative(path: str) -> bool:
    """Tell whether the path depends on the job's home directory."""
    return not path.startswith("/")


def normalise(path: str, home: str) -> str:
    """Return the absolute path with ``//``, ``.`` and ``..`` collapsed.

    Args:
        path: As written: absolute, relative to the home, or below ``~/``.
        home: The absolute home directory.

    Raises:
        DeniedError: The path escapes the root, names no file, or has a component that is too long.
    """
    if is_home_relative(path):
        path = f"{home}/{path.removeprefix('~/')}"
    collapsed = collapse(path)
    if collapsed is None:
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"file '{path}' leads above the root directory; write it without '..'",
        )
    if collapsed == "/":
        raise DeniedError(Reason.PATH_CONFLICT, f"file '{path}' is the root directory; name a file")
    if any(len(part.encode()) > MAX_COMPONENT for part in collapsed.split("/")):
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"file '{path}' has a name of more than {MAX_COMPONENT} bytes between two '/', which no file system has; "
            "shorten it",
        )
    return collapsed


def collapse(path: str) -> str | None:
    """Return a path from the root without ``//``, ``.`` and ``..``; ``None`` when it leads above the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a normalised path is one of these absolute paths, or below one of them."""
    collapsed = (collapse(folder) for folder in folders)
    return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in collapsed if each is not None)


def check_paths(paths: Iterable[str], mounts: Collection[str], container: str) -> None:
    """Deny normalised paths that conflict with each other or with the container's own mounts.

    Args:
        paths: The normalised paths of the files.
        mounts: The collapsed paths of the container's own mounts.
        container: The container's name.

    Raises:
        DeniedError: A path is the parent of another path or of a mount, equals a mount, or is in a system directory.
    """
    taken = set(paths)
    mounted = set(mounts)
    parents = {parent for path in (*taken, *mounted) for parent in _parents(path)} | _PARENTS_OF_FORBIDDEN
    for path in sorted(taken):
        if path in _FORBIDDEN or path.startswith(_BELOW_FORBIDDEN):
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"file '{path}' lies in a directory of the system; choose another path",
            )
        if path in mounted:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"file '{path}' is a mount of container '{container}' already; change one of the two",
            )
        if path in parents:
            raise DeniedError(
                Reason.PATH_CONFLICT,
                f"file '{path}' is the parent of another file or mount of container '{container}'; "
                "a path cannot be both file and directory",
            )
