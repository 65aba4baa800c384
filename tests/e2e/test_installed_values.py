"""The chart's tried shapes, each installed on the node until a job has its secrets."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.cluster.processes import free_port
from tests.e2e.machine import CHART, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

VALUE = "values-example-value"
HOST_PORTS = {"controller": ("probePort", "metricsPort"), "admission": ("port", "probePort", "metricsPort")}


@pytest.fixture
def clean(machine: Machine) -> Iterator[Machine]:
    """A cluster without a release, before and after."""
    yield machine
    machine.uninstall()


def values(*names: str) -> list[str]:
    """Return the flags for files of the chart's folder ``ci``."""
    return [flag for name in names for flag in ("--values", str(CHART / "ci" / f"{name}-values.yaml"))]


def check(machine: Machine, *flags: str, replicas: int) -> None:
    """Install, run a job, and see that every pod is as it should be."""
    machine.install(*flags)
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)
    pods = [*machine.pods("controller"), *machine.pods("admission")]
    assert len(pods) == replicas * 2
    assert {status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]} == {0}
    machine.cluster.delete_namespace(namespace)


@pytest.mark.parametrize(
    ("names", "replicas"),
    [(("hardened",), 2), (("names", "no-metrics", "value-from"), 2), (("one-replica",), 1)],
    ids=["hardened", "long names without metrics", "one replica"],
)
def test_a_job_gets_its_secrets_with_these_values(clean: Machine, names: tuple[str, ...], replicas: int):
    check(clean, *values(*names), replicas=replicas)


def test_job_gets_its_secrets_with_an_external_certificate(clean: Machine):
    cluster = clean.cluster
    cluster.kubectl("create", "namespace", SYSTEM)
    server = f"scoped-secrets-admission.{SYSTEM}.svc"
    pair = cluster.authority.issue_server(f"admission-{secrets.token_hex(4)}", [server])
    files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": cluster.authority.path}
    given = [f"--from-file={name}={path}" for name, path in files.items()]
    cluster.kubectl("create", "secret", "generic", "admission-certificate", "-n", SYSTEM, *given)

    check(clean, *values("existing-secret"), replicas=2)


def test_a_job_gets_its_secrets_from_pods_in_the_network_of_their_node(clean: Machine):
    """There is one node, so one replica. The address of the API server's Service exists for other pods only."""
    where = [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": str(clean.cluster.port)},
    ]
    flags = []
    for component, ports in (
        ("controller", ("probePort", "metricsPort")),
        ("admission", ("port", "probePort", "metricsPort")),
    ):
        flags += ["--set", f"{component}.replicas=1", "--set-json", f"{component}.extraEnv={json.dumps(where)}"]
        # The machine's ports are not ours alone.
        flags += [flag for port in ports for flag in ("--set", f"{component}.{port}={free_port()}")]

    check(clean, *values("host-network"), *flags, replicas=1)
