"""An API server that answers nothing but 503 for a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import named_secrets, pod, scoped_secret
from tests.support.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OUTAGE_SECONDS = 60.0
RECOVERY_SECONDS = 60.0


@pytest.fixture
def behind_proxy(
    installed: InstalledOperator, own_control_plane: ControlPlane, tmp_path: Path
) -> Iterator[tuple[InstalledOperator, FaultProxy]]:
    """Both processes with a proxy before the API server, and everybody else without."""
    installed.start()
    installed.stop()
    originals = dict(installed._kubeconfigs)
    with FaultProxy(own_control_plane.server, own_control_plane.certificate_authority) as proxy:
        for account, original in originals.items():
            installed._kubeconfigs[account] = proxy.kubeconfig(original, tmp_path / account)
        try:
            installed.start()
            yield installed, proxy
        finally:
            installed._kubeconfigs.update(originals)
            installed.stop()
    installed.start()


def test_operator_survives_a_minute_of_errors_without_a_restart(
    behind_proxy: tuple[InstalledOperator, FaultProxy], company: Company, console: Console, canary: Canary
):
    operator, proxy = behind_proxy
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("before")}))
    console.wait_condition(web, "aws", "Ready", "True")
    company.settle(web)
    processes = operator.processes()

    with proxy.outage():
        end = time.monotonic() + OUTAGE_SECONDS
        wait_until(
            lambda: time.monotonic() > end,
            "a minute is over",
            seconds=OUTAGE_SECONDS * 2,
            programs=[process.program for process in processes],
        )
        assert proxy.refused > len(processes)
        # Asked all the while: admission answers from what it knows.
        assert not console.is_refused(pod(f"{web}/during", "aws"))

    assert [process.probe("/healthz")[0] for process in processes] == [200, 200]
    operator.wait_until_asked()
    console.apply(scoped_secret(f"{web}/new", env={"NEW": canary.value("after")}))
    later = pod(f"{web}/after", "aws, new")
    wait_until(lambda: not console.is_refused(later), "admission knows the new definition", seconds=RECOVERY_SECONDS)
    console.create(later)
    (bundle,) = named_secrets(console.cluster.get("pod", "after", "-n", web))
    wait_until(lambda: console.exists("secret", web, bundle), "the pod's bundle", seconds=RECOVERY_SECONDS)
    assert console.seen(web, "after").visible == {"KEY": canary.value("before"), "NEW": canary.value("after")}
    assert all(process.program.is_running for process in processes)
    lease = console.cluster.get("lease", names.LEASE_NAME, "-n", names.DEFAULT_NAMESPACE)
    assert lease["spec"]["holderIdentity"]
