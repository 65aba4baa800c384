"""The operator's image, built from its Dockerfile without a container engine, once per content.

The base is a Debian of our own, made by mmdebstrap, and the build is buildah's, both in process and mount namespaces
that end with it. What is built lies in the cache folder, named after what it is made from.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.build import cache_folder
from tests.cluster.errors import NodeUnavailableError
from tests.cluster.packages import unpacked
from tests.cluster.progress import Phase
from tests.cluster.run_directory import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "scoped-secrets"
SUITE = "bookworm"
# What the Dockerfile asks of a base.
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
# The programs that build, and the Debian package of each.
BUILDERS = ("buildah", "mmdebstrap")
REQUIRED_PROGRAMS = ("unshare", "mount", "ldconfig", "perl")
SYSTEM_FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
# Images of so many states of the sources are kept, of 400 MB each.
KEPT_IMAGES = 2
ERROR_LINES = 15
# What a build inside must know of how this machine reaches packages.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout")


@dataclass(frozen=True, slots=True)
class OperatorImage:
    """An archive in the layout of `docker save`, and the image's name in it."""

    archive: Path
    name: str


def operator_image(environment: Mapping[str, str]) -> OperatorImage:
    """Return the image of the operator as it stands in the checkout, built first when need be.

    Raises:
        NodeUnavailableError: This machine cannot build it; the message says what is missing.
    """
    cache = cache_folder(environment)
    archive = cache / f"image-{_content()}.tar"
    if not archive.exists():
        with _lock(cache):
            if not archive.exists():
                build_operator_image(archive, environment)
                _remove_old(cache)
    # The newest are kept, and what is used is new.
    archive.touch()
    return OperatorImage(archive, image_name())


def build_operator_image(archive: Path, environment: Mapping[str, str]) -> None:
    """Build the image anew.

    Raises:
        NodeUnavailableError: This machine cannot build it; the message says what is missing.
    """
    tools = _builders(environment)
    base = _base(tools, environment)
    arguments = [str(base), str(REPOSITORY), str(archive), image_name()]
    _build("image", "step {count}: {last}", tools, arguments, environment)


def image_name() -> str:
    """Return the name that chart and manifests use."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return f"{NAME}:{project['version']}"


def sources() -> list[Path]:
    """Return every file that the build gets, as the Dockerfile's ignore file says."""
    names = ("LICENSE", "README.md", "pyproject.toml", "requirements.lock", "operator/build.lock")
    found = [REPOSITORY / name for name in names]
    found += (REPOSITORY / "manifests").glob("*.yaml")
    package = (REPOSITORY / "operator" / "scoped_secrets").rglob("*")
    found += (path for path in package if path.is_file() and "__pycache__" not in path.parts)
    found += (REPOSITORY / "operator").glob("Dockerfile*")
    return sorted(found)


def _content() -> str:
    """Return a name for all that the image is made from."""
    digest = hashlib.sha256(_base_content().encode())
    for path in sources():
        name = path.relative_to(REPOSITORY)
        digest.update(f"{name}\0{path.stat().st_mode & 0o777}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _base_content() -> str:
    recipe = (Path(__file__).with_name("image_builder.py")).read_bytes()
    named = " ".join((SUITE, *BASE_PACKAGES)).encode()
    return hashlib.sha256(named + recipe).hexdigest()[:16]


def _builders(environment: Mapping[str, str]) -> Path:
    """Return the folder with the unpacked programs that build; the machine's own are among them when it has none.

    Raises:
        NodeUnavailableError: Something is missing; the message says what to do.
    """
    if os.geteuid() != 0:
        raise NodeUnavailableError("the operator's image is built as root: run as root, or in a privileged container")
    path = f"{environment.get('PATH', '')}:{SYSTEM_FOLDERS}"
    for name in REQUIRED_PROGRAMS:
        if shutil.which(name, path=path) is None:
            raise NodeUnavailableError(f"{name} is missing, without which the operator's image cannot be built")
    return unpacked(BUILDERS, environment, "images", with_dependencies=True)


def _base(tools: Path, environment: Mapping[str, str]) -> Path:
    """Return the archive of the base's files, made once."""
    base = cache_folder(environment) / f"base-{_base_content()}.tar"
    if not base.exists():
        arguments = [str(base), SUITE, ",".join(BASE_PACKAGES)]
        _build("base", "base image, step {count}: {last}", tools, arguments, environment)
    return base


def _build(what: str, progress: str, tools: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a build in namespaces of its own and show how far it is."""
    cache = cache_folder(environment)
    scratch = Path(tempfile.mkdtemp(prefix=".image-", dir=cache))
    (scratch / "pip.conf").write_text(_pip_configuration(environment))
    private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    builder = [sys.executable, "-m", "tests.cluster.image_builder", what, str(tools), str(scratch), _authorities()]
    try:
        with Phase(what, progress) as phase:
            failure = _run([*private, *builder, *arguments], environment, phase)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if failure:
        raise NodeUnavailableError(f"the operator's {what} cannot be built:\n{failure}")


def _run(command: Sequence[str], environment: Mapping[str, str], phase: Phase) -> str:
    """Run a build and return the end of its output when it fails."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**environment, "PATH": f"{environment.get('PATH', '')}:{SYSTEM_FOLDERS}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    try:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            phase.advance(line.strip()[:100])
        code = process.wait()
    finally:
        # The first process of the namespaces ends with this one, and everything in them with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return "\n".join(lines[-ERROR_LINES:]) if code else ""


def _authorities() -> str:
    """Return the file with the authorities that this machine trusts; a proxy's may be among them."""
    return ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"


def _pip_configuration(environment: Mapping[str, str]) -> str:
    """Return a pip.conf with this machine's settings about where packages are."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    result = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=True)
    lines = ["[global]"]
    for line in result.stdout.splitlines():
        key, _, value = line.partition("=")
        setting = key.rpartition(".")[2]
        if setting in PIP_SETTINGS:
            lines.append(f"{setting} = {ast.literal_eval(value)}")
    return "\n".join(lines) + "\n"


def _remove_old(cache: Path) -> None:
    images = sorted(cache.glob("image-*.tar"), key=lambda path: path.stat().st_mtime)
    for path in images[:-KEPT_IMAGES]:
        path.unlink()
    newest = cache / f"base-{_base_content()}.tar"
    for path in cache.glob("base-*.tar"):
        if path != newest:
            path.unlink()


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """Hold the lock of image builds, and remove what an interrupted one has left."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for interrupted in cache.glob(".image-*"):
            shutil.rmtree(interrupted, ignore_errors=True)
        yield
