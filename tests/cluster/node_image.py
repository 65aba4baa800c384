"""The images that job pods run: busybox, ssh-keygen, two users, and files to mount beside; one runs as a user."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.errors import NodeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = "localhost/scoped-secrets/busybox:test"
CI_IMAGE = "localhost/scoped-secrets/ci:test"
"""The same image with `USER`: what it runs as is not in the pod."""
PAUSE_IMAGE = "localhost/scoped-secrets/pause:test"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CI_USER = 1000
NOBODY_USER = 65534

FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"ci:x:{CI_USER}:{CI_USER}:ci:/home/ci:/bin/sh\n"
        f"nobody:x:{NOBODY_USER}:{NOBODY_USER}:nobody:/nonexistent:/bin/false\n"
    ),
    "etc/group": f"root:x:0:\nci:x:{CI_USER}:\nnogroup:x:{NOBODY_USER}:\n",
    # Secrets are mounted beside these files, which must stay visible.
    "etc/app/existing.conf": "this file comes with the image\n",
    "home/ci/.profile": "export PROFILE=read\n",
}
FOLDERS = {"root": 0o700, "tmp": 0o1777, "etc/app": 0o755, "home/ci": 0o755, "var/run": 0o755}


def write_image_archive(path: Path, programs: Mapping[str, str]) -> None:
    """Write an archive in the layout of `docker save` with the test images and the pause image.

    Args:
        path: The archive.
        programs: Paths on this machine of `busybox`, statically linked, and of `ssh-keygen`.

    Raises:
        NodeUnavailableError: A library of ssh-keygen is missing on this machine.
    """
    layer = _layer(programs)
    digest = hashlib.sha256(layer).hexdigest()
    test = _configuration(digest, ["/bin/sh"])
    ci = _configuration(digest, ["/bin/sh"], user=str(CI_USER))
    pause = _configuration(digest, ["/bin/sleep", "2147483647"])
    manifest = []
    with tarfile.open(path, "w") as archive:
        _add_file(archive, f"{digest}/layer.tar", layer)
        for image, content in ((IMAGE, test), (CI_IMAGE, ci), (PAUSE_IMAGE, pause)):
            name = f"{hashlib.sha256(content).hexdigest()}.json"
            _add_file(archive, name, content)
            layers = [f"{digest}/layer.tar"]
            manifest.append({"Config": name, "RepoTags": [image], "Layers": layers})
        _add_file(archive, "manifest.json", json.dumps(manifest).encode())


def _configuration(layer_digest: str, command: list[str], user: str = "") -> bytes:
    configuration: dict[str, Any] = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"User": user, "Cmd": command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }
    return json.dumps(configuration).encode()


def _layer(programs: Mapping[str, str]) -> bytes:
    """Return the image's only layer as an uncompressed archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder, mode in FOLDERS.items():
            _add_folder(archive, folder, mode)
        for name, text in FILES.items():
            _add_file(archive, name, text.encode())
        busybox = programs["busybox"]
        _add_file(archive, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for applet in _lines(busybox, "--list-full"):
            # The name of the binary itself is in the list too.
            if applet not in ("bin/busybox", "usr/bin/busybox"):
                _add_link(archive, applet, "/bin/busybox")
        _add_with_libraries(archive, Path(programs["ssh-keygen"]))
    return content.getvalue()


def _add_with_libraries(archive: tarfile.TarFile, program: Path) -> None:
    """Add a dynamically linked program as `/usr/bin/NAME`, and its libraries where it finds them."""
    _add_file(archive, f"usr/bin/{program.name}", program.read_bytes(), mode=0o755)
    for line in _lines("ldd", str(program)):
        if "not found" in line:
            library = line.split()[0]
            raise NodeUnavailableError(f"{program.name} lacks {library}: install openssh-client")
        found = re.search(r"(/\S+) \(0x", line)
        if found is not None:
            library_path = Path(found[1])
            # The name that the linker looks for, with the content that it leads to here.
            _add_file(archive, found[1].lstrip("/"), library_path.read_bytes(), mode=0o755)


def _lines(*command: str) -> list[str]:
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.strip() for line in result.stdout.splitlines()]


def _owner_of(name: str) -> int:
    return CI_USER if name.startswith("home/ci") else 0


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    entry.uid = entry.gid = _owner_of(name)
    archive.addfile(entry, io.BytesIO(content))


def _add_folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = mode
    entry.uid = entry.gid = _owner_of(name)
    archive.addfile(entry)


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = target
    archive.addfile(entry)
