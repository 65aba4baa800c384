"""What happens to jobs while the operator's pods, its certificate and the API server come and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.machine import SECONDS, SYSTEM
from tests.support.figures import tell
from tests.support.operator_pods import busy, find_process, kill, usage
from tests.support.pod_stream import PodStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

VALUE = "operation-example-value"
PODS = 500
# A pod whose webhook does not answer is refused after so many seconds.
WEBHOOK_SECONDS = 5.0
# The Lease runs out after 15 s, and the standby looks every 2 s; a busy machine adds some.
TAKE_OVER_SECONDS = 25.0
# A leader that stops gives the Lease back.
HAND_OVER_SECONDS = 10.0
OUTAGE_SECONDS = 60.0
MOST_MEMORY = 250 << 20
MOST_IDLE_SHARE = 0.1
COMPONENTS = ("controller", "admission")


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Iterator[Machine]:
    """The release with its defaults."""
    with machine.release():
        yield machine


@pytest.fixture
def namespace(installed: Machine) -> Iterator[str]:
    """A project with a definition."""
    name = installed.project()
    installed.define(name, VALUE)
    yield name
    installed.cluster.delete_namespace(name)


def leader(machine: Machine) -> str:
    """Return the pod that leads."""
    lease = machine.cluster.get("lease", names.LEASE_NAME, "-n", SYSTEM)
    holder = lease["spec"].get("holderIdentity") or ""
    pods = [pod["metadata"]["name"] for pod in machine.pods("controller")]
    return next((pod for pod in pods if holder.startswith(pod)), "")


def wait_for_leader(machine: Machine) -> str:
    """Wait until a pod leads, and return it."""
    wait_until(lambda: bool(leader(machine)), "a leader", seconds=SECONDS)
    return leader(machine)


def restarts(machine: Machine) -> int:
    """Return how often processes of the operator were started anew in their pods."""
    pods = [pod for component in COMPONENTS for pod in machine.pods(component)]
    return sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"])


def rollout(machine: Machine, component: str) -> None:
    """Wait until every pod of a component is new and Ready."""
    what = f"deployment/scoped-secrets-{component}"
    machine.cluster.kubectl("rollout", "status", what, "-n", SYSTEM, "--timeout=180s", timeout=200)


def test_bundles_come_within_the_lease_time_after_the_leader_was_killed(
    installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]
):
    killed = wait_for_leader(installed)

    with PodStream(installed.cluster, namespace, "aws", per_second=5) as stream:
        stream.wait_for(20, SECONDS)
        kill(killed)
        stream.wait_for(150, SECONDS * 2)

    delays = stream.delays(VALUE)
    assert max(delays) <= TAKE_OVER_SECONDS
    tell(capsys, f"leader killed: {len(delays)} pods, the latest bundle came {max(delays):.0f} s after its pod")
    rollout(installed, "controller")


def test_a_leader_that_is_told_to_stop_hands_over_without_losing_a_bundle(
    installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]
):
    stopped = wait_for_leader(installed)

    with PodStream(installed.cluster, namespace, "aws", per_second=10) as stream:
        stream.wait_for(20, SECONDS)
        installed.cluster.kubectl("delete", "pod", stopped, "-n", SYSTEM, timeout=SECONDS)
        stream.wait_for(len(stream.creations) + 50, SECONDS)

    delays = stream.delays(VALUE)
    assert max(delays) <= HAND_OVER_SECONDS
    tell(capsys, f"leader stopped: {len(delays)} pods, the latest bundle came {max(delays):.0f} s after its pod")
    rollout(installed, "controller")


def test_rolling_restart_of_admission_denies_no_pod(
    installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]
):
    with PodStream(installed.cluster, namespace, "aws", per_second=25) as stream:
        installed.cluster.kubectl("rollout", "restart", "deployment/scoped-secrets-admission", "-n", SYSTEM)
        rollout(installed, "admission")
        stream.wait_for(PODS, SECONDS * 2)

    delays = stream.delays(VALUE)
    assert stream.slowest() < WEBHOOK_SECONDS
    tell(
        capsys,
        f"admission restarted: {len(stream.creations)} pods, none refused, "
        f"the slowest creation {stream.slowest():.2f} s, the latest bundle {max(delays):.0f} s",
    )


def served_issuers(machine: Machine) -> set[str]:
    """Return who signed the certificates that the admission pods show."""
    return {_issuer(pod["status"]["podIP"]) for pod in machine.pods("admission")}


def _issuer(address: str) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, 10250), timeout=5) as plain, context.wrap_socket(plain) as secured:
        # Without verification Python parses no certificate; the bytes are as good to tell one from another.
        return (secured.getpeercert(binary_form=True) or b"").hex()


def test_certificate_authority_change_denies_no_pod(
    installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]
):
    """Without its key the authority can sign no more, and the controller makes another one."""
    before = served_issuers(installed)
    assert len(before) == 1
    secret = ("secret", names.CERTIFICATE_SECRET, "-n", SYSTEM)
    began = time.monotonic()

    with PodStream(installed.cluster, namespace, "aws", per_second=8) as stream:
        lost = json.dumps([{"op": "remove", "path": "/data/ca.key"}])
        installed.cluster.kubectl("patch", *secret, "--type=json", "-p", lost)

        def is_replaced() -> bool:
            # A kubelet brings changed Secrets into a pod every minute or so, and at once when the pod changes.
            pods = [pod["metadata"]["name"] for pod in installed.pods("admission")]
            hint = f"test/look={time.monotonic():.0f}"
            installed.cluster.kubectl("annotate", "pods", *pods, hint, "-n", SYSTEM, "--overwrite")
            return not served_issuers(installed) & before

        wait_until(is_replaced, "both admission pods show the new certificate", seconds=SECONDS * 3)
        seconds = time.monotonic() - began
        stream.wait_for(PODS, SECONDS * 2)

    stream.delays(VALUE)
    assert len(served_issuers(installed)) == 1
    assert stream.slowest() < WEBHOOK_SECONDS
    tell(
        capsys,
        f"authority and certificate changed after {seconds:.0f} s: {len(stream.creations)} pods, none refused, "
        f"the slowest creation {stream.slowest():.2f} s",
    )


def test_processes_survive_a_restart_of_the_api_server(installed: Machine, namespace: str):
    before = restarts(installed)

    installed.cluster.restart_api_server()

    installed.run_job(namespace, VALUE)
    assert restarts(installed) == before


def test_processes_survive_a_minute_in_which_the_api_server_fails(
    installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]
):
    """Without its store the API server answers, and with nothing but errors."""
    before = restarts(installed)
    store = installed.cluster.program("etcd").pid
    os.kill(store, signal.SIGSTOP)
    try:
        with PodStream(installed.cluster, namespace, "aws", per_second=1) as stream:
            over = time.monotonic() + OUTAGE_SECONDS
            wait_until(lambda: time.monotonic() > over, "the outage is over", seconds=OUTAGE_SECONDS * 2)
    finally:
        os.kill(store, signal.SIGCONT)
    assert not any(one.is_created for one in stream.creations)
    began = time.monotonic()

    installed.define(namespace, VALUE + "2", "second")
    seconds = time.monotonic() - began
    installed.run_job(namespace, VALUE)

    assert restarts(installed) == before
    tell(capsys, f"a minute of errors: no restart, and a new definition is served {seconds:.0f} s afterwards")


def test_memory_and_cpu_stay_within_bounds(installed: Machine, namespace: str, capsys: pytest.CaptureFixture[str]):
    pods = {component: [pod["metadata"]["name"] for pod in installed.pods(component)] for component in COMPONENTS}
    processes = {component: [find_process(name) for name in found] for component, found in pods.items()}

    def measured(seconds: float) -> dict[str, list[tuple[float, int]]]:
        first = {component: [usage(pid) for pid in pids] for component, pids in processes.items()}
        deadline = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= deadline, "the end of the measurement", seconds=seconds + 10)
        found = {}
        for component, pids in processes.items():
            last = [usage(pid) for pid in pids]
            found[component] = [(busy(*pair), pair[1].memory) for pair in zip(first[component], last, strict=True)]
        return found

    def is_idle(found: dict[str, list[tuple[float, int]]]) -> bool:
        return all(share < MOST_IDLE_SHARE for one in found.values() for share, _ in one)

    # The tests before this one restart processes and delete namespaces, which takes the first of these intervals.
    idle = next((found for found in (measured(10) for _ in range(5)) if is_idle(found)), None)
    assert idle is not None, "the processes do not come to rest"
    with PodStream(installed.cluster, namespace, "aws", per_second=20) as stream:
        stream.wait_for(20, SECONDS)
        loaded = measured(10)
    stream.delays(VALUE)

    for component in COMPONENTS:
        for name, found in (("idle", idle), (f"{len(stream.creations)} pods", loaded)):
            told = ", ".join(f"{share:.1%} of a core, {memory >> 20} MiB" for share, memory in found[component])
            tell(capsys, f"{component}, {name}: {told}")
    assert all(memory < MOST_MEMORY for found in (idle, loaded) for one in found.values() for _, memory in one)
