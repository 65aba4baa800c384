"""What keeps values from outliving their use in memory: no core dump, no look from outside, little in freed memory.

Python promises no erasure: it copies as it likes, and small objects stay where they were until their place is used
again. So this bounds what is found, and a test says how much that is.
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
    """Keep the memory of this process out of core files, out of other processes' sight, and free of what was freed.

    - The limit of core files is 0. Where the kernel hands core dumps to a program (systemd-coredump, apport), it does
      not ask for that limit: core(5). So the process also becomes one that is never dumped.
    - Such a process can neither be traced nor have its memory read by another one of the same user, a debugging
      container included: ptrace(2). Root may; and `/proc/PID` belongs to root from then on.
    - What glibc's free() takes back is overwritten, except blocks of up to about a kilobyte: mallopt(3), M_PERTURB.

    Args:
        for_good: Whether the limit can not be raised again, by this process or by one that it starts.
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
