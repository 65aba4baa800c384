"""Pods are admitted while the port of the real admission process is flooded from inside the cluster."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.admission.support import review_body
from tests.bench.measure import resident_megabytes
from tests.integration.console import pod, scoped_secret
from tests.support.flood import ONCE_USED, SLOW
from tests.support.installed import ROOT
from tests.support.pod_stream import PodStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator
    from tests.support.pod_stream import Creation

pytestmark = pytest.mark.integration

PODS = 60
PER_SECOND = 10.0
FLOOD_SECONDS = 75.0
WAIT_SECONDS = 60.0
MOST_TIMES_SLOWER = 10.0
MOST_MEGABYTES_MORE = 110.0


def test_pods_are_admitted_while_the_port_is_flooded(
    company: Company, console: Console, operator: InstalledOperator, canary: Canary, tmp_path: Path
):
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_files != resource.RLIM_INFINITY and most_files < 2 * ONCE_USED:
        pytest.skip("this process may not open enough connections")
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("flood")}))
    company.settle(web)
    assert operator.admission is not None
    pid = operator.admission.program.pid
    forged = tmp_path / "review.json"
    forged.write_text(json.dumps(review_body("pods", pod(f"{web}/forged", "aws"), namespace=web)))

    calm = creations_during(console, web)
    before = resident_megabytes(pid)
    command = [sys.executable, "-m", "tests.support.flood", str(operator.admission_port), str(forged)]
    peak = Peak(pid)
    with (
        peak,
        subprocess.Popen([*command, str(FLOOD_SECONDS)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as flood,
    ):
        assert flood.stdout is not None
        # While the connections are opened, too.
        opening = creations_during(console, web)
        assert flood.stdout.readline().strip() == "flooding"
        flooded = creations_during(console, web)
        assert flood.poll() is None, "the flood ended before the last pod"
        done = json.loads(flood.stdout.readline())

    print(  # noqa: T201 - measured figures, for `-s`
        f"\nflood: {done}\nmedian, p99, max: calm {figures(calm)}, opening {figures(opening)}, flooded "
        f"{figures(flooded)}\nresident: {before:.0f} MiB, at most {peak.megabytes:.0f} MiB"
    )
    assert [creation.body for creation in (*calm, *opening, *flooded) if not creation.is_created] == []
    assert done["used once"] >= ONCE_USED
    assert min(done["slow headers"], done["slow bodies"]) >= SLOW
    assert done["small requests"] >= ONCE_USED
    for disturbed in (opening, flooded):
        assert p99(disturbed) <= MOST_TIMES_SLOWER * p99(calm)
    assert peak.megabytes - before <= MOST_MEGABYTES_MORE


def creations_during(console: Console, namespace: str) -> Sequence[Creation]:
    """Create pods at a steady pace, and return what came of each."""
    with PodStream(console.cluster, namespace, "aws", per_second=PER_SECOND) as stream:
        stream.wait_for(PODS, WAIT_SECONDS)
    return stream.creations


def p99(creations: Sequence[Creation]) -> float:
    """Return the seconds that 99 of 100 creations take at most."""
    return statistics.quantiles([creation.seconds for creation in creations], n=100, method="inclusive")[-1]


def figures(creations: Sequence[Creation]) -> str:
    """Return median, p99 and maximum, in milliseconds."""
    seconds = [creation.seconds for creation in creations]
    return ", ".join(f"{1000 * each:.0f} ms" for each in (statistics.median(seconds), p99(creations), max(seconds)))


class Peak:
    """Samples the resident memory of a process during a block."""

    def __init__(self, pid: int) -> None:
        """Take the process."""
        self.megabytes = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory")

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            self.megabytes = max(self.megabytes, resident_megabytes(self._pid))
