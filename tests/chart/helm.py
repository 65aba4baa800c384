"""The chart in this checkout, rendered by the real helm."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.cluster.assets import helm_binary

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "scoped-secrets"
RELEASE = "scoped-secrets"
NAMESPACE = "scoped-secrets"

# The kinds of the Prometheus operator, which a render without a cluster does not know of.
MONITORING = "monitoring.coreos.com/v1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What helm said, and whether it did what it was asked."""

    code: int
    output: str
    error: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The rendered objects."""
        return [document for document in yaml.safe_load_all(self.output) if document]

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return one rendered object."""
        found = [one for one in self.documents if (one["kind"], one["metadata"]["name"]) == (kind, name)]
        assert len(found) == 1, f"{len(found)} objects {kind} {name}"
        return found[0]

    def kinds(self) -> set[tuple[str, str]]:
        """Return kind and name of every object."""
        return {(one["kind"], one["metadata"]["name"]) for one in self.documents}


def helm(*arguments: str, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> Outcome:
    """Run helm with nothing of the person's: no plugins, no repositories, and only the cluster that is given.

    Args:
        arguments: What it is asked.
        values: Values beside the chart's own.
        kubeconfig: The cluster; without one there is none to reach.
    """
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment["KUBECONFIG"] = str(kubeconfig or os.devnull)
    command = [str(helm_binary()), *arguments]
    given = None
    if values is not None:
        command += ["--values", "-"]
        given = yaml.safe_dump(dict(values))
    with tempfile.TemporaryDirectory() as home:
        # All of helm's own folders are below it.
        environment["HOME"] = home
        result = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)
    return Outcome(result.returncode, result.stdout, result.stderr)


def render(
    values: Mapping[str, Any] | None = None, *flags: str, release: str = RELEASE, namespace: str = NAMESPACE
) -> Outcome:
    """Render the chart without a cluster."""
    return helm("template", release, str(CHART), "--namespace", namespace, *flags, values=values)


def rendered(values: Mapping[str, Any] | None = None, *flags: str, **place: str) -> Outcome:
    """Render the chart without a cluster; the values must be right."""
    outcome = render(values, *flags, **place)
    assert outcome.code == 0, outcome.error
    return outcome
