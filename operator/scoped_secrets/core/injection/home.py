"""The home directory of a container, which paths such as ``~/.npmrc`` are relative to (DESIGN section 4, rule B)."""

from scoped_secrets import names
from scoped_secrets.core.injection.file_modes import ContainerUser
from scoped_secrets.core.injection.job import Job
from scoped_secrets.core.pod import Container, Variable
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["Home", "find_home"]


@dataclass(frozen=True, slots=True)
class Home:
    """A container's home directory.

    Attributes:
        path: The absolute path.
        is_stated: Whether the pod or its namespace states it; otherwise it is the operator's default.
    """

    path: str
    is_stated: bool


def find_home(job: Job, container: Container, own: Variable | None, user: ContainerUser, path: str) -> Home:
    """Return the container's home directory: the pod's annotation, else its variable HOME, else a default.

    Args:
        job: The pod and what it gets.
        container: The container.
        own: The variable HOME that the container itself has.
        user: The user that the container runs as.
        path: A path that needs the home directory, for the message.

    Raises:
        DeniedError: The home directory is unknown, or an annotation is invalid.
    """
    annotated = job.pod.annotations.get(names.HOME_ANNOTATION)
    if annotated is not None:
        return _stated(annotated, "annotation")
    if own is not None:
        # A "$" begins an expansion or an expression, whose result is not known here.
        if own.value is not None and own.value.startswith("/") and "$" not in own.value:
            return Home(own.value, is_stated=True)
    # A bundle may also set HOME, to a value that is not known before the container starts.
    elif "HOME" not in job.bundle_entries.variables:
        default = job.grant.binding.home
        if default is not None:
            return _stated(default, "the namespace's annotation")
        if user is not ContainerUser.OTHER:
            return Home(job.default_home, is_stated=False)
    raise DeniedError(
        Reason.HOME_UNKNOWN,
        f"file '{path}' is relative to the home directory, which container '{container.name}' does not state; "
        f"set annotation {names.HOME_ANNOTATION} or the container's variable HOME to an absolute path",
    )


def _stated(path: str, subject: str) -> Home:
    if not path.startswith("/"):
        raise DeniedError(Reason.INVALID_ANNOTATION, f"{subject} {names.HOME_ANNOTATION} must be an absolute path")
    return Home(path, is_stated=True)
