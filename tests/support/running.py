"""The operator as a person runs it: ``scoped-secrets run --install`` in a process of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Self

from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import Program, wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.cluster import Cluster

READY_SECONDS = 60.0


class RunningOperator:
    """Both processes of the operator, started for one cluster."""

    def __init__(self, program: Program) -> None:
        """Hold the running program; ``start`` makes one."""
        self.program = program

    @classmethod
    def start(cls, cluster: Cluster, log: Path, *flags: str, install: bool = True) -> Self:
        """Start the operator and wait until it says that it is ready.

        Args:
            cluster: What it serves.
            log: Where its output goes.
            flags: More flags of ``scoped-secrets run``.
            install: Whether it applies CRDs, roles and webhook configurations, as it does in a fresh cluster.

        Raises:
            StartError: It ended early or was not ready in time.
        """
        # As a flag too: of a process that shows nothing of itself, the arguments tell which cluster it belongs to.
        given = ("--kubeconfig", str(cluster.kubeconfig), *(["--install"] if install else []), *flags)
        arguments = [sys.executable, "-m", "scoped_secrets", "run", *given]
        operator = cls(Program("scoped-secrets run", arguments, log, cls.environment(cluster)))
        try:
            operator.wait_ready()
        except BaseException:
            operator.close()
            raise
        return operator

    @staticmethod
    def environment(cluster: Cluster) -> dict[str, str]:
        """Return the environment of an operator's process: the cluster, and nothing of the person's."""
        if isinstance(cluster, ControlPlane):
            # The mark of the cluster's run directory: whatever is left of us ends with the cluster.
            environment = cluster.run_directory.environment()
        else:
            environment = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        return {**environment, "KUBECONFIG": str(cluster.kubeconfig), "PYTHONUNBUFFERED": "1"}

    def wait_ready(self) -> None:
        """Wait for the line that begins with "ready"."""
        wait_until(self._is_ready, "the operator's line 'ready'", seconds=READY_SECONDS, programs=[self.program])

    def __enter__(self) -> Self:
        """Return the operator, which is stopped at the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the operator."""
        self.close()

    def close(self) -> None:
        """Stop the operator as SIGTERM does, and kill it when it does not stop."""
        self.program.stop(grace_seconds=30)

    def _is_ready(self) -> bool:
        return any(line.startswith("ready") for line in self.program.log.read_text(errors="replace").splitlines())
