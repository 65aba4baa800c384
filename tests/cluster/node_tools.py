"""The programs that a node needs beside Kubernetes: from the machine, or from Debian's packages."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import NodeUnavailableError
from tests.cluster.packages import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each program, and the Debian package that has it.
PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "loopback": "containernetworking-plugins",
    "ptp": "containernetworking-plugins",
    "host-local": "containernetworking-plugins",
    "busybox": "busybox-static",
    "ssh-keygen": "openssh-client",
}
# They are found in one folder, because containerd knows only one.
PLUGINS = ("loopback", "ptp", "host-local")
# Programs of util-linux, which every Debian has.
REQUIRED_PROGRAMS = ("mount", "nsenter", "unshare")
# Where network plugins are installed: Debian's folder, and the one that upstream documents.
PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/cni")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
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
        folder = unpacked(packages, environment)
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
    if name in PLUGINS:
        for folder in PLUGIN_FOLDERS:
            if all(shutil.which(plugin, path=folder) for plugin in PLUGINS):
                return shutil.which(name, path=folder)
        return None
    found = shutil.which(name, path=path)
    if found is not None and name == "busybox" and not _is_static(Path(found)):
        return None
    return found


def _is_static(path: Path) -> bool:
    """Tell whether a program needs no libraries, as the only program of an image must."""
    with path.open("rb") as file:
        return ELF_INTERPRETER not in file.read(4096)


def _find_below(folder: Path, name: str) -> str:
    for program_folder in PROGRAM_FOLDERS:
        path = folder / program_folder / name
        if path.is_file():
            return str(path)
    raise NodeUnavailableError(f"the package {PACKAGES[name]} has no {name}: install it yourself")
