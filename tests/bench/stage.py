"""What all benches share: the cluster, a bare client, the operator, and the definitions that exist by now."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scoped_secrets import names
from tests.bench.hooks import Floors, start_floors
from tests.bench.objects import PODS, POLICY, SCOPED_SECRETS, collection, definitions, needed_namespaces, pod
from tests.bench.ready_patch import difference, floor_patch, take_patch
from tests.cluster.errors import StartError
from tests.cluster.processes import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.api import Bare
    from tests.bench.measure import Scale
    from tests.bench.ours import Ours
    from tests.cluster.control_plane import ControlPlane

_SETTLE_SECONDS = 600.0
_HOOK_SECONDS = 60.0
_BUSY_PROGRAM = "while True: pass"


class Stage:
    """The state of one run."""

    floors: Floors
    """Set by `start_floors`."""

    def __init__(self, cluster: ControlPlane, bare: Bare, ours: Ours, scale: Scale) -> None:
        """Take what was started; there are neither definitions nor floors yet."""
        self.cluster = cluster
        self.bare = bare
        self.ours = ours
        self.scale = scale
        self.size = 0
        self.patch_bytes = 0
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    async def grow(self, size: int) -> None:
        """Create definitions through admission until there are so many, and wait until their statuses are written."""
        if size <= self.size:
            return
        namespaces, created = list(needed_namespaces(self.size, size)), list(definitions(self.size, size))
        await self.bare.create_all(namespaces)
        if self.size == 0:
            # A controller makes it after the namespace, and no pod is created without it.
            account = ("serviceaccount/default", "-n", PODS, "--for=create", "--timeout=30s")
            await asyncio.to_thread(self.cluster.kubectl, "wait", *account)
        load = await self.bare.create_all(created)
        self.say(f"created {len(created):,} definitions through admission in {load.seconds:.1f} s")
        self.size = size
        seconds = await self._settle()
        self.say(f"{size:,} definitions; all statuses were written {seconds:.1f} s later")

    async def start_floors(self) -> None:
        """Start the floors with the patch that the operator gives now, and verify that all sides do the same."""
        await self.wait_for_hook()
        patch = await take_patch(self.bare, self.ours.address)
        self.patch_bytes = len(patch)
        self.floors = await asyncio.to_thread(start_floors, self.cluster, floor_patch(patch))
        for side in ("patch", "kopf", POLICY):
            await self._verify_floor(side)
        self.say(f"floors started; the patch has {len(patch):,} bytes on every side")

    async def wait_for_hook(self, *, gated: bool = True) -> None:
        """Wait until pods that opt in are injected, and gated or not.

        Admission gates pods only once it has seen the policy that limits the controller's right to remove gates.
        """
        deadline = time.monotonic() + _HOOK_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await self.bare.create(collection("pods", PODS), pod("probe"), dryRun="All")
            except RuntimeError as refusal:
                failure = str(refusal)
            else:
                body = json.loads(answer)
                if names.RESOLUTION_ANNOTATION not in body["metadata"]["annotations"]:
                    failure = "the pod is not injected"
                elif bool(body["spec"].get("schedulingGates")) != gated:
                    failure = f"the pod is {'not ' if gated else ''}gated"
                else:
                    return
            await asyncio.sleep(0.2)
        raise StartError(f"our webhooks do not work: {failure}")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let a program for each processor compute."""
        directory = self.cluster.run_directory
        command = [sys.executable, "-c", _BUSY_PROGRAM]
        log = directory.folder("bench") / "load.log"
        programs = [Program("load", command, log, directory.environment()) for _ in range(os.cpu_count() or 1)]
        try:
            yield
        finally:
            for program in programs:
                program.kill()

    async def _verify_floor(self, side: str) -> None:
        """Wait until a floor's pods are patched, and expect that they look like ours."""
        deadline = time.monotonic() + _HOOK_SECONDS
        path = collection("pods", PODS)
        while True:
            ours, floor = [
                json.loads(await self.bare.create(path, pod("ready", label), dryRun="All")) for label in (None, side)
            ]
            if not (found := difference(ours, floor)):
                return
            if time.monotonic() > deadline:
                raise StartError(f"the pods of the floor {side} are not patched as ours: {found}")
            await asyncio.sleep(0.2)

    async def _settle(self) -> float:
        """Return the seconds until every definition has a status."""
        began = time.monotonic()
        while True:
            missing = 0
            async for page in self.bare.pages(SCOPED_SECRETS):
                missing += sum(not item.get("status", {}).get("conditions") for item in page["items"])
            elapsed = time.monotonic() - began
            if not missing:
                return elapsed
            if elapsed > _SETTLE_SECONDS:
                raise StartError(f"{missing} definitions have no status after {elapsed:.0f} s")
            await asyncio.sleep(max(0.2, elapsed / 10))
