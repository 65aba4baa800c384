"""What long work tells a person: that it began, every few seconds how far it is, and how long it took."""

from __future__ import annotations

import sys
import threading
import time
from typing import Self

HEARTBEAT_SECONDS = 10.0


class Phase:
    """A part of the build that tells every few seconds how far it is, and at its end how long."""

    def __init__(self, name: str, progress: str) -> None:
        """Take the part's name, and a text with ``{count}`` and ``{last}``."""
        self._name = name
        self._progress = progress
        self._count = 0
        self._last = "starting"
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        """Begin to tell."""
        self._heart.start()
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        """Tell how it ended."""
        self._ended.set()
        self._heart.join()
        outcome = "done" if exception_type is None else "not finished"
        say(f"{self._name}: {outcome} after {elapsed(self._started)}, {self._count} in all")

    def advance(self, item: str) -> None:
        """Note one more item."""
        self._count += 1
        self._last = item

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            progress = self._progress.format(count=self._count, last=self._last)
            say(f"{self._name} {elapsed(self._started)}: {progress}")


def elapsed(started: float) -> str:
    """Return minutes and seconds since a moment of the monotonic clock."""
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes}:{seconds:02}"


def say(text: str) -> None:
    """Tell a person, at once and beside what the program returns."""
    print(f"[test cluster] {text}", file=sys.stderr, flush=True)
