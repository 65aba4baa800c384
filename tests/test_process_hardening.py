"""Private memory: each of its three parts, seen from outside of a process of its own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.memory import core_limit, occurrences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked to keep memory private")

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
NOBODY = 65534
# A person like any other: whoever was root may be read by nobody but root, until the process says otherwise.
AS_NOBODY = f"""
import ctypes, os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
KEEP_PRIVATE = "from scoped_secrets.process_hardening import harden_process\nharden_process()\n"
WAIT = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n"


@contextmanager
def running(*parts: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the end of the block; it is ready when the block begins."""
    with subprocess.Popen(
        [sys.executable, "-c", "\n".join(parts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def read_by_the_same_user(pid: int, name: str) -> str:
    """Return what a process of the same user meets when it opens a file of another one's in ``/proc``."""
    script = f"{AS_NOBODY}\ntry:\n    open('/proc/{pid}/{name}', 'rb').read(1)\nexcept OSError as error:\n"
    script += "    print(type(error).__name__)\nelse:\n    print('read')\n"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_process_of_the_same_user_reads_unhardened_memory():
    with running(AS_NOBODY, WAIT) as process:
        assert read_by_the_same_user(process.pid, "environ") == "read"


@pytest.mark.parametrize("name", ["mem", "environ", "maps"])
def test_process_of_the_same_user_cannot_read_hardened_memory(name: str):
    # Imported before: a user without a home may not read the interpreter's folder.
    with running("import scoped_secrets.process_hardening", AS_NOBODY, KEEP_PRIVATE, WAIT) as process:
        assert read_by_the_same_user(process.pid, name) == "PermissionError"


def crash(folder: Path, *parts: str) -> int:
    """Return how a program ends that crashes and would dump core as far as its parent is concerned."""
    program = [sys.executable, "-c", "\n".join([*parts, "import os\nos.abort()"])]

    def allow_core_files() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, UNLIMITED if os.geteuid() == 0 else (hard, hard))

    with subprocess.Popen(program, cwd=folder, preexec_fn=allow_core_files, stderr=subprocess.DEVNULL) as process:  # noqa: PLW1509 - no threads here, and limits are the child's own.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == signal.SIGABRT
    return ended.si_code


def test_crash_leaves_no_core_file_even_with_a_core_handler(tmp_path: Path):
    # As where the kernel hands core dumps to a program, which it does whatever the limit is.
    raised = "import resource as r\ntry:\n    r.setrlimit(r.RLIMIT_CORE, (-1, -1))\nexcept ValueError:\n    pass\n"
    raised += "except PermissionError:\n    pass\n"

    assert crash(tmp_path, KEEP_PRIVATE) == os.CLD_KILLED
    assert crash(tmp_path, KEEP_PRIVATE, raised) == os.CLD_KILLED
    assert list(tmp_path.iterdir()) == []


def test_unhardened_process_leaves_a_core_file(tmp_path: Path):
    if crash(tmp_path) != os.CLD_DUMPED:
        pytest.skip("this machine writes no core files at all")


def test_core_limit_is_zero_and_cannot_be_raised():
    with running(KEEP_PRIVATE, WAIT) as process:
        assert core_limit(process.pid) == ("0", "0")


# Small enough for the heap: what is larger goes back to the kernel.
COPIES = 4_000
# The text is put together in two halves, so that the program's own source does not hold it.
USE = f"""
import os
halves = b"left-half-", b"right-half"
value = b"".join(halves) * {COPIES}
if %s:
    del value
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of these processes")
@pytest.mark.parametrize(("let_go", "least", "most"), [(False, COPIES, 2 * COPIES), (True, 0, 100)])
def test_freed_memory_is_overwritten(let_go: bool, least: int, most: int):
    with running(KEEP_PRIVATE, USE % let_go, WAIT) as process:
        assert least <= occurrences(process.pid, b"left-half-right-half") <= most
