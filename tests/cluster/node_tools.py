"""The programs that a node needs beside Kubernetes: from the machine, or from Debian's packages.

Packages are downloaded and unpacked into the cache folder instead of being installed: nothing on the
machine changes, no service is started, and no other container engine is pushed out.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.build import cache_folder
from tests.cluster.errors import NodeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each program, and the Debian package that has it.
PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "loopback": "containernetworking-plugins",
    "busybox": "busybox-static",
    "ssh-keygen": "openssh-client",
}
# Programs of util-linux, which every Debian has.
REQUIRED_PROGRAMS = ("mount", "nsenter", "unshare")
# Where network plugins are installed: Debian's folder, and the one that upstream documents.
PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/cni")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DOWNLOAD_SECONDS = 300.0
ELF_INTERPRETER = b"/ld-"


@dataclass(frozen=True, slots=True)
class NodeTools:
    """The path of each program of a node, by its name."""

    programs: Mapping[str, str]

    @property
    def search_path(self) -> str:
        """The value of PATH with which containerd finds its shim and runc."""
        folders = [str(Path(path).parent) for path in self.programs.values()]
        return ":".join([*dict.fromkeys(folders), SYSTEM_FOLDERS])

    @property
    def plugin_folder(self) -> str:
        """The folder with the network plugins."""
        return str(Path(self.programs["loopback"]).parent)


def find_node_tools(environment: Mapping[str, str]) -> NodeTools:
    """Return the node's programs, and download the packages of those that the machine lacks.

    SCOPED_SECRETS_INSTALL=never forbids downloads.

    Raises:
        NodeUnavailableError: Something is missing; the message says what to do.
    """
    path = f"{environment.get('PATH', '')}:{SYSTEM_FOLDERS}"
    _require_machine(path)
    found = {name: found for name in PACKAGES if (found := _find(name, path)) is not None}
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing})
        folder = _unpacked(packages, environment)
        for name in missing:
            found[name] = _find_below(folder, name)
    return NodeTools(found)


def _require_machine(path: str) -> None:
    """Refuse what no package can change."""
    if os.geteuid() != 0:
        raise NodeUnavailableError("job pods need root: run as root, or in a privileged container")
    for name in REQUIRED_PROGRAMS:
        if shutil.which(name, path=path) is None:
            raise NodeUnavailableError(f"{name} is missing: install the package util-linux")


def _find(name: str, path: str) -> str | None:
    """Return a program that is installed on the machine."""
    if name == "loopback":
        return shutil.which(name, path=":".join(PLUGIN_FOLDERS))
    found = shutil.which(name, path=path)
    if found is not None and name == "busybox" and not _is_static(Path(found)):
        return None
    return found


def _is_static(path: Path) -> bool:
    """Tell whether a program needs no libraries, as the only program of an image must."""
    with path.open("rb") as file:
        return ELF_INTERPRETER not in file.read(4096)


def _unpacked(packages: list[str], environment: Mapping[str, str]) -> Path:
    """Return a folder with the contents of these packages, downloaded once."""
    cache = cache_folder(environment)
    folder = cache / ("packages-" + "-".join(packages))
    if folder.is_dir():
        return folder
    _require_download_allowed(packages, environment)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix=".packages-", dir=cache))
            try:
                _download(packages, unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _require_download_allowed(packages: list[str], environment: Mapping[str, str]) -> None:
    names = " ".join(packages)
    if environment.get("SCOPED_SECRETS_INSTALL") == "never":
        raise NodeUnavailableError(f"job pods need the packages {names}: install them, or unset SCOPED_SECRETS_INSTALL")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NodeUnavailableError(f"job pods need what Debian calls {names}: install these programs on this machine")


def _download(packages: list[str], folder: Path) -> None:
    """Download packages and unpack them into a folder."""
    with tempfile.TemporaryDirectory() as archives:
        # The sandbox user of apt could not write into our folder.
        download = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *packages]
        failure = _run(download, archives)
        if failure:
            # The lists of packages are missing or older than the archive.
            failure = _run(["apt-get", "update", "-q"], archives) or _run(download, archives)
        if failure:
            names = " ".join(packages)
            raise NodeUnavailableError(f"the packages {names} cannot be downloaded: {failure}")
        for archive in Path(archives).glob("*.deb"):
            failure = _run(["dpkg-deb", "--extract", str(archive), str(folder)], archives)
            if failure:
                raise NodeUnavailableError(f"{archive.name} cannot be unpacked: {failure}")


def _run(command: list[str], folder: str) -> str:
    """Run a command and return why it failed, or an empty text."""
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {DOWNLOAD_SECONDS:g} seconds"
    if result.returncode == 0:
        return ""
    lines = result.stderr.strip().splitlines() or [f"code {result.returncode}"]
    return lines[-1]


def _find_below(folder: Path, name: str) -> str:
    for program_folder in PROGRAM_FOLDERS:
        path = folder / program_folder / name
        if path.is_file():
            return str(path)
    raise NodeUnavailableError(f"the package {PACKAGES[name]} has no {name}: install it yourself")
