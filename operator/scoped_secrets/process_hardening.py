"""Limits how long values stay in memory: no core dump, no access from other processes, little in freed memory.

Python guarantees no erasure: it copies objects, and freed small objects stay until their memory is used again. So this
module only bounds what remains, and a test measures the bound.
"""

import ctypes
import resource
import sys
from contextlib import suppress
from typing import Final

__all__ = ["harden_process"]

# <sys/prctl.h> and <malloc.h>; the numbers are part of the ABI.
_PR_SET_DUMPABLE: Final = 4
_M_PERTURB: Final = -6
_OVERWRITE_WITH: Final = 0xFF


def harden_process(*, for_good: bool = True) -> None:
    """Keep the memory of this process out of core files and other processes, and overwrite freed memory.

    - The limit of core files is 0. Where the kernel hands core dumps to a program (systemd-coredump, apport), it does
      not ask for that limit: core(5). So the process also becomes one that is never dumped.
    - Such a process can neither be traced nor have its memory read by another one of the same user, a debugging
      container included: ptrace(2). Root may; and `/proc/PID` belongs to root from then on.
    - What glibc's free() takes back is overwritten, except blocks of up to about a kilobyte: mallopt(3), M_PERTURB.

    Args:
        for_good: Whether neither this process nor its children can raise the limit again.
    """
    hard = 0 if for_good else resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Other C libraries than glibc have no such switch.
    with suppress(AttributeError):
        library.mallopt(_M_PERTURB, _OVERWRITE_WITH)
