"""A cluster whose audit log holds the bodies of every request and response, and the program as people run it there."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster.assets import find_assets
from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import wait_until
from tests.conftest import ENVIRONMENT
from tests.integration.console import SECONDS, Console
from tests.integration.people import NOT_TOLD, wait_for_certificate
from tests.support.installed import InstalledOperator
from tests.support.watching import Watched, watched

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from tests.support.canary import Canary

__all__ = ["OFFLINE", "AuditedCluster", "audited_cluster"]

POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}
# Verbs that take no kubeconfig.
OFFLINE = frozenset({"lint", "render", "test", "completion", "crds"})


@dataclass(frozen=True)
class AuditedCluster:
    """A cluster with the operator."""

    plane: ControlPlane
    operator: InstalledOperator
    console: Console

    def mark(self) -> int:
        """Return the present end of the audit log, for `found`."""
        return self.plane.logs()["audit"].stat().st_size

    def found(self, canary: Canary, people: Collection[str], since: int = 0) -> set[str]:
        """Return the requests in which a value is, except where the controller writes the bundle Secrets of pods.

        Args:
            canary: The maker of the values.
            people: The users whose requests for Secrets count too.
            since: Where in the log the search begins.
        """
        found: set[str] = set()
        with self.plane.logs()["audit"].open("rb") as log:
            log.seek(since)
            for line in log:
                if line.endswith(b"\n") and canary.forms_in(line):
                    entry = json.loads(line)
                    is_person = entry["user"]["username"] in people
                    if is_person or entry.get("objectRef", {}).get("resource") != "secrets":
                        found.add(f"{entry['verb']} {entry['requestURI']}")
        return found

    def run(
        self,
        *command: str,
        kubeconfig: Path,
        folder: Path,
        canary: Canary,
        stdin: str = "",
        variables: Mapping[str, str] = {},
    ) -> Watched:
        """Run our program as a person does, and watch it."""
        place = () if command[0] in OFFLINE else ("--kubeconfig", str(kubeconfig))
        # The flags of a group of commands stand before its command.
        words = (command[0], *place, *command[1:]) if command[0] == "keys" else (*command, *place)
        results: list[Watched] = []

        def is_answered() -> bool:
            program = (sys.executable, "-m", "scoped_secrets", *words)
            results[:] = [watched(program, folder, canary, stdin=stdin, environment=variables)]
            return NOT_TOLD not in results[0].stderr

        wait_until(is_answered, f"admission's answer about {command[0]}", seconds=SECONDS)
        return results[0]


@contextmanager
def audited_cluster(folder: Path) -> Iterator[AuditedCluster]:
    """Start a cluster with the operator, and yield it once the certificate is published.

    Args:
        folder: Where the operator's files and logs go.
    """
    with ControlPlane.start(find_assets(ENVIRONMENT), audit=True, audit_policy=POLICY) as plane:
        operator = InstalledOperator(plane, folder)
        try:
            operator.install()
            operator.start()
            console = Console(plane)
            wait_for_certificate(console)
            yield AuditedCluster(plane, operator, console)
        finally:
            operator.uninstall()
