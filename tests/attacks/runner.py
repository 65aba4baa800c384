"""Runs mutants: each in a copy of the repository, whose processes import the mutated code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.attacks.attack import ROOT, MutantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.attacks.attack import Attack

GRACE_SECONDS: Final = 30.0
_LAST_LINES: Final = 15


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    """Its test failed."""
    SURVIVED = "SURVIVED"
    """Its test passed."""
    BROKEN = "BROKEN"
    """Its test neither failed nor passed: it was skipped, or a fixture or a file was broken."""
    TIMED_OUT = "TIMED OUT"
    """Its test did not end."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict about one mutant, and the last lines that pytest printed."""

    attack: Attack
    verdict: Verdict
    seconds: float
    output: str

    @property
    def failure(self) -> str:
        """Return how the test failed, as pytest sums it up: a person sees whether it is the defense that is missing."""
        return next((line for line in self.output.splitlines() if line.startswith("FAILED ")), "")


def copy_tree(target: Path, source: Path = ROOT) -> None:
    """Copy the files that belong to the repository, with a virtual environment that imports the copied code.

    Processes that tests start get no variable such as PYTHONPATH, so that the copy has an interpreter of its own. It
    finds every other package where this one has it.

    Raises:
        MutantError: The folder is no git repository, or the environment cannot be made.
    """
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=source, capture_output=True, check=False)
    if listed.returncode != 0:
        raise MutantError(f"git does not list the files of {source}; mutants need a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    environment = target / ".venv"
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], capture_output=True, check=False
    )
    if made.returncode != 0:
        raise MutantError("python -m venv failed")
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = (target / "operator", sysconfig.get_path("purelib"))
    (packages / "mutant.pth").write_text("".join(f"{path}\n" for path in paths))


def run_mutant(attack: Attack, timeout: float) -> Result:
    """Run the test of one mutant in a copy of the repository."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scoped-secrets-mutant-") as name:
        folder = Path(name)
        try:
            copy_tree(folder)
            for edit in attack.mutant.edits:
                edit.apply(folder)
        except MutantError as error:
            return Result(attack, Verdict.BROKEN, time.monotonic() - began, str(error))
        verdict, output = _test(folder, attack.killer, timeout)
    return Result(attack, verdict, time.monotonic() - began, output)


def run_all(attacks: Sequence[Attack], *, jobs: int, timeout: float) -> Iterator[Result]:
    """Run the mutants of attacks, and yield each result when it is there."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_mutant, attack, timeout) for attack in attacks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            # After an interruption, what has not begun does not begin.
            for future in futures:
                future.cancel()


def _test(folder: Path, test: str, timeout: float) -> tuple[Verdict, str]:
    python = str(folder / ".venv" / "bin" / "python")
    command = [python, "-m", "pytest", "-x", "-q", "-rfEs", "--tb=short", "-p", "no:cacheprovider", test]
    # A tag of the environment, such as one that skips tests, is the person's; PYTHONPATH would bring other code.
    variables = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    # In the process group of this program, so that Ctrl-C ends the tests too.
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**variables, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return Verdict.TIMED_OUT, _last(_end(process))
    return _verdict(process.returncode, output), _last(output)


def _end(process: subprocess.Popen[str]) -> str:
    """End pytest as Ctrl-C does, so that it ends its cluster; a cluster that is left ends by its own reaper."""
    process.send_signal(signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    return output


def _verdict(status: int, output: str) -> Verdict:
    """Judge by pytest's exit status and its summary, in which a broken fixture is an ERROR and no FAILED."""
    passed, failed = 0, 1
    lines = output.splitlines()
    if status == failed and any(line.startswith("FAILED ") for line in lines):
        return Verdict.KILLED
    is_whole = status == passed and not any(line.startswith("SKIPPED ") for line in lines)
    return Verdict.SURVIVED if is_whole else Verdict.BROKEN


def _last(output: str) -> str:
    return "\n".join(output.splitlines()[-_LAST_LINES:])
