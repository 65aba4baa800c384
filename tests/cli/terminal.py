"""A program of ours behind a terminal of its own, as a person sees it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 60.0
_NEXT_KEY_SECONDS = 3.0
_LOCAL_MODES = 3


class Terminal:
    """One run of ``scoped-secrets`` whose controlling terminal is ours; standard output is captured apart."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it."""
        self._master, slave = pty.openpty()
        program = [sys.executable, "-m", "scoped_secrets", *arguments]
        # The child opens /dev/tty, which is the terminal that a session's leader took as its own.
        script = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *program],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        os.close(slave)
        self.shown = b""

    def __enter__(self) -> Self:
        """Return the run, which is over at the end of the block."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._master)

    def answer(self, question: str, line: str) -> None:
        """Wait for a question, which must be the last thing on the screen, and type a line."""
        self.wait_for(question)
        os.write(self._master, f"{line}\n".encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text is on the screen behind everything that was waited for before."""
        begin, deadline = len(self.shown), time.monotonic() + SECONDS
        while text.encode() not in self.shown[begin:]:
            if not self._read_some(deadline):
                raise AssertionError(f"the screen never showed {text!r}, but {self.shown!r}")

    def interrupt(self, *, once: bool = False) -> None:
        """Type Ctrl-C until the program ends, as people do.

        Python sees a signal that arrives between its check for signals and the system call that reads only when the
        next key is typed. A program with an event loop sees each, and one at its very end would end it otherwise: for
        such a program, type it once.
        """
        if once:
            os.write(self._master, b"\x03")
            return
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            os.write(self._master, b"\x03")
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_NEXT_KEY_SECONDS)

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what went to standard output."""
        stdout, _ = self.process.communicate(timeout=SECONDS)
        while self._read_some(time.monotonic()):
            pass
        return self.process.returncode, stdout.decode()

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[_LOCAL_MODES] & termios.ECHO)

    def arguments(self) -> bytes:
        """Return what others on the machine see of the process: its arguments and, for root, its variables."""
        folder = Path("/proc") / str(self.process.pid)
        try:
            return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except PermissionError:
            return (folder / "cmdline").read_bytes()

    def _read_some(self, deadline: float) -> bool:
        """Read what is on the screen next; tell whether there was anything before the deadline."""
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0.05))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # The other side is closed.
            return False
        self.shown += data
        return bool(data)
