"""The release is upgraded, rolled back and removed while jobs are created, and none is refused or wrong."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.machine import CHART, CRDS, RELEASE, SECONDS, SYSTEM, WEBHOOKS, job_pod
from tests.support.figures import tell
from tests.support.pod_stream import PodStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machine import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

VALUE = "upgrade-example-value"
EARLIER = "0.0.9"
# A pod whose webhook does not answer is refused after so many seconds.
WEBHOOK_SECONDS = 5.0
# The webhook that releases had before the policy about pods that were not injected.
FORMER_WEBHOOK = """\
- name: pods.validate.scopedsecrets.dev
  clientConfig:
    service: {namespace: {{ .Release.Namespace }}, name: {{ $fullname }}-admission, path: /validate/pods}
  {{- include "scoped-secrets.podScope" (dict "root" . "rules" "rules") | nindent 2 }}
  {{- include "scoped-secrets.podConditions" . | nindent 2 }}
  failurePolicy: Fail
  matchPolicy: Equivalent
  sideEffects: None
  timeoutSeconds: {{ .Values.webhooks.timeoutSeconds }}
  admissionReviewVersions: [v1]
"""
FIRST_VALIDATING = '{{- range list "scopedsecrets" "secretpolicies" }}\n'
# With this the API server keeps a namespace, and helm what it does not own.
KEPT = {
    *(f"CustomResourceDefinition <none> {crd}" for crd in CRDS),
    f"APIService <none> v1alpha1.{names.GROUP}",
    f"Namespace <none> {SYSTEM}",
    f"ServiceAccount {SYSTEM} default",
    f"ConfigMap {SYSTEM} kube-root-ca.crt",
    f"ConfigMap {SYSTEM} {names.CERTIFICATE_CONFIG_MAP}",
    f"Secret {SYSTEM} {names.SEALING_KEY_SECRET}",
    f"Secret {SYSTEM} {names.FINGERPRINT_KEY_SECRET}",
    f"Secret {SYSTEM} {names.CERTIFICATE_SECRET}",
    f"Secret {SYSTEM} {names.ADMISSION_SECRET}",
}


@pytest.fixture
def clean(machine: Machine) -> Iterator[Machine]:
    """A cluster without a release, before and after."""
    yield machine
    machine.uninstall()


@pytest.fixture
def earlier_chart(machine: Machine, tmp_path: Path) -> Path:
    """The chart as an earlier version, whose image has another tag."""
    chart = tmp_path / "scoped-secrets"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^(version|appVersion): .*$", rf"\1: {EARLIER}", about.read_text()))
    machine.node.tag_image(machine.image, f"scoped-secrets:{EARLIER}")
    return chart


@pytest.fixture
def former_chart(earlier_chart: Path) -> Path:
    """The chart as of a release whose configurations ask twice about a pod."""
    templates = earlier_chart / "templates"
    text = (templates / "webhooks.yaml").read_text()
    assert text.count(FIRST_VALIDATING) == 1
    before, copies, rest = text.partition("# Another webhook may add the label")
    _, workloads, after = rest.partition("# Records who wrote a pod template")
    assert copies
    assert workloads
    text = f"{before}{workloads}{after}".replace(FIRST_VALIDATING, FORMER_WEBHOOK + FIRST_VALIDATING)
    (templates / "webhooks.yaml").write_text(text)
    (templates / "injected.yaml").unlink()
    return earlier_chart


def asked_about_pods(machine: Machine) -> tuple[bool, bool]:
    """Return whether the former webhook, and whether the policy, judges pods."""
    validating = machine.cluster.get("validatingwebhookconfigurations")["items"]
    hooks = {webhook["name"] for each in validating for webhook in each["webhooks"]}
    policies = {each["metadata"]["name"] for each in machine.cluster.get("validatingadmissionpolicies")["items"]}
    return "pods.validate.scopedsecrets.dev" in hooks, any(name.endswith("-injected") for name in policies)


def start_holding(machine: Machine, namespace: str) -> str:
    """Start a pod that goes on running with its secrets, and return its name."""
    body = job_pod(namespace, "holding", "aws", ["sleep 3600"])
    machine.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
    machine.cluster.kubectl("wait", "pod/holding", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    return "holding"


def state(machine: Machine, namespace: str) -> dict[str, Any]:
    """Return what no upgrade may touch: definitions, keys, and the bundle of a pod that runs."""
    definitions = machine.cluster.get("scopedsecrets,secretpolicies", "-n", namespace)["items"]
    keys = machine.cluster.get("secrets", "-n", SYSTEM)["items"]
    bundles = machine.cluster.get("secrets", "-n", namespace)["items"]
    holding = machine.cluster.get("pod", "holding", "-n", namespace)
    return {
        "definitions": {
            one["metadata"]["name"]: (one["metadata"]["uid"], one["metadata"]["generation"], one["spec"])
            for one in definitions
        },
        "keys": {one["metadata"]["name"]: one["data"] for one in keys if not one["type"].startswith("helm.sh/release")},
        "bundles": {
            one["metadata"]["name"]: one["metadata"]["resourceVersion"]
            for one in bundles
            if one["metadata"]["ownerReferences"][0]["name"] == "holding"
        },
        "holding": (holding["metadata"]["uid"], holding["status"]["containerStatuses"][0]["restartCount"]),
    }


def images(machine: Machine) -> set[str]:
    """Return the images that the operator's pods were made with."""
    pods = [*machine.pods("controller"), *machine.pods("admission")]
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def test_upgrade_and_rollback_disrupt_no_job(clean: Machine, earlier_chart: Path, capsys: pytest.CaptureFixture[str]):
    machine = clean
    machine.install(chart=earlier_chart)
    assert images(machine) == {f"scoped-secrets:{EARLIER}"}
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)
    start_holding(machine, namespace)
    before = state(machine, namespace)

    with PodStream(machine.cluster, namespace, "aws", per_second=5) as stream:
        stream.wait_for(5, SECONDS)
        machine.upgrade("--set", "controller.workers=8")
        assert images(machine) == {machine.image}
        machine.run_job(namespace, VALUE)
        assert state(machine, namespace) == before
        upgraded = len(stream.creations)
        machine.helm("rollback", RELEASE, "1", "--namespace", SYSTEM, "--wait", "--timeout=180s")
        assert images(machine) == {f"scoped-secrets:{EARLIER}"}
        stream.wait_for(len(stream.creations) + 5, SECONDS)

    delays = stream.delays(VALUE)
    assert state(machine, namespace) == before
    assert stream.slowest() < WEBHOOK_SECONDS
    machine.run_job(namespace, VALUE)
    tell(
        capsys,
        f"upgrade and rollback: {len(stream.creations)} pods, {upgraded} until the upgrade's end, none refused; "
        f"the slowest creation {stream.slowest():.2f} s, the latest bundle {max(delays):.0f} s",
    )
    machine.cluster.delete_namespace(namespace)


def test_upgrade_from_a_release_that_asks_twice_about_a_pod_disrupts_no_job(
    clean: Machine, former_chart: Path, capsys: pytest.CaptureFixture[str]
):
    machine = clean
    machine.install(chart=former_chart)
    assert asked_about_pods(machine) == (True, False)
    namespace = machine.project()
    machine.define(namespace, VALUE)
    machine.run_job(namespace, VALUE)
    start_holding(machine, namespace)
    before = state(machine, namespace)

    with PodStream(machine.cluster, namespace, "aws", per_second=5) as stream:
        stream.wait_for(5, SECONDS)
        machine.upgrade()
        assert images(machine) == {machine.image}
        assert asked_about_pods(machine) == (False, True)
        stream.wait_for(len(stream.creations) + 25, SECONDS)

    delays = stream.delays(VALUE)
    assert state(machine, namespace) == before
    assert stream.slowest() < WEBHOOK_SECONDS
    machine.run_job(namespace, VALUE)
    tell(
        capsys,
        f"upgrade to one webhook about a pod: {len(stream.creations)} pods, none refused; the slowest creation "
        f"{stream.slowest():.2f} s, the latest bundle {max(delays):.0f} s",
    )
    machine.cluster.delete_namespace(namespace)


def test_uninstall_keeps_crds_and_keys_and_blocks_no_pod(clean: Machine):
    machine = clean
    before = machine.objects()
    machine.install()
    namespace = machine.project()
    machine.define(namespace, VALUE)
    start_holding(machine, namespace)
    definitions = state(machine, namespace)["definitions"]

    machine.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")

    # helm waits for what it made, and not for the pods of that.
    machine.cluster.kubectl("wait", "pods", "--all", "-n", SYSTEM, "--for=delete", "--timeout=60s", timeout=90)
    left = {one for one in machine.objects() - before if namespace not in one.split()}
    assert left == KEPT
    assert state(machine, namespace)["definitions"] == definitions
    assert machine.cluster.get(",".join(WEBHOOKS))["items"] == []
    body = job_pod(namespace, "free", "aws", ["echo free"])
    machine.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
    finished = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    machine.cluster.kubectl("wait", "pod/free", "-n", namespace, *finished, timeout=90)

    # What was stored opens again, because its key was kept.
    machine.install()
    machine.run_job(namespace, VALUE)
    machine.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    machine.cluster.kubectl("delete", "namespace", namespace, SYSTEM, timeout=SECONDS * 2)
    machine.cluster.kubectl("delete", "crd", *CRDS, timeout=SECONDS)
    wait_until(lambda: machine.objects() <= before, "everything is gone", seconds=SECONDS)
