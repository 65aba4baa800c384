"""Debian packages that are downloaded and unpacked into the cache folder instead of being installed.

Nothing on the machine changes, no service is started, and no other container engine is pushed out.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.build import cache_folder
from tests.cluster.errors import NodeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOWNLOAD_SECONDS = 300.0


def unpacked(
    packages: Sequence[str],
    environment: Mapping[str, str],
    purpose: str = "job pods",
    *,
    with_dependencies: bool = False,
) -> Path:
    """Return a folder with the contents of packages, downloaded once.

    Args:
        packages: Their names.
        environment: SCOPED_SECRETS_INSTALL=never forbids downloads; the cache folder follows from it too.
        purpose: What they are needed for, in the message when they cannot be had.
        with_dependencies: Also what they need and the machine lacks.

    Raises:
        NodeUnavailableError: They cannot be downloaded; the message says what to do.
    """
    cache = cache_folder(environment)
    folder = cache / ("-".join(["packages", *packages]) + ("-with-dependencies" if with_dependencies else ""))
    if folder.is_dir():
        return folder
    _require_download_allowed(packages, environment, purpose)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix=".packages-", dir=cache))
            try:
                _download(packages, unfinished, with_dependencies=with_dependencies)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _require_download_allowed(packages: Sequence[str], environment: Mapping[str, str], purpose: str) -> None:
    names = " ".join(packages)
    if environment.get("SCOPED_SECRETS_INSTALL") == "never":
        raise NodeUnavailableError(
            f"{purpose} need the packages {names}: install them, or unset SCOPED_SECRETS_INSTALL"
        )
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NodeUnavailableError(f"{purpose} need what Debian calls {names}: install these programs on this machine")


def _download(packages: Sequence[str], folder: Path, *, with_dependencies: bool) -> None:
    """Download packages and unpack them into a folder."""
    with tempfile.TemporaryDirectory() as archives:
        # The sandbox user of apt could not write into our folder.
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *packages]
        if with_dependencies:
            (Path(archives) / "partial").mkdir()
            command[1:2] = ["install", "--download-only", "--no-install-recommends", "--yes"]
            # Of the machine's own state, apt reads what is installed, and writes nothing.
            command += ["-o", f"Dir::Cache::Archives={archives}", "-o", "Debug::NoLocking=true"]
        failure = _run(command, archives)
        if failure:
            # The lists of packages are missing or older than the archive.
            failure = _run(["apt-get", "update", "-q"], archives) or _run(command, archives)
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
