"""Clean a run directory up when its owner dies, also when the owner is killed with -9.

The owner starts `python -m tests.cluster.reaper RUN_DIRECTORY` with a pipe as standard input and
writes nothing into it. The pipe breaks when the owner is gone; then whatever it left is removed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.cluster.run_directory import wait_and_clean


def main() -> None:
    """Wait for the owner's end, then clean up what it did not."""
    # Whoever stops the test run by its process group must not stop the clean-up with it.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    wait_and_clean(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
