"""Where a bundle's files stand in one container (DESIGN section 8).

A file with a path is mounted there. A file without one stays in the operator's volume, and a variable holds its path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.file_modes import ContainerUser, FileMode, file_mode
from scoped_secrets.core.injection.file_paths import check_paths, collapse, is_below, is_home_relative, normalise
from scoped_secrets.core.injection.home import Home, find_home
from scoped_secrets.core.injection.job import Job
from scoped_secrets.core.injection.mount_points import check_mount_points
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.pod import Container, Variable
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass
from scoped_secrets.names import Reason

__all__ = ["MAX_FILES", "FilePlacement", "PlacedFiles", "place_files", "swap_folder"]

MAX_FILES = 500
"""The maximum number of files that one container gets: each is a mount of its own."""


@dataclass(frozen=True, slots=True)
class FilePlacement:
    """One file of a bundle in one container.

    Attributes:
        bundle_entry: The file.
        mode: Its mode in this container.
        is_mounted: Whether it has a mount of its own at its path; otherwise it is in the volume only.
    """

    bundle_entry: BundleEntry
    mode: FileMode
    is_mounted: bool

    @property
    def volume_path(self) -> str:
        """Return the path of the file within the volume."""
        return _volume_path(self.bundle_entry, self.mode)


@dataclass(frozen=True, slots=True)
class PlacedFiles:
    """The files of one container.

    Attributes:
        placements: Each file by its absolute path.
        providers: All entries for each absolute path in the order of application; the last one wins.
        paths: The absolute path of each entry by its data key, even if another entry wins there.
        left_out: The absolute paths of the files that the container runs without, because their source is missing.
        mounted: The absolute paths that have a mount of their own, even those of files that are left out.
        home: The home directory; ``None`` where no path needs it.
        is_windows: Whether the pod runs on Windows.
        memo: Where results are kept that follow from these files.
    """

    placements: Mapping[str, FilePlacement]
    providers: Mapping[str, Sequence[BundleEntry]]
    paths: Mapping[str, str]
    left_out: tuple[str, ...]
    mounted: frozenset[str]
    home: Home | None
    is_windows: bool
    memo: Memo = field(compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of absolute paths."""
        return len(self.providers)

    def location(self, bundle_entry: BundleEntry) -> str | None:
        """Return the path at which the container finds a file; ``None`` when it runs without it."""
        path = self.paths[bundle_entry.data_key]
        if path not in self.placements:
            return None
        return "C:" + path.replace("/", "\\") if self.is_windows else path


def place_files(job: Job, container: Container, user: ContainerUser, home_variable: Variable | None) -> PlacedFiles:
    """Decide where the files of the job's bundles stand in one container.

    Args:
        job: The pod and what it gets.
        container: The container.
        user: The user that it runs as.
        home_variable: The variable HOME that the container itself has.

    Raises:
        DeniedError: The files conflict with each other or with the container, or cannot be read or delivered.
    """
    pod, bundle_entries = job.pod, job.bundle_entries
    relative = None if pod.is_windows else bundle_entries.home_relative_path
    home = None if relative is None else find_home(job, container, home_variable, user, relative)
    key = "files", home, user, pod.fs_group, pod.is_windows, job.grant.attach_paths
    files = bundle_entries.memo.get(key, _place, job, user, home)
    if len(files.providers) > MAX_FILES:
        raise DeniedError(
            Reason.LIMIT_EXCEEDED,
            f"container '{container.name}' would get {len(files.providers)} files; at most {MAX_FILES} are allowed",
        )
    _check_mounts(job, container, files)
    return files


def _place(job: Job, user: ContainerUser, home: Home | None) -> PlacedFiles:
    """Decide where the files stand in every container of one user with one home directory.

    Raises:
        DeniedError: The files conflict with each other, or cannot be read or delivered.
    """
    providers: dict[str, list[BundleEntry]] = {}
    paths: dict[str, str] = {}
    mounted: set[str] = set()
    for bundle_entry in job.bundle_entries.files:
        written = _mount_path(job, bundle_entry)
        if written is None:
            mode = _mode(job, bundle_entry, bundle_entry.resolved.entry.name, user)
            path = f"{names.MOUNT_PATH}/{_volume_path(bundle_entry, mode)}"
        else:
            path = normalise(written, home.path if home else "/")
            _check_attached(job, bundle_entry, path, home.path if is_home_relative(written) and home else None)
            mounted.add(path)
        paths[bundle_entry.data_key] = path
        providers.setdefault(path, []).append(bundle_entry)
    for path, entries in providers.items():
        job.bundle_entries.check_conflict(f"file '{path}'", entries)
    placements: dict[str, FilePlacement] = {}
    left_out: list[str] = []
    for path, entries in providers.items():
        winner = entries[-1]
        if job.bundle_entries.leaves_out(winner):
            left_out.append(path)
        else:
            placements[path] = FilePlacement(winner, _mode(job, winner, path, user), path in mounted)
    is_windows = job.pod.is_windows
    memo = job.bundle_entries.memo.part()
    return PlacedFiles(placements, providers, paths, tuple(left_out), frozenset(mounted), home, is_windows, memo)


def swap_folder(path: str) -> str | None:
    """Return the path of the same file of the volume in its other mode; ``None`` for a path outside of the volume."""
    one, other = (f"{names.MOUNT_PATH}/{folder}/" for folder in (names.FILES_FOLDER, names.READABLE_FOLDER))
    if path.startswith(one):
        return other + path.removeprefix(one)
    return one + path.removeprefix(other) if path.startswith(other) else None


def _mount_path(job: Job, bundle_entry: BundleEntry) -> str | None:
    """Return the path as written at which a file is mounted; ``None`` when it stays in the volume.

    Raises:
        DeniedError: The file needs a mount of its own and the pod runs on Windows, which mounts whole volumes only.
    """
    entry = bundle_entry.resolved.entry
    if not job.pod.is_windows:
        return entry.path
    if entry.env is None:
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"file '{entry.name}' of bundle '{bundle_entry.bundle}' needs a mount of its own, which Windows does not "
            "have; give it `env` in its definition, and a variable holds its path",
        )
    return None


def _check_attached(job: Job, bundle_entry: BundleEntry, path: str, home: str | None) -> None:
    """Deny a file by which an attached bundle could take over the container, such as `/bin/sh`.

    The job did not ask for the bundle. A list of dangerous paths would never be complete, so that the allowed ones are
    listed.

    Args:
        job: The pod and what it gets.
        bundle_entry: The file.
        path: Its normalised path.
        home: The home directory, if the path is relative to it.

    Raises:
        DeniedError: Neither the home nor the namespace allows the path.
    """
    if not bundle_entry.is_attached or is_below(path, (*job.grant.attach_paths, *((home,) if home else ()))):
        return
    raise DeniedError(
        Reason.PATH_NOT_ALLOWED,
        f"file '{path}' of bundle '{bundle_entry.bundle}' lies outside of the home directory, and the job did not ask "
        f"for the bundle; reference the bundle in annotation {names.SECRETS_ANNOTATION}, or have an administrator add "
        f"the file's folder to annotation {names.ALLOW_ATTACH_PATHS_ANNOTATION} of the namespace or of the "
        "organization's home",
    )


def _mode(job: Job, bundle_entry: BundleEntry, path: str, user: ContainerUser) -> FileMode:
    return file_mode(path, bundle_entry.resolved.entry.mode or 0, user, job.pod.fs_group)


def _volume_path(bundle_entry: BundleEntry, mode: FileMode) -> str:
    folder = names.FILES_FOLDER if mode.is_declared else names.READABLE_FOLDER
    return f"{folder}/{bundle_entry.data_key}"


def _check_mounts(job: Job, container: Container, files: PlacedFiles) -> None:
    if not container.mounts:
        # The files may conflict with each other, which is the same in all containers.
        files.memo.get(("check",), check_paths, files.mounted, (), container.name)
        return
    own_mounts = {collapse(mount.path) or mount.path: mount for mount in container.mounts}
    own_mounts = {path: mount for path, mount in own_mounts.items() if mount.volume != names.VOLUME_NAME}
    check_paths(files.mounted, own_mounts, container.name)
    if names.MOUNT_PATH in own_mounts:
        raise DeniedError(
            Reason.PATH_CONFLICT,
            f"container '{container.name}' mounts a volume at {names.MOUNT_PATH}, where the job's secrets go; "
            "choose another path",
        )
    check_mount_points(job.pod, container, own_mounts, files.mounted)
