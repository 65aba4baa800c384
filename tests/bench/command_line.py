"""How long a person waits for a command: whole processes beside those of kubectl, from start to end.

Both ask the same API server with the same kubeconfig, one after the other. kubectl has its cache of the API's resources
in a folder of its own, filled before. The namespace holds as many Secrets as ScopedSecrets.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from scoped_secrets import names
from tests.bench.measure import in_turn
from tests.bench.objects import PER_NAMESPACE, PODS, REFERENCES, collection
from tests.bench.report import Goal, Row, compare
from tests.cluster.build import KUBECTL, built_assets
from tests.cluster.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.stage import Stage

NAME = "command_line"

_AGAINST_KUBECTL = Goal(2.5, of_ratio=True)
_HELP_MILLISECONDS = Goal(150)
_LABEL = "bench-command"
_OURS, _FLOOR = "ours", "kubectl"


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one process, in milliseconds."""

    wall: float
    cpu: float


async def run(stage: Stage) -> list[Row]:
    """Measure each verb beside the command of kubectl that does the most similar work, and the help."""
    kubectl = str(await asyncio.to_thread(built_assets, os.environ, KUBECTL) / KUBECTL.binary)
    bench = _Bench(stage, _environment(stage), str(Path(sys.executable).parent / names.DISTRIBUTION), kubectl)
    await bench.prepare()
    listing = (kubectl, "get", "secrets", "-n", PODS)
    numbers = itertools.count()
    secrets = (f"command-{number}" for number in numbers)
    rows = []
    for figure, ours, floor in (
        ("get", lambda: (bench.program, "get", "-n", PODS), lambda: listing),
        (
            "create",
            lambda: (bench.program, "create", next(secrets), "-e", "KEY=value", "-n", PODS, "-l", f"{_LABEL}=true"),
            lambda: (kubectl, "create", "secret", "generic", next(secrets), "--from-literal=KEY=value", "-n", PODS),
        ),
        ("explain", lambda: (bench.program, "explain", REFERENCES[0], "-n", PODS), lambda: listing),
    ):
        rows += await bench.compare(figure, ours, floor)
    rows += await bench.help()
    await stage.bare.delete_all(collection(names.SCOPED_SECRET_PLURAL, PODS), labelSelector=_LABEL)
    await stage.bare.delete_all(collection("secrets", PODS), fieldSelector="type=Opaque")
    return rows


class _Bench:
    """Processes of one environment."""

    def __init__(self, stage: Stage, environment: Mapping[str, str], program: str, kubectl: str) -> None:
        self.program = program
        self._stage = stage
        self._environment = environment
        self._kubectl = kubectl

    async def prepare(self) -> None:
        """Create as many Secrets as there are ScopedSecrets, and let each program run once."""
        data = {"type": "Opaque", "stringData": {"USER": "bench", "PASSWORD": "a value to measure with"}}
        await self._stage.bare.create_all(
            (collection("secrets", PODS), {"metadata": {"name": f"plain-{number}"}, **data})
            for number in range(PER_NAMESPACE)
        )
        await self._one((self.program, "get", "-n", PODS))
        await self._one((self._kubectl, "get", "secrets", "-n", PODS))

    async def compare(
        self, figure: str, ours: Callable[[], Sequence[str]], floor: Callable[[], Sequence[str]]
    ) -> list[Row]:
        """Return the rows of one verb: the time that a person waits, and the CPU."""
        self._stage.say(f"command line, {figure} as a process of its own")
        # The processes alternate one by one: a slow moment of the machine is not one side's.
        turns = await in_turn(
            self._stage.scale.rounds * self._stage.scale.commands,
            {_FLOOR: lambda: self._one(floor()), _OURS: lambda: self._one(ours())},
        )
        wall, cpu = (
            {side: list(self._medians([getattr(each, kind) for each in turns[side]])) for side in (_OURS, _FLOOR)}
            for kind in ("wall", "cpu")
        )
        return [
            compare(NAME, f"{figure}, p50", "ms", wall[_OURS], wall[_FLOOR], _FLOOR, _AGAINST_KUBECTL),
            compare(NAME, "  CPU", "ms", cpu[_OURS], cpu[_FLOOR], _FLOOR),
        ]

    async def help(self) -> list[Row]:
        """Return the time and the CPU of the help, on a machine with nothing else to do and on a busy one."""
        self._stage.say("command line, --help")
        command = partial(self._one, (self.program, "--help"))
        idle = [await command() for _ in range(self._stage.scale.commands)]
        with self._stage.busy():
            busy = [await command() for _ in range(self._stage.scale.commands)]
        return [
            Row(NAME, f"--help{where}, p50", "ms", statistics.median(figures), goal=_HELP_MILLISECONDS)
            for where, figures in (
                ("", [each.wall for each in idle]),
                (", busy machine", [each.wall for each in busy]),
                (", busy machine, CPU", [each.cpu for each in busy]),
            )
        ]

    def _medians(self, figures: Sequence[float]) -> list[float]:
        """Return the median of each round."""
        size = self._stage.scale.commands
        return [statistics.median(figures[start : start + size]) for start in range(0, len(figures), size)]

    async def _one(self, command: Sequence[str]) -> _Cost:
        return await asyncio.to_thread(_time, command, self._environment)


def _time(command: Sequence[str], environment: Mapping[str, str]) -> _Cost:
    """Run a command and return what it cost; one that fails ends the bench."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # No command prints more than a pipe holds.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise StartError(f"{' '.join(command[:3])} failed: {errors.decode(errors='replace')}")
    return _Cost(wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000)


def _environment(stage: Stage) -> dict[str, str]:
    """Return the environment of a person with a kubeconfig in YAML, as nearly all are."""
    file = stage.cluster.run_directory.folder("bench") / "kubeconfig.yaml"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(json.loads(stage.cluster.kubeconfig.read_text())))
    return {**stage.cluster.run_directory.environment(), "KUBECONFIG": str(file)}
