"""What a pod gets differently than its author may expect: for the person who applies it, and as events on the pod."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from scoped_secrets import names
from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.file_modes import ContainerUser
from scoped_secrets.core.pod import Pod
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.messages import quoted_names
from scoped_secrets.names import Reason

__all__ = ["PodWarning", "pod_warnings"]

_GROUP_READ = 0o040

_EXISTING_FOLDERS = frozenset({"/", "/home", "/mnt", "/root", "/srv", "/tmp", "/var/tmp"})  # noqa: S108 - no temporary file is made
"""Folders that every image has."""
_FOLDERS_OF_ROOT = ("/bin/", "/boot/", "/etc/", "/lib/", "/lib64/", "/opt/", "/run/", "/sbin/", "/usr/", "/var/")
"""Below these folders images keep what belongs to root, so that other users do not write there."""


@dataclass(frozen=True, slots=True)
class PodWarning:
    """One warning: a reason for programs, and a sentence with the remedy."""

    reason: Reason
    message: str


def pod_warnings(pod: Pod, injections: Sequence[ContainerInjection]) -> Iterator[PodWarning]:
    """Yield what the author of a pod should know."""
    yield from _unknown_names(pod)
    for injection in injections:
        yield from _unstated(injection)
        yield from _folders(injection)
        yield from _wide_modes(pod, injection)
        yield from _overridden_sources(injection)


def _unknown_names(pod: Pod) -> Iterator[PodWarning]:
    prefix = f"{names.GROUP}/"
    for name in pod.annotations:
        if name.startswith(prefix) and name not in names.POD_ANNOTATIONS:
            remedy = "remove it"
            if name == names.INJECT_LABEL:
                remedy = "the opt-in is a label"
            elif nearest := get_close_matches(name, names.AUTHOR_ANNOTATIONS, n=1):
                remedy = f"{nearest[0]} may be meant"
            yield PodWarning(Reason.UNKNOWN_ANNOTATION, f"annotation {name} has no meaning on a pod; {remedy}")
    for name in pod.labels:
        if name.startswith(prefix) and name != names.INJECT_LABEL:
            nearest = get_close_matches(name, names.AUTHOR_ANNOTATIONS, n=1)
            remedy = f"write annotation {nearest[0]} instead" if nearest else "remove it"
            yield PodWarning(Reason.UNKNOWN_ANNOTATION, f"label {name} has no meaning on a pod; {remedy}")


def _unstated(injection: ContainerInjection) -> Iterator[PodWarning]:
    """Yield that the user or the home directory of the image is not known, where that matters."""
    container = f"container '{injection.container.name}'"
    home = injection.files.home
    private = sorted(path for path, file in injection.files.placements.items() if file.mode.is_private)
    user_line = f'{names.RUN_AS_USER_ANNOTATION}: "1000"'
    home_line = f"{names.HOME_ANNOTATION}: /home/ci"
    lacks_home = home is not None and not home.is_stated
    if injection.user is ContainerUser.UNSTATED and private:
        also = f" and '~' is {home.path}" if home is not None and lacks_home else ""
        lines = f"`{user_line}` and `{home_line}`" if lacks_home else f"`{user_line}`"
        yield PodWarning(
            Reason.USER_UNKNOWN,
            f"{container} states neither `runAsUser` nor `runAsNonRoot`, so that only root can read "
            f"{quoted_names(private, 2)}{also}; state the user of its image in annotation{'s' if lacks_home else ''} "
            f"{lines} of the pod, or in its securityContext",
        )
    elif home is not None and lacks_home:
        yield PodWarning(
            Reason.HOME_UNKNOWN,
            f"{container} does not state its home directory, so that '~' is {home.path}; state the home of its image's "
            f"user in annotation `{home_line}` of the pod, or in the container's variable HOME",
        )


def _folders(injection: ContainerInjection) -> Iterator[PodWarning]:
    """Yield the folders that belong to root where the image does not have them, and in which others would write."""
    if injection.user is not ContainerUser.OTHER:
        return
    home = injection.files.home
    existing = {*_EXISTING_FOLDERS, *(mount.path.rstrip("/") for mount in injection.container.mounts)}
    if home is not None:
        existing.add(home.path.rstrip("/"))
    folders = sorted(
        {
            folder
            for path, file in injection.files.placements.items()
            if file.is_mounted
            and (folder := path.rpartition("/")[0] or "/") not in existing
            and not path.startswith(_FOLDERS_OF_ROOT)
        }
    )
    if folders:
        yield PodWarning(
            Reason.FOLDER_NOT_WRITABLE,
            f"container '{injection.container.name}' runs as another user than root and cannot write into "
            f"{quoted_names(folders, 2)} if its image lacks the folder, because its parents are then made for root; "
            "give the file `env` and no `path`, or make the folder in the image",
        )


def _wide_modes(pod: Pod, injection: ContainerInjection) -> Iterator[PodWarning]:
    """Yield the private files of root that the pod's own ``fsGroup`` opens to its group."""
    if pod.fs_group is None or injection.user is ContainerUser.OTHER:
        return
    widened = sorted(
        path
        for path, file in injection.files.placements.items()
        if file.mode.is_private and not file.mode.projected & _GROUP_READ
    )
    if widened:
        yield PodWarning(
            Reason.UNREADABLE_FILE,
            f"the pod's fsGroup {pod.fs_group} lets its group read {quoted_names(widened, 2)}, and programs that "
            f"require a private file, such as ssh, refuse it in container '{injection.container.name}' when that runs "
            "as root; remove the fsGroup",
        )


def _overridden_sources(injection: ContainerInjection) -> Iterator[PodWarning]:
    """Yield the sources of ``envFrom`` whose variables the bundle may override: their keys are not known here."""
    injected = [
        name
        for name in (*injection.variables, *injection.file_variables)
        if not name.startswith(names.HIDDEN_VARIABLE_PREFIX)
    ]
    for source in injection.container.env_from:
        concerned = sorted(name for name in injected if name.startswith(source.prefix))
        if concerned:
            yield PodWarning(
                Reason.VARIABLE_OVERRIDDEN,
                f"container '{injection.container.name}' has `envFrom` {source.kind} '{source.name}'; where that has "
                f"a variable of a bundle ({quoted_names(concerned, 3)}), the bundle's value is used",
            )
