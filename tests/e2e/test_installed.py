"""The chart's defaults on a node: our own pods, and the example jobs that they serve."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.machine import EXAMPLES, RELEASE, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXAMPLE_NAMESPACES = ("acme", "web", "web-production")
# What the example jobs must print, by namespace and name.
PRINTED = {
    ("web", "staging"): ("web-staging", "staging-example-value", 0),
    ("web-production", "production"): ("web-production", "production-example-value", 1),
}
UNPRIVILEGED = 65532


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Iterator[Machine]:
    """The release with its defaults."""
    with machine.release():
        yield machine


@pytest.fixture
def examples(installed: Machine) -> Iterator[None]:
    """The namespaces of the examples, deleted at the end."""
    installed.cluster.kubectl("apply", "-f", str(EXAMPLES / "01-namespaces.yaml"))
    yield
    installed.cluster.kubectl("delete", "namespace", *EXAMPLE_NAMESPACES, timeout=120)


def test_the_example_jobs_run_to_completion_with_their_secrets(installed: Machine, examples: None):
    kubectl = installed.cluster.kubectl
    for name in ("02-secrets", "03-policies", "04-jobs", "05-refused"):
        kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))

    for (namespace, job), (account, value, ssh_keys) in PRINTED.items():
        complete = ("--for=condition=Complete", "--timeout=120s")
        kubectl("wait", f"job/{job}", "-n", namespace, *complete, timeout=150)
        output = kubectl("logs", f"job/{job}", "-n", namespace).stdout
        lines = dict(line.split(maxsplit=1) for line in output.splitlines())
        assert lines["account"] == account
        assert lines["value"].startswith(hashlib.sha256(value.encode()).hexdigest()[:12])
        assert output.count("/root/.ssh/deploy") >= ssh_keys
        assert "/root/.docker/config.json" in output
        assert json.loads(lines["resolution"])["bundles"]
    assert installed.cluster.get("pods", "-n", "web-production", "-l", "job-name=intruder")["items"] == []


def test_processes_run_unprivileged_with_a_read_only_root_file_system(installed: Machine):
    pods = [*installed.pods("controller"), *installed.pods("admission")]

    assert len(pods) == 4
    for pod in pods:
        name = pod["metadata"]["name"]
        run = ("exec", name, "-n", SYSTEM, "--", "python", "-c")
        ids = installed.cluster.kubectl(*run, "import os; print(os.getuid(), os.getgid())").stdout.split()
        assert ids == [str(UNPRIVILEGED)] * 2
        refused = installed.cluster.kubectl(*run, "open('/opt/new', 'w')", check=False)
        assert "Read-only file system" in refused.stderr
        assert all(status["restartCount"] == 0 for status in pod["status"]["containerStatuses"])


def test_the_namespace_can_enforce_the_restricted_profile(installed: Machine):
    """A server-side dry run of the label warns about every pod that would break the profile."""
    label = "pod-security.kubernetes.io/enforce=restricted"

    answer = installed.cluster.kubectl("label", "namespace", SYSTEM, label, "--dry-run=server", "--overwrite")

    assert "violate" not in answer.stderr
    assert answer.stdout.startswith(f"namespace/{SYSTEM}")


def test_helm_test_succeeds(installed: Machine):
    result = installed.helm("test", RELEASE, "--namespace", SYSTEM, "--logs", "--timeout=120s")

    assert "Phase:          Succeeded" in result.stdout
