"""The operator's two processes, each with its own ServiceAccount and an address that is known."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scoped_secrets import names
from tests.bench.hooks import LOOPBACK, apply, our_configurations, our_policies
from tests.bench.measure import cpu_seconds
from tests.cluster.errors import StartError
from tests.cluster.processes import Program, free_port
from tests.support.installed import CONTROLLER_USER, Process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.api import Bare
    from tests.cluster.control_plane import ControlPlane

__all__ = ["CONTROLLER_USER", "Ours", "Start"]

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120.0
_POLL_SECONDS = 0.02
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a start cost until the process said that it is ready."""

    seconds: float
    cpu: float


class Ours:
    """One controller and one admission server, started and stopped as a bench needs it."""

    def __init__(self, cluster: ControlPlane) -> None:
        """Take the cluster; `install` and the two starts do the rest, in this order."""
        self.controller: Process | None = None
        self.admission: Process | None = None
        self._cluster = cluster
        self._folder = cluster.run_directory.folder("bench")
        self._material = cluster.run_directory.folder("bench/material")
        self._port = free_port()
        self._accounts: dict[str, Path] = {}

    def install(self) -> None:
        """Apply CRDs, namespace, roles, policies and webhook configurations."""
        kubectl = self._cluster.kubectl
        kubectl("apply", "-f", str(_ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        for manifest in ("00-namespace.yaml", "10-roles.yaml"):
            kubectl("apply", "-f", str(_ROOT / "manifests" / manifest))
        for account in (names.CONTROLLER_ACCOUNT, names.ADMISSION_ACCOUNT):
            kubeconfig = self._cluster.service_account_kubeconfig(names.DEFAULT_NAMESPACE, account)
            self._accounts[account] = kubeconfig
        apply(self._cluster, our_policies())
        apply(self._cluster, our_configurations(self._port))

    @property
    def address(self) -> str:
        """The address of the webhooks."""
        return f"https://{LOOPBACK}:{self._port}"

    @property
    def controller_pid(self) -> int:
        """The process id of the running controller."""
        return _pid(self.controller)

    @property
    def admission_pid(self) -> int:
        """The process id of the running admission server."""
        return _pid(self.admission)

    async def start_controller(self) -> Start:
        """Start a controller, stop the one that runs, and tell what the start cost."""
        await self.stop_controller()
        flags = ("--namespace", names.DEFAULT_NAMESPACE, "--admission-name", LOOPBACK)
        self.controller, start = await self._start("controller", names.CONTROLLER_ACCOUNT, flags)
        return start

    async def start_admission(self, bare: Bare, *, gate: bool = True) -> Start:
        """Start an admission server, stop the one that runs, and tell what the start cost.

        Args:
            bare: A client that may read its material.
            gate: Whether pods are gated until their bundle exists, as they are in an installation.
        """
        await self.stop_admission()
        await self._mount_material(bare)
        flags = ["--material", str(self._material), "--host", LOOPBACK, "--port", str(self._port)]
        flags.append("--gate" if gate else "--no-gate")
        self.admission, start = await self._start("admission", names.ADMISSION_ACCOUNT, flags)
        return start

    async def stop_controller(self) -> None:
        """Stop the controller as SIGTERM does, and so that it gives its Lease back."""
        await _stop(self.controller)
        self.controller = None

    async def stop_admission(self) -> None:
        """Kill the admission server: nobody asks it meanwhile, and it would wait for those who still might."""
        if self.admission is not None and self.admission.program.is_running:
            self.admission.program.kill()
        self.admission = None

    async def stop(self) -> None:
        """Stop both."""
        await self.stop_controller()
        await self.stop_admission()

    async def _start(self, verb: str, account: str, flags: Sequence[str]) -> tuple[Process, Start]:
        probe_port = free_port()
        arguments = [sys.executable, "-m", "scoped_secrets", verb, "--kubeconfig", str(self._accounts[account])]
        arguments += ["--probe-host", LOOPBACK, "--probe-port", str(probe_port)]
        arguments += ["--metrics-host", LOOPBACK, "--metrics-port", "0", *flags]
        environment = self._cluster.run_directory.environment()
        began = time.perf_counter()
        program = Program(f"scoped-secrets {verb}", arguments, self._folder / f"{verb}.log", environment)
        process = Process(program, probe_port)
        while not await asyncio.to_thread(lambda: process.is_ready):
            elapsed = time.perf_counter() - began
            if not program.is_running or elapsed > _START_SECONDS:
                raise StartError(f"{program.name} is not ready after {elapsed:.0f} s:\n{program.last_log_lines()}")
            await asyncio.sleep(_POLL_SECONDS)
        return process, Start(time.perf_counter() - began, cpu_seconds(program.pid))

    async def _mount_material(self, bare: Bare) -> None:
        """Write the admission server's Secret into a folder, as the kubelet would."""
        path = f"/api/v1/namespaces/{names.DEFAULT_NAMESPACE}/secrets"
        for _ in range(int(_START_SECONDS / _POLL_SECONDS)):
            secrets = (await bare.get(path))["items"]
            found = [secret for secret in secrets if secret["metadata"]["name"] == names.ADMISSION_SECRET]
            if found and names.ADMISSION_CERTIFICATE in found[0]["data"]:
                break
            await asyncio.sleep(_POLL_SECONDS)
        else:
            raise StartError(f"the controller has written no Secret {names.ADMISSION_SECRET}")
        for key, encoded in found[0]["data"].items():
            file = self._material / key
            file.touch(0o600)
            file.write_bytes(base64.b64decode(encoded))


def _pid(process: Process | None) -> int:
    if process is None or not process.program.is_running:
        raise StartError("a process of the operator does not run")
    return process.program.pid


async def _stop(process: Process | None) -> None:
    if process is not None and process.program.is_running:
        await asyncio.to_thread(process.program.stop, _STOP_SECONDS)
