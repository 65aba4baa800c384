"""The first process of the node's own process and mount namespaces.

The kernel kills every process of a process namespace when its first process ends, and forgets every
mount of a mount namespace when its last process ends. So the whole node, with its daemons, shims,
containers and mounts, ends with this one process.

It runs as `unshare --mount --pid --fork … python -m tests.cluster.node_init FOLDER SCRATCH`, prepares the
mounts, writes its findings to `FOLDER/init.json`, and then only collects ended children.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

# Places outside the run directory that the daemons write to, whatever they are told.
HIDDEN_FOLDERS = ("/run", "/var/lib", "/var/log")


def main() -> None:
    """Prepare the namespaces and stay until told to end."""
    folder = Path(sys.argv[1])
    # Until /proc is mounted anew, it still tells the process id that the machine knows us by.
    pid = int(Path("/proc/self").readlink().name)
    for hidden in HIDDEN_FOLDERS:
        _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", hidden)
    _mount("-t", "proc", "proc", "/proc")
    _pretend_forwarding(folder)
    # Volumes of pods may ask that mounts reach them, for which the node must share its own.
    _mount("--make-rshared", "/")
    snapshotter = "overlayfs" if _has_overlay(folder) else "native"
    unfinished = folder / "init.json.new"
    unfinished.write_text(json.dumps({"pid": pid, "snapshotter": snapshotter}))
    unfinished.rename(folder / "init.json")
    _collect_children()


def _mount(*arguments: str) -> None:
    # Without the option, mount keeps a table of its own in the machine's /run.
    subprocess.run(["mount", "--no-mtab", *arguments], check=True)


def _pretend_forwarding(folder: Path) -> None:
    """Show the network plugin that packets are forwarded, so that it leaves the machine's setting alone.

    Pods and machine reach each other without; nothing else is to be reached.
    """
    setting = folder / "ip_forward"
    setting.write_text("1\n")
    _mount("--bind", str(setting), "/proc/sys/net/ipv4/ip_forward")


def _has_overlay(folder: Path) -> bool:
    """Try an overlay, which the file system below a container may refuse."""
    probe = folder / "overlay"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True)
    options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
    command = ["mount", "--no-mtab", "-t", "overlay", "-o", options, "overlay", str(probe / "merged")]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return False
    subprocess.run(["umount", str(probe / "merged")], check=True)
    return True


def _collect_children() -> None:
    """Collect every orphan that the node leaves to us, until SIGTERM."""
    waited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        if signal.sigwait(waited) == signal.SIGTERM:
            return


if __name__ == "__main__":
    main()
