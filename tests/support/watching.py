"""What others on the machine see of a command while it runs, and what it leaves: arguments, variables and files."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.canary import Canary

_PAUSE_SECONDS = 0.005
_MEMORY = Path("/dev/shm")  # noqa: S108 - where `edit` keeps its drafts, while the editor is open.
# An interactive shell writes what was typed into its history.
_SHELL = 'set -o history; history -s -- "$*"; "$@"; code=$?; history -w "$HOME/.bash_history"; exit "$code"'


@dataclass(frozen=True, slots=True)
class Watched:
    """One command that has ended."""

    code: int
    stdout: str
    stderr: str
    findings: frozenset[str]


@dataclass(slots=True)
class Watch:
    """Looks at a process, at its descendants and at folders until it is closed.

    Attributes:
        pid: The process.
        folders: What must hold no value at any time.
        canary: The maker of the values.
        left: What must hold no value at the end.
    """

    pid: int
    folders: Sequence[Path]
    canary: Canary
    left: Sequence[Path] = ()
    findings: set[str] = field(default_factory=set)
    commands: set[bytes] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Look once more, also at what is left."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._look_at_files([*self.folders, *self.left])

    def _run(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            for pid in _tree(self.pid):
                self._look_at_process(Path("/proc") / str(pid))
            self._look_at_files(self.folders)

    def _look_at_process(self, process: Path) -> None:
        # It has ended, or it shows its variables to no other process, which is what is asked for.
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes()
            self.commands.add(arguments)
            self._find("arguments", arguments)
            self._find("variables", (process / "environ").read_bytes())

    def _look_at_files(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            for path in folder.rglob("*"):
                with suppress(OSError):
                    self._find(f"file {path.name}", path.name.encode() + (path.read_bytes() if path.is_file() else b""))

    def _find(self, place: str, text: bytes) -> None:
        self.findings.update(str(finding) for finding in self.canary.find(place, text))


def watched(
    program: Sequence[str], folder: Path, canary: Canary, *, stdin: str = "", environment: Mapping[str, str] = {}
) -> Watched:
    """Run a command from a shell with a history, in a home and with temporary files of its own, and watch it."""
    home, temporary, outside = folder / "home", folder / "temporary", folder / "outside"
    for each in (home, temporary, outside):
        each.mkdir(exist_ok=True)
    (outside / "stdin").write_text(stdin)
    with (
        # Memory of its own, in which `edit` keeps its drafts; other commands run at the same time.
        TemporaryDirectory(prefix="watched-", dir=_MEMORY) as memory,
        (outside / "stdin").open() as given,
        (outside / "stdout").open("w") as stdout,
        (outside / "stderr").open("w") as stderr,
        subprocess.Popen(
            ["/bin/bash", "--norc", "-c", _SHELL, "shell", *program],
            stdin=given,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "TMPDIR": str(temporary),
                "XDG_RUNTIME_DIR": memory,
                **environment,
            },
        ) as process,
        Watch(process.pid, (home, temporary), canary, left=(Path(memory),)) as watch,
    ):
        try:
            code = process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            # The block would wait for its end.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    printed, complained = ((outside / name).read_text() for name in ("stdout", "stderr"))
    for place, text in (("standard output", printed), ("standard error", complained)):
        watch.findings.update(str(finding) for finding in canary.find(place, text))
    return Watched(code, printed, complained, frozenset(watch.findings))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))
