"""Build programs from pinned Go modules, once per content of a module: the cluster's own, helm, and kubectl alone.

The result lies in a cache folder outside the checkout, named after what it is made from. It appears
there under its final name only when it is complete, and a lock lets two builds of the same content
at the same time end up as one.

For another version of Kubernetes, change the versions in `kubernetes/go.mod`, all of them together, and
run `go mod tidy` there; etcd's is the one that this Kubernetes requires itself. For another helm, change the
one version in `helm/go.mod` and run `go mod tidy` there. `kubectl/go.mod` has the cluster's version.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.cluster.errors import AssetsError
from tests.cluster.progress import Phase, elapsed, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
)
ERROR_LINES = 20


@dataclass(frozen=True, slots=True)
class GoModule:
    """A pinned Go module, what is built from it, and what people are told about it."""

    folder: Path
    package: str
    """What is compiled: a package of the module itself, or one that it requires."""
    requirement: str
    """The module in go.mod whose version the binary tells."""
    version_variable: str
    title: str
    binary: str
    links: tuple[str, ...]
    """Names that are links to the binary, for one that looks at the name that it was called by."""
    effort: str
    alternative: str
    """What can be done instead of a build: the end of a sentence."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Everything that a complete folder holds for others."""
        return self.links or (self.binary,)

    def version(self) -> str:
        """Return the version of what is built, without the `v`."""
        return self.required_version(self.requirement)

    def required_version(self, module: str) -> str:
        """Return the version of a module, or of `go` itself, in go.mod."""
        pattern = rf"^\s*(?:require\s+)?{re.escape(module)}\s+v?([0-9][\w.]*)(?:\s*//.*)?$"
        found = re.search(pattern, (self.folder / "go.mod").read_text(), re.MULTILINE)
        if found is None:
            raise AssetsError(f"{self.folder / 'go.mod'} does not require {module}: restore the file")
        return found[1]

    def digest(self) -> str:
        """Return a name for the module's content."""
        digest = hashlib.sha256()
        for path in [*sorted(self.folder.glob("*.go")), self.folder / "go.mod", self.folder / "go.sum"]:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def is_complete(self, folder: Path) -> bool:
        """Tell whether a folder holds every program."""
        return all((folder / program).exists() for program in self.programs)


KUBERNETES = GoModule(
    folder=Path(__file__).parent / "kubernetes",
    package=".",
    requirement="k8s.io/kubernetes",
    version_variable="k8s.io/component-base/version.gitVersion",
    title="Kubernetes",
    binary="kubernetes",
    links=PROGRAMS,
    effort="about five minutes on two cores, 5 GB of Go's caches",
    alternative="or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl",
)
HELM = GoModule(
    folder=Path(__file__).parent / "helm",
    package="helm.sh/helm/v4/cmd/helm",
    requirement="helm.sh/helm/v4",
    version_variable="helm.sh/helm/v4/internal/version.version",
    title="helm",
    binary="helm",
    links=(),
    effort="about three minutes on two cores",
    alternative="or set HELM_BINARY to a helm of version 4",
)
KUBECTL = GoModule(
    folder=Path(__file__).parent / "kubectl",
    package=".",
    requirement="k8s.io/kubectl",
    version_variable="k8s.io/component-base/version.gitVersion",
    title="kubectl alone",
    binary="kubectl",
    links=(),
    effort="about two minutes on two cores",
    alternative="or leave the benches that compare with kubectl out",
)
"""kubectl as people have it. The cluster's starts slowly: it initializes the packages of the control plane too."""


def built_assets(environment: Mapping[str, str], module: GoModule = KUBERNETES) -> Path:
    """Return the folder with the built programs of a module, and build them first when they are not there.

    Raises:
        AssetsError: Go is missing or too old, or the build fails.
    """
    cache = cache_folder(environment)
    content = module.digest()
    go_version = _go_version(environment)
    if go_version is None:
        if earlier := _complete_builds(cache, module, content):
            return earlier[0]
        required = module.required_version("go")
        raise AssetsError(
            f"Go is not installed: install Go {required} or newer from https://go.dev/dl/, {module.alternative}"
        )
    folder = cache / f"{content}-{go_version}-{platform.machine()}"
    if module.is_complete(folder):
        return folder
    _refuse_old_go(go_version, module)
    cache.mkdir(parents=True, exist_ok=True)
    with _build_lock(cache / f"{folder.name}.lock"):
        # Another process may have built it while we waited.
        if not module.is_complete(folder):
            _build(folder, module, environment)
    return folder


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder that holds all builds."""
    home = Path(environment.get("HOME") or Path.home())
    base = environment.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "scoped-secrets" / "cluster"


def _complete_builds(cache: Path, module: GoModule, content: str) -> list[Path]:
    """Return the finished builds of a content, with whichever Go made them."""
    folders = sorted(cache.glob(f"{content}-*-{platform.machine()}"))
    return [folder for folder in folders if module.is_complete(folder)]


def _go_version(environment: Mapping[str, str]) -> str | None:
    """Return the installed version of Go such as `go1.26.8`, or nothing when there is no Go."""
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        return None
    result = subprocess.run(
        [go, "env", "GOVERSION"],
        env=_go_environment(environment),
        # Outside the module: in it, an older Go refuses to tell even its version.
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        check=False,
    )
    # A name with a blank can only be a development build, and a folder must not have one.
    return result.stdout.split()[0] if result.stdout.strip() else None


def _refuse_old_go(version: str, module: GoModule) -> None:
    required = module.required_version("go")
    if _numbers(version) < _numbers(required):
        raise AssetsError(
            f"Go is too old ({version.removeprefix('go')}): install Go {required} or newer from "
            f"https://go.dev/dl/, {module.alternative}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _go_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Go: proxies and caches as they are, the build itself as we say."""
    return {
        **environment,
        "CGO_ENABLED": "0",
        # The compilers are Go programs too: they collect garbage less often than by default, within a limit.
        "GOGC": environment.get("GOGC", "400"),
        "GOMEMLIMIT": environment.get("GOMEMLIMIT", "2GiB"),
        "GOFLAGS": f"{environment.get('GOFLAGS', '')} -mod=readonly".strip(),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


@contextlib.contextmanager
def _build_lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building the same programs, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path, module: GoModule, environment: Mapping[str, str]) -> None:
    """Build into a folder beside the final one and rename it, so that it is complete or absent."""
    for interrupted in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(interrupted)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        started = time.monotonic()
        say(f"building {module.title} {module.version()} once into {folder} ({module.effort})")
        packages = _list_packages(module, environment)
        _compile(unfinished / module.binary, module, packages, environment)
        for link in module.links:
            (unfinished / link).symlink_to(module.binary)
        unfinished.rename(folder)
        say(f"built in {elapsed(started)}")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _list_packages(module: GoModule, environment: Mapping[str, str]) -> set[str]:
    """Download the modules that the build needs, and return the packages that it compiles."""
    arguments = ["go", "list", "-deps", module.package]
    with Phase("modules", "module {count} downloaded: {last}") as phase:
        output = _run_go(arguments, module, environment, phase, counted="go: downloading ")
    return set(output.split())


def _compile(binary: Path, module: GoModule, packages: set[str], environment: Mapping[str, str]) -> None:
    flags = f"-s -w -X {module.version_variable}=v{module.version()}"
    # Nobody runs these programs in a debugger. To generate its data takes a quarter of the compilers' time.
    arguments = ["go", "build", "-v", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags", flags]
    with Phase("compile", f"package {{count}} of at most {len(packages)}: {{last}}") as phase:
        _run_go([*arguments, "-o", str(binary), module.package], module, environment, phase, counted="")


def _run_go(
    arguments: list[str], module: GoModule, environment: Mapping[str, str], phase: Phase, *, counted: str
) -> str:
    """Run go in the module, feed its progress lines to the phase, and return what it prints.

    Raises:
        AssetsError: It failed; the message has its last lines.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            arguments,
            cwd=module.folder,
            env=_go_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            lines = _read_progress(process.stderr, phase, counted)
            code = process.wait()
        finally:
            # Go starts compilers; on Ctrl-C they must end with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        if code != 0:
            details = "\n".join(lines[-ERROR_LINES:])
            raise AssetsError(f"`{' '.join(arguments[:2])}` failed:\n{details}")
        output.seek(0)
        return output.read()


def _read_progress(stream: IO[str] | None, phase: Phase, counted: str) -> list[str]:
    lines = []
    for line in stream or ():
        lines.append(line.rstrip())
        if line.startswith(counted):
            phase.advance(line.removeprefix(counted).strip())
    return lines
