"""What stands in the memory of a running process, as a core image would hold it, and whether one may be written."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAPPING = re.compile(r"(?P<begin>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<rights>\S+) \S+ \S+ \S+\s*(?P<name>.*)")
# The kernel's own pages, which cannot be read this way.
_KERNEL = ("[vvar]", "[vvar_vclock]", "[vsyscall]")
_CHUNK = 1 << 20


def occurrences(pid: int, *needles: bytes) -> int:
    """Count how often any of these texts stands in the memory of a process, in use or freed and not yet overwritten.

    Raises:
        PermissionError: The process may not be read by this user.
    """
    return sum(text.count(needle) for needle in needles for text in _texts(pid, len(needle)))


def core_limit(pid: int) -> tuple[str, str]:
    """Return the soft and the hard limit of a process's core files."""
    lines = (Path("/proc") / str(pid) / "limits").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Max core file size"))
    soft, hard, _ = line.removeprefix("Max core file size").split()
    return soft, hard


def _texts(pid: int, length: int) -> Iterator[bytes]:
    """Yield the memory piece by piece; no needle of this length is in two pieces, and none is cut by a border."""
    folder = Path("/proc") / str(pid)
    with (folder / "mem").open("rb", buffering=0) as memory:
        for begin, end in _readable(folder):
            kept = b""
            for place in range(begin, end, _CHUNK):
                piece = _read(memory.fileno(), place, min(_CHUNK, end - place))
                text = kept + piece
                yield text
                kept = text[-(length - 1) :] if piece and length > 1 else b""


def _readable(folder: Path) -> Iterator[tuple[int, int]]:
    for line in (folder / "maps").read_text().splitlines():
        found = _MAPPING.fullmatch(line)
        # What cannot be written is the programs' own text, which no value gets into.
        if found is not None and found["rights"].startswith("rw") and found["name"] not in _KERNEL:
            yield int(found["begin"], 16), int(found["end"], 16)


def _read(descriptor: int, place: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, place)
    except PermissionError:
        raise
    except OSError:
        # It was given back to the kernel since the list of mappings was read.
        return b""
