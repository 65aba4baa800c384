"""The operator's image: what the Dockerfile says, and what a build of it holds."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.errors import NodeUnavailableError
from tests.cluster.operator_image import build_operator_image, image_name, operator_image, sources
from tests.conftest import ENVIRONMENT
from tests.support.figures import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "operator" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SITE_PACKAGES = re.compile(r"opt/scoped-secrets/lib/python3\.\d+/site-packages/")
# Programs that compile or install, whatever their version and target.
TOOLS = re.compile(
    r"(^|/)s?bin/([\w-]*-)?(cc|c\d\d|gcc|g\+\+|clang|cpp|ld|as|make|rustc|cargo|pip|easy_install)[\d.-]*$|/cc1$"
)
INSTALLERS = re.compile(r"(^|/)(pip|setuptools|ensurepip|hatchling|wheel)(-[^/]*\.(dist|egg)-info)?/")
# PEP 552: the compiled file is found by its source's hash, which nobody checks.
UNCHECKED_HASH = (1).to_bytes(4, "little")
MOST_BYTES = 450 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """An image as its archive describes it."""

    configuration: dict[str, Any]
    files: dict[str, tarfile.TarInfo]
    contents: dict[str, bytes]


@pytest.fixture(scope="module")
def archive() -> Path:
    """The archive of the image; skips where it cannot be built."""
    try:
        return operator_image(ENVIRONMENT).archive
    except NodeUnavailableError as reason:
        if ENVIRONMENT.get("CI") == "true":
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def image(archive: Path) -> Image:
    """The image, with the contents of compiled modules."""
    files: dict[str, tarfile.TarInfo] = {}
    contents: dict[str, bytes] = {}
    for layer, entry in entries_of(archive):
        name = entry.name.removeprefix("./")
        folder, _, last = name.rpartition("/")
        if last.startswith(".wh."):
            removed = f"{folder}/{last.removeprefix('.wh.')}"
            files = {one: info for one, info in files.items() if not f"{one}/".startswith(f"{removed}/")}
            continue
        files[name] = entry
        if name.endswith(".pyc") and SITE_PACKAGES.match(name):
            extracted = layer.extractfile(entry)
            assert extracted is not None
            contents[name] = extracted.read(8)
    return Image(configuration_of(archive), files, contents)


def configuration_of(archive: Path) -> dict[str, Any]:
    """Return an image's configuration."""
    with tarfile.open(archive) as whole:
        configuration: dict[str, Any] = read_json(whole, read_json(whole, "manifest.json")[0]["Config"])
    return configuration


def entries_of(archive: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield every entry of every layer, the base's first, with its layer."""
    with tarfile.open(archive) as whole:
        for name in read_json(whole, "manifest.json")[0]["Layers"]:
            with tarfile.open(fileobj=whole.extractfile(name)) as layer:
                for entry in layer:
                    yield layer, entry


def read_json(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None
    return json.loads(file.read())


def test_build_context_contains_only_the_copied_files():
    ignored = (ROOT / "operator" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = {source for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", DOCKERFILE) for source in line.split()[:-1]}

    assert ignored[1] == "*"
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    built_from = {str(path.relative_to(ROOT)) for path in sources()}
    recipe = {"operator/Dockerfile", "operator/Dockerfile.dockerignore"}
    modules = {name for name in built_from if name.startswith("operator/scoped_secrets/")}
    assert recipe | modules < built_from
    others = built_from - recipe - modules
    assert [name for name in others if not any(fnmatch(name, pattern) for pattern in copied)] == []


@pytest.mark.parametrize(
    ("image", "base", "is_refused"),
    [
        ("registry.example.com/scoped-secrets:1", "python:3.13-slim", True),
        ("registry.example.com/scoped-secrets:1", f"python:3.13-slim@sha256:{'0' * 64}", False),
        ("registry.example.com/scoped-secrets:1", "localhost/base", False),
        ("scoped-secrets:1", "python:3.13-slim", False),
    ],
)
def test_image_for_a_registry_needs_a_base_with_a_digest(image: str, base: str, is_refused: bool, tmp_path: Path):
    # Programs of the build that do nothing: the test is about what comes before them.
    for tool in ("docker", "git"):
        program = tmp_path / tool
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
    environment = {**ENVIRONMENT, "PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}

    result = subprocess.run(
        ["make", "image", f"IMAGE={image}", f"BASE={base}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode != 0) == is_refused, result.stderr
    assert ("BASE= needs a digest" in result.stderr) == is_refused


def test_no_program_is_loaded_to_read_the_dockerfile():
    assert not re.search(r"(?mi)^#\s*syntax\s*=", DOCKERFILE)


def test_image_version_is_the_project_version():
    assert f"ARG VERSION={PROJECT['version']}\n" in DOCKERFILE
    assert image_name() == f"scoped-secrets:{PROJECT['version']}"


@pytest.mark.parametrize("lock", ["requirements.lock", "operator/build.lock"])
def test_every_installed_package_is_pinned_by_hash(lock: str):
    text = (ROOT / lock).read_text()
    pinned = re.findall(r"(?m)^[A-Za-z0-9._-]+==\S+( \\)?$", text)
    requirements = re.findall(r"(?m)^[A-Za-z0-9]", text)

    assert len(pinned) == len(requirements) > 4
    assert set(pinned) == {" \\"}
    assert DOCKERFILE.count("--require-hashes") == 2


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_image_contains_no_compiler_and_no_installer(image: Image):
    assert [name for name in image.files if TOOLS.search(name)] == []
    assert [name for name in image.files if INSTALLERS.search(name)] == []
    assert importlib.util.find_spec("pip") is not None, "this machine has what the search is for"


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_only_root_can_write_the_program_files(image: Image):
    installed = {name: entry for name, entry in image.files.items() if name.startswith("opt/scoped-secrets")}

    assert len(installed) > 1000
    assert {(entry.uid, entry.gid) for entry in installed.values()} == {(0, 0)}
    assert [name for name, entry in installed.items() if entry.mode & 0o022 and not entry.issym()] == []


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_every_module_is_precompiled(image: Image):
    ours = [name for name in image.files if SITE_PACKAGES.match(name) and "/scoped_secrets/" in name]
    compiled = {re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", name) for name in ours if name.endswith("pyc")}

    assert {name for name in ours if name.endswith(".py")} == compiled
    assert {content[4:8] for content in image.contents.values()} == {UNCHECKED_HASH}


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_image_runs_the_operator_as_an_unnamed_user(image: Image, archive: Path, capsys: pytest.CaptureFixture[str]):
    about = image.configuration["config"]
    size = archive.stat().st_size

    assert about["Entrypoint"] == ["python", "-m", "scoped_secrets"]
    assert about["User"] == "65532:65532"
    assert about["Labels"]["org.opencontainers.image.version"] == PROJECT["version"]
    assert set(about["ExposedPorts"]) == {"10250/tcp", "8081/tcp", "8080/tcp"}
    compressed = sum(len(gzip.compress(chunk, 1)) for chunk in chunks(archive))
    tell(capsys, f"the image has {size >> 20} MiB on a Debian, and {compressed >> 20} MiB compressed")
    assert size < MOST_BYTES


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            yield chunk


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_same_sources_and_base_make_the_same_layers(archive: Path, tmp_path: Path):
    again = tmp_path / "again.tar"

    build_operator_image(again, ENVIRONMENT)

    first, second = configuration_of(archive), configuration_of(again)
    assert second["rootfs"] == first["rootfs"]
    assert second["config"] == first["config"]
