"""A test cluster for a person: `python -m tests.cluster up|down|status|build|image`."""

from __future__ import annotations

import argparse
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from tests.cluster.assets import find_assets, helm_binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError, NodeUnavailableError
from tests.cluster.node import Node
from tests.cluster.operator_image import operator_image
from tests.cluster.run_directory import REPOSITORY, clean_abandoned, run_statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PURPOSE = "person"
DOWN_SECONDS = 60.0
POLL_SECONDS = 0.1


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the cluster's programs, once, and print where they are")
    build.add_argument("--helm", action="store_true", help="also helm")
    build.add_argument("--image", action="store_true", help="also the operator's image, at the same time")
    commands.add_parser("image", help="build the operator's image for a node, once, and print where its archive is")
    up = commands.add_parser("up", help="start a cluster and print how to use it")
    up.add_argument("--node", action="store_true", help="also a node that runs job pods")
    up.add_argument("--detach", action="store_true", help="return when it is ready; it stays up")
    commands.add_parser("down", help="end every cluster that `up` started")
    commands.add_parser("status", help="list the clusters that run, those of tests included")
    return parser


def _build(options: argparse.Namespace) -> int:
    # The image's build waits for the network and the disk while the compilers use the processor.
    image = _start_image() if options.image else None
    try:
        print(find_assets(os.environ).folder)
        if options.helm:
            print(helm_binary(os.environ))
    except BaseException:
        if image is not None:
            # Unlike a kill, this lets it remove what it has begun.
            image.send_signal(signal.SIGINT)
            image.wait()
        raise
    return 0 if image is None else image.wait()


def _start_image() -> subprocess.Popen[bytes]:
    """Start the build of the operator's image in a process of its own, which Ctrl-C reaches too."""
    return subprocess.Popen([sys.executable, "-m", "tests.cluster", "image"], cwd=REPOSITORY, stdin=subprocess.DEVNULL)


def _image(_options: argparse.Namespace) -> int:
    try:
        print(operator_image(os.environ).archive)
    except NodeUnavailableError as reason:
        # Without it the tests that install the operator are skipped; in CI they must run.
        print(f"no image: {reason}", file=sys.stderr)
        return int(os.environ.get("CI") == "true")
    return 0


def _up(options: argparse.Namespace) -> int:
    if options.detach:
        return _up_detached(with_node=options.node)
    return _up_here(with_node=options.node)


def _up_here(*, with_node: bool) -> int:
    """Keep a cluster up until Ctrl-C, SIGTERM or a hang-up."""
    # Each of them unwinds the stack below, which takes the cluster down in order.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _raise_interrupt)
    try:
        with ExitStack() as stack:
            assets = find_assets(os.environ)
            control_plane = stack.enter_context(ControlPlane.start(assets, purpose=PURPOSE))
            if with_node:
                node = stack.enter_context(Node.start(control_plane))
                print(f"# job pods: image {node.image}, imagePullPolicy Never, hostNetwork true")
            print(f"# programs: {assets.folder}")
            print(f"export KUBECONFIG={shlex.quote(str(control_plane.kubeconfig))}", flush=True)
            _wait_for_signal()
    except KeyboardInterrupt:
        # Detached, there is nobody left to tell.
        if sys.stderr.isatty():
            print("the cluster is gone", file=sys.stderr)
    return 0


def _wait_for_signal() -> NoReturn:
    while True:
        signal.pause()


def _raise_interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _up_detached(*, with_node: bool) -> int:
    """Start `up` in a session of its own and return when it has told how to use the cluster."""
    # A build takes minutes and shows its progress, which belongs into the person's terminal.
    find_assets(os.environ)
    command = [sys.executable, "-m", "tests.cluster", "up", *(["--node"] if with_node else [])]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Not the terminal's: a pipe that the caller reads must end when we return.
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    # It writes nothing after the line that we wait for, so nobody need read the pipe any more.
    for line in process.stdout or ():
        print(line, end="", flush=True)
        if line.startswith("export "):
            return 0
    return process.wait() or 1


def _down(_options: argparse.Namespace) -> int:
    """End every cluster that `up` started, and remove what dead owners left behind."""
    running = [one for one in run_statuses() if one.is_alive and one.purpose == PURPOSE]
    for status in running:
        _end(status.owner_pid, status.path)
        print(f"ended {status.path}")
    for path in clean_abandoned():
        print(f"removed {path}, which a dead process had left behind")
    if not running:
        print("no cluster of `up` is running")
    return 0


def _end(pid: int, path: Path) -> None:
    """Ask an owner to take its cluster down, and wait until the cluster's folder is gone."""
    try:
        owner = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # While the folder is locked its owner lives, so the id cannot be another process's.
        signal.pidfd_send_signal(owner, signal.SIGTERM)
        ended, _, _ = select.select([owner], [], [], DOWN_SECONDS)
    finally:
        os.close(owner)
    if not ended:
        raise ClusterError(f"process {pid} does not end {path}: kill it, then run down again")
    deadline = time.monotonic() + DOWN_SECONDS
    while path.exists() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _status(_options: argparse.Namespace) -> int:
    statuses = run_statuses()
    for status in statuses:
        state = f"owner {status.owner_pid}" if status.is_alive else "left behind by a dead process"
        print(f"{status.purpose}: {state}, KUBECONFIG={status.path / 'kubeconfig'}")
    if not statuses:
        print("no cluster is running")
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "build": _build,
    "image": _image,
    "up": _up,
    "down": _down,
    "status": _status,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
