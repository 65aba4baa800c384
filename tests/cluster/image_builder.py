"""The part of an image's build that runs in process and mount namespaces of its own.

It runs as `unshare … python -m tests.cluster.image_builder WHAT TOOLS SCRATCH AUTHORITIES ARGUMENTS…`: as root, in
namespaces in which nothing that it mounts or starts outlives it. TOOLS is a folder with unpacked packages, SCRATCH is
for everything that is thrown away, and AUTHORITIES the file with the certificate authorities that are trusted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "localhost/scoped-secrets/base"
# What nobody reads in a container.
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


class Builder:
    """Runs the programs that build."""

    def __init__(self, tools: Path, scratch: Path, authorities: str) -> None:
        """Prepare the namespaces and the programs' configuration."""
        self._tools = tools
        self._scratch = scratch
        self._authorities = authorities
        for name in ("home", "temporary", "context"):
            (scratch / name).mkdir()
        self._environment = {
            **os.environ,
            "PATH": f"{tools / 'usr' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(scratch / "home"),
            "TMPDIR": str(scratch / "temporary"),
            "SOURCE_DATE_EPOCH": "0",
            "CONTAINERS_STORAGE_CONF": str(scratch / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(scratch / "registries.conf"),
        }
        (scratch / "registries.conf").touch()
        (scratch / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        storage = f'[storage]\ndriver = "vfs"\nrunroot = "{scratch}/run"\ngraphroot = "{scratch}/graph"\n'
        (scratch / "storage.conf").write_text(storage)
        self._show_libraries()

    def base(self, archive: str, suite: str, packages: str) -> None:
        """Make the archive of a small Debian."""
        unfinished = self._scratch / "base.tar"
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
        script = self._tools / "usr" / "bin" / "mmdebstrap"
        options = ["--variant=minbase", "--mode=root", f"--include={packages}", *excluded]
        self._run("perl", str(script), *options, suite, str(unfinished))
        unfinished.rename(archive)

    def image(self, base: str, source: str, archive: str, name: str) -> None:
        """Build the Dockerfile on a base and write the image into an archive."""
        context = self._scratch / "context"
        # A hard link, because the build context is copied once anyway.
        (context / "base.tar").hardlink_to(base)
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self._buildah("bud", "--timestamp=0", "--tag", BASE, str(context))
        dockerfile = f"{source}/operator/Dockerfile"
        self._buildah(
            "bud",
            "--timestamp=0",
            f"--build-arg=BASE={BASE}",
            f"--build-arg=VERSION={name.rpartition(':')[2]}",
            f"--ignorefile={dockerfile}.dockerignore",
            # How this machine reaches packages: mounted while the build runs, and in no layer.
            f"--volume={self._authorities}:/etc/ssl/certs/ca-certificates.crt:ro",
            f"--volume={self._scratch}/pip.conf:/etc/pip.conf:ro",
            f"--file={dockerfile}",
            f"--tag=localhost/{name}",
            source,
        )
        unfinished = self._scratch / "image.tar"
        self._buildah("push", f"localhost/{name}", f"docker-archive:{unfinished}:{name}")
        unfinished.rename(archive)

    def _buildah(self, command: str, *arguments: str) -> None:
        buildah = str(self._tools / "usr" / "bin" / "buildah")
        isolation = ["--isolation=chroot"] if command == "bud" else []
        policy = f"--signature-policy={self._scratch / 'policy.json'}"
        self._run(buildah, "--storage-driver=vfs", command, *isolation, policy, *arguments)

    def _show_libraries(self) -> None:
        """Let programs find unpacked libraries; buildah starts itself anew without our environment."""
        configuration = self._scratch / "ld.so.conf"
        folders = [str(path) for path in (self._tools / "usr" / "lib").glob("*-linux-*")]
        configuration.write_text("\n".join(["include /etc/ld.so.conf", *folders]) + "\n")
        cache = self._scratch / "ld.so.cache"
        self._run("ldconfig", "-X", "-C", str(cache), "-f", str(configuration))
        self._run("mount", "--no-mtab", "--bind", str(cache), "/etc/ld.so.cache")

    def _run(self, *command: str) -> None:
        if subprocess.run(command, env=self._environment, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            sys.exit(1)


def main() -> None:
    """Build what the command line says."""
    what, tools, scratch, authorities, *arguments = sys.argv[1:]
    builder = Builder(Path(tools), Path(scratch), authorities)
    steps: dict[str, Callable[..., None]] = {"base": builder.base, "image": builder.image}
    steps[what](*arguments)


if __name__ == "__main__":
    main()
