"""The doctor at a real installation: each thing is broken once, found, and mended."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from scoped_secrets.doctor.checks import CHECKS, examine
from scoped_secrets.doctor.gather import gather
from scoped_secrets.doctor.guard import GUARD_VALUES
from scoped_secrets.kube.client import Cluster as Client
from scoped_secrets.shipped_manifests import INJECTED_MANIFEST
from tests.cluster.processes import wait_until
from tests.integration.console import SOURCES, pod, scoped_secret
from tests.support.installed import INJECTED_POLICY, ROOT
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scoped_secrets.doctor.findings import Finding
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

HOME = names.DEFAULT_NAMESPACE
SECONDS = 30.0
MUTATING, VALIDATING = "mutatingwebhookconfiguration", "validatingwebhookconfiguration"


class Doctor:
    """Runs ``scoped-secrets doctor`` and reads what it says."""

    def __init__(self, console: Console, kubeconfig: Path, namespace: str) -> None:
        self.console = console
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.code = 0
        self.text = ""

    def run(self, *flags: str) -> str:
        """Run it, and return what it printed."""
        command = [sys.executable, "-m", "scoped_secrets", "doctor", "--kubeconfig", str(self.kubeconfig), *flags]
        environment = RunningOperator.environment(self.console.cluster)
        del environment["KUBECONFIG"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in result.stderr
        self.code, self.text = result.returncode, result.stdout + result.stderr
        return self.text

    def findings(self, *severities: str) -> list[tuple[str, str, str]]:
        """Return check, severity and message of what there is to find; by default errors and warnings.

        In this process, which has imported everything already.
        """
        wanted = severities or ("error", "warning")
        return [
            (check, finding.severity.value, finding.message)
            for check, found in asyncio.run(self._examine()).items()
            for finding in found
            if finding.severity in wanted and is_of_interest(check, finding.message, self.namespace)
        ]

    async def _examine(self) -> Mapping[str, tuple[Finding, ...]]:
        async with await Client.connect(str(self.kubeconfig)) as client:
            return examine(await gather(client, HOME, self.namespace))

    def finds(self, check: str, severity: str, words: str) -> bool:
        """Tell whether it says something now."""
        return any((name, how) == (check, severity) and words in what for name, how, what in self.findings())


def is_of_interest(check: str, message: str, namespace: str) -> bool:
    """Tell whether a finding is about this test: tests before this one left namespaces and objects."""
    is_everywhere = check not in ("namespaces", "objects", "opt-in") or "Policy" in message
    return is_everywhere or namespace in message or "not checked" in message


@pytest.fixture(scope="module")
def deployments(console: Console, installed: InstalledOperator) -> Iterator[list[dict[str, Any]]]:
    """The Deployments of the manifests, whose pods run nowhere; the processes of these tests do their work."""
    yield [
        document
        for manifest in ("20-controller.yaml", "30-admission.yaml")
        for document in yaml.safe_load_all((ROOT / "manifests" / manifest).read_text())
        if document["kind"] == "Deployment"
    ]
    console.cluster.kubectl("delete", "deployment", "--all", "-n", HOME, "--cascade=foreground", "--timeout=60s")


@pytest.fixture
def web(company: Company, console: Console, operator: InstalledOperator, deployments: list[dict[str, Any]]) -> str:
    """A project's namespace in a cluster in which everything is as it should be."""
    console.apply(*deployments)
    for component in ("controller", "admission"):
        set_ready(console, component, 2)
    operator.mount_material()
    return company.namespace("web", "web")


@pytest.fixture
def doctor(console: Console, web: str) -> Doctor:
    """The doctor of an administrator."""
    return Doctor(console, console.cluster.kubeconfig, web)


def test_healthy_installation_has_no_findings(doctor: Doctor):
    assert doctor.findings("error", "warning", "unchecked") == []


def test_text_output_has_one_line_per_check_and_json_is_complete(doctor: Doctor):
    text = doctor.run("--namespace", doctor.namespace)
    told = json.loads(doctor.run("--namespace", doctor.namespace, "--output", "json"))

    assert doctor.code == 0
    assert {check["name"] for check in told["checks"]} == CHECKS.keys()
    first = [line.split() for line in text.splitlines() if not line.startswith(" ")]
    assert [words[1] for words in first if words[0] == "ok"][:6] == [
        *("versions", "crds", "workloads", "lease", "webhooks", "guard"),
    ]


def test_a_crd_of_another_version_is_found(doctor: Doctor, console: Console):
    crd = f"secretpolicies.{names.GROUP}"
    path = "/spec/versions/0/schema/openAPIV3Schema/description"
    patch = json.dumps([{"op": "replace", "path": path, "value": "of another version"}])
    console.cluster.kubectl("patch", "crd", crd, "--type=json", "-p", patch)
    try:
        assert doctor.finds("crds", "warning", f"'{crd}' has another schema")
    finally:
        console.cluster.kubectl("apply", "-f", str(ROOT / "crds"))
    assert doctor.findings() == []


def test_pods_that_are_not_ready_are_found(doctor: Doctor, console: Console):
    set_ready(console, "admission", 0)
    message = "the Deployment 'scoped-secrets/scoped-secrets-admission' has no ready pod"
    assert message in doctor.run("--namespace", doctor.namespace)
    assert doctor.code == 1

    set_ready(console, "admission", 1)
    assert doctor.finds("workloads", "warning", "1 ready pods of 2")

    console.cluster.kubectl("scale", "deployment", "scoped-secrets-admission", "-n", HOME, "--replicas=0")
    assert doctor.finds("workloads", "error", "is scaled to 0")

    console.cluster.kubectl("delete", "deployment", "scoped-secrets-admission", "-n", HOME)
    assert doctor.finds("workloads", "error", "no Deployment of the admission")


def test_version_skew_and_rollout_are_found(doctor: Doctor, console: Console):
    kubectl = console.cluster.kubectl
    kubectl("set", "image", "-n", HOME, "deployment/scoped-secrets-controller", "controller=x/scoped-secrets:0.9.0")

    assert doctor.finds("versions", "warning", "the controller is version 0.9.0")
    wait_until(lambda: doctor.finds("workloads", "warning", "is being rolled out"), "the roll-out", seconds=SECONDS)


def test_a_leader_that_is_missing_or_silent_is_found(doctor: Doctor, console: Console, operator: InstalledOperator):
    operator.stop_controllers()
    try:
        assert doctor.finds("lease", "error", "no controller holds the Lease")
        long_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": "somebody", "leaseDurationSeconds": 15, "renewTime": long_ago}
        merge(console, "lease", names.LEASE_NAME, {"spec": spec}, namespace=HOME)
        assert doctor.finds("lease", "error", "seconds ago")
        merge(console, "lease", names.LEASE_NAME, {"spec": {"holderIdentity": ""}}, namespace=HOME)
    finally:
        operator.start()
    wait_until(lambda: doctor.findings() == [], "all is well again", seconds=SECONDS)


def test_webhooks_that_are_gone_are_found(doctor: Doctor, operator: InstalledOperator):
    with operator.webhooks_off():
        messages = [message for _, severity, message in doctor.findings() if severity == "error"]
        for kind in ("Mutating", "Validating"):
            assert f"the {kind}WebhookConfiguration 'scoped-secrets' does not exist" in messages
        assert any("would be created without its secrets" in message for message in messages)
    assert doctor.findings() == []


def test_webhooks_that_were_changed_are_found(doctor: Doctor, console: Console):
    with changed(console, MUTATING, [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]):
        assert doctor.finds("webhooks", "warning", "failurePolicy Ignore")
    with changed(console, MUTATING, [{"op": "remove", "path": "/webhooks/0/objectSelector"}]):
        assert doctor.finds("webhooks", "warning", "receives pods that did not opt in")
    with changed(console, VALIDATING, [{"op": "remove", "path": "/webhooks/1"}]):
        assert doctor.finds("webhooks", "error", "lacks the webhook 'secretpolicies.validate.scopedsecrets.dev'")
    assert doctor.findings() == []


def test_ca_bundle_that_does_not_verify_is_found(doctor: Doctor, console: Console, operator: InstalledOperator):
    operator.stop_controllers()
    foreign = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)
    ended = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC) - timedelta(days=4000), bundle_published=False)
    try:
        with bundle(console, base64.b64encode(ca_bundle(foreign)).decode()):
            assert doctor.finds("certificate", "error", "signed by an authority that the caBundle does not have")
            assert doctor.finds("injection", "error", "it does not trust the certificate")
        with bundle(console, base64.b64encode(ca_bundle(ended)).decode()):
            assert doctor.finds("webhooks", "error", "has a caBundle that expired")
        with bundle(console, ""):
            assert doctor.finds("webhooks", "error", "has no caBundle")
    finally:
        operator.start()
    wait_until(lambda: doctor.findings() == [], "all is well again", seconds=SECONDS)


def test_unreachable_admission_server_is_found(doctor: Doctor, console: Console):
    nowhere = [{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://127.0.0.1:1/mutate/pods"}]
    with changed(console, MUTATING, nowhere):
        assert doctor.finds("injection", "error", "nothing listens there")
        unchecked = doctor.findings("unchecked")
        assert [(check, "https://127.0.0.1:1 cannot be reached" in what) for check, _, what in unchecked] == [
            ("certificate", True)
        ]


def test_a_public_key_that_is_gone_or_damaged_is_found(doctor: Doctor, console: Console, operator: InstalledOperator):
    operator.stop_controllers()
    try:
        damaged = {"data": {names.CERTIFICATE_FILE: "nonsense"}}
        merge(console, "configmap", names.CERTIFICATE_CONFIG_MAP, damaged, namespace=HOME)
        assert doctor.finds("keys", "error", "holds no sealing certificate")
        console.cluster.kubectl("delete", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", HOME)
        assert doctor.finds("keys", "error", "does not exist")
    finally:
        operator.start()
    wait_until(lambda: doctor.findings() == [], "all is well again", seconds=SECONDS)


def test_a_right_that_is_missing_is_found(doctor: Doctor, console: Console):
    console.cluster.kubectl("delete", "clusterrolebinding", "scoped-secrets-admission")
    try:
        lacking = "'scoped-secrets/scoped-secrets-admission' lacks list on scopedsecrets.scopedsecrets.dev"
        wait_until(lambda: doctor.finds("rights", "error", lacking), "the missing right", seconds=SECONDS)
        assert not doctor.finds("rights", "error", "scoped-secrets-controller")
    finally:
        console.cluster.kubectl("apply", "-f", str(ROOT / "manifests" / "10-roles.yaml"))
    wait_until(lambda: doctor.findings() == [], "all is well again", seconds=SECONDS)


def test_labels_that_make_no_scope_path_are_found(doctor: Doctor, console: Console, web: str):
    console.cluster.kubectl("label", "namespace", web, f"{names.PROJECT_LABEL}=", "--overwrite")
    assert doctor.finds("namespaces", "warning", f"'{web}' has an empty label {names.PROJECT_LABEL}")

    labels = (f"{names.PROJECT_LABEL}-", f"{names.ENVIRONMENT_LABEL}=production")
    console.cluster.kubectl("label", "namespace", web, *labels)
    assert doctor.finds("namespaces", "warning", "so that this has no effect")

    labels = (f"{names.PROJECT_LABEL}=web", f"{names.ORGANIZATION_LABEL}-")
    console.cluster.kubectl("label", "namespace", web, *labels)
    assert doctor.finds("namespaces", "warning", "so that it belongs to 'default'")


def test_a_namespace_without_a_scope_path_shows_in_the_dry_run(doctor: Doctor, company: Company):
    doctor.namespace = company.outside()

    pod = f"a pod with the label {names.INJECT_LABEL} in namespace '{doctor.namespace}'"
    assert doctor.findings() == [("injection", "warning", f"{pod} is denied with reason NamespaceOutside")]


def test_policy_and_binding_that_are_gone_are_found(doctor: Doctor, console: Console):
    policies = str(ROOT / "manifests" / "60-opt-in-warnings.yaml")
    try:
        console.cluster.kubectl("delete", "validatingadmissionpolicybinding", names.WEBHOOK_CONFIGURATION)
        assert doctor.finds("opt-in", "warning", "the ValidatingAdmissionPolicyBinding 'scoped-secrets' does not exist")
        console.cluster.kubectl("delete", "validatingadmissionpolicy", names.WEBHOOK_CONFIGURATION)
        assert doctor.finds("opt-in", "warning", "the ValidatingAdmissionPolicy 'scoped-secrets' does not exist")
    finally:
        console.cluster.kubectl("apply", "-f", policies)
    assert doctor.findings() == []


def test_mistakes_in_the_opt_in_are_found(doctor: Doctor, console: Console, web: str):
    # No other test has these values and names, by which findings are grouped.
    value, unknown = f"True-{web}"[:63], f"{names.GROUP}/secretz"
    annotations = {names.KEY_CONFLICT_ANNOTATION: "x", names.CONTAINERS_ANNOTATION: "x"}
    console.apply(
        plain_pod(web, "value", {names.INJECT_LABEL: value}, {}),
        plain_pod(web, "no-label", {}, annotations),
        plain_pod(web, "unknown", {}, {unknown: "aws"}),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "outside",
                "namespace": web,
                "labels": {names.INJECT_LABEL: "true"},
                "annotations": {names.OPTIONAL_ANNOTATION: "x", names.SECRETS_ANNOTATION: "aws"},
            },
            "spec": {"suspend": True, "template": {"spec": plain_pod(web, "", {}, {})["spec"]}},
        },
    )
    console.cluster.kubectl("label", "namespace", web, f"{names.GROUP}/organisation=x")

    found = [message for check, severity, message in doctor.findings() if (check, severity) == ("opt-in", "warning")]

    outside = f"{names.INJECT_LABEL}, {names.SECRETS_ANNOTATION}, {names.OPTIONAL_ANNOTATION}"
    without = f"{names.CONTAINERS_ANNOTATION}, {names.KEY_CONFLICT_ANNOTATION}"
    assert found == [
        f"the label {names.INJECT_LABEL} has the value '{value}', which does not opt in: 'Pod {web}/value'",
        f"{outside} is only on the workload, and pods get what is on their template: 'Job {web}/outside'",
        f"{without} has no effect on pods without the label {names.INJECT_LABEL}: 'Pod {web}/no-label'",
        f"the annotation '{unknown}' has no meaning on pods: 'Pod {web}/unknown'",
        f"the label '{names.GROUP}/organisation' has no meaning on namespaces: 'Namespace {web}'",
    ]
    printed = doctor.run("--namespace", web)
    assert f"-> rename it to '{names.SECRETS_ANNOTATION}', or remove it" in printed
    assert f"-> rename it to '{names.ORGANIZATION_LABEL}', or remove it" in printed


def test_variable_from_a_config_map_and_from_a_bundle_is_found(
    doctor: Doctor, console: Console, company: Company, web: str
):
    console.apply(scoped_secret(f"{web}/aws", env={"AWS_REGION": "x", "APP_MODE": "y", "ONLY": "z"}))
    company.settle(web)
    names_only = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": web}}
    console.apply({**names_only, "data": dict.fromkeys(("AWS_REGION", "MODE", "OTHER"), "value-of-a-config-map")})
    body = pod(f"{web}/job", "aws")
    body["spec"]["containers"][0]["envFrom"] = [
        {"configMapRef": {"name": "settings"}},
        {"configMapRef": {"name": "settings"}, "prefix": "APP_"},
        {"configMapRef": {"name": "missing", "optional": True}},
    ]
    console.create(body)
    container = body["spec"]["containers"][0]["name"]

    found = [message for check, severity, message in doctor.findings() if (check, severity) == ("opt-in", "warning")]

    wins = f"the value of the bundle wins over that of the ConfigMap '{web}/settings' for"
    place = f"in the container '{container}': 'Pod {web}/job'"
    assert found == [f"{wins} 'APP_MODE' {place}", f"{wins} 'AWS_REGION' {place}"]
    assert "value-of-a-config-map" not in doctor.run("--namespace", web)

    # Who may not read ConfigMaps is told so once.
    rules = [rule for rule in RULES if rule["resources"] != ["configmaps"]]
    may_create = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}
    doctor.kubeconfig = account_with(console, web, rules, [may_create])
    why = f"needs get on configmaps in namespace '{web}'"

    def is_all() -> bool:
        unread = doctor.findings("unchecked")
        return len(unread) == 1 and why in unread[0][2]

    wait_until(is_all, "the ConfigMaps alone are not checked", seconds=SECONDS)


def test_reads_a_limited_number_of_config_maps(doctor: Doctor, console: Console, operator: InstalledOperator, web: str):
    # The webhooks and the guard would deny a pod that refers to a bundle Secret by itself.
    body = plain_pod(web, "many", {names.INJECT_LABEL: "true"}, {})
    body["spec"]["volumes"] = [{"name": names.VOLUME_NAME, "emptyDir": {}}]
    reference = {"secretKeyRef": {"name": f"{names.BUNDLE_PREFIX}x", "key": "x"}}
    body["spec"]["containers"][0] |= {
        "env": [{"name": "KEY", "valueFrom": reference}],
        "envFrom": [{"configMapRef": {"name": f"settings-{number}"}} for number in range(103)],
    }
    with operator.webhooks_off(), operator.guard_off():
        console.create(body)
    try:
        found = doctor.findings("unchecked")
    finally:
        console.cluster.kubectl("delete", "pod", "many", "-n", web, "--force")

    # Pods of other tests read ConfigMaps too.
    ((check, _, message),) = found
    assert (check, "read too many ConfigMaps with `envFrom`" in message) == ("opt-in", True)


def test_definitions_that_are_not_ready_are_found(doctor: Doctor, console: Console, company: Company, web: str):
    console.apply(scoped_secret(f"{web}/fine", env={"KEY": "x"}))
    body = scoped_secret(f"{web}/lacking")
    source = {"secretKeyRef": {"name": SOURCES[0], "key": "password"}}
    body["spec"]["env"] = [{"name": "KEY", "valueFrom": source}]
    console.apply(body)
    console.wait_condition(web, "lacking", "Ready", "False")

    assert doctor.findings() == [
        ("objects", "warning", f"1 ScopedSecret is not Ready, with reason SourceMissing: '{web}/lacking'")
    ]


def test_a_guard_policy_that_is_gone_or_changed_is_found(doctor: Doctor, console: Console):
    name = f"{names.WEBHOOK_CONFIGURATION}-references"
    kubectl = console.cluster.kubectl
    try:
        patch = json.dumps([{"op": "replace", "path": "/spec/validations/0/expression", "value": "true"}])
        kubectl("patch", "validatingadmissionpolicy", name, "--type=json", "-p", patch)
        assert doctor.finds("guard", "warning", f"'{name}' of the guard differs from the one of this version")
        actions = json.dumps({"spec": {"validationActions": ["Audit"]}})
        kubectl("patch", "validatingadmissionpolicybinding", name, "--type=merge", "-p", actions)
        assert doctor.finds("guard", "warning", f"'{name}' of the guard does not exist or does not deny")
        kubectl("delete", "validatingadmissionpolicy", name)
        assert doctor.finds("guard", "warning", f"'{name}' of the guard does not exist")
    finally:
        kubectl("apply", "-f", str(ROOT / "manifests" / "70-guard.yaml"))
    assert doctor.findings() == []


def test_the_policy_about_pods_that_were_not_injected_is_checked(doctor: Doctor, console: Console):
    name = INJECTED_POLICY
    kubectl = console.cluster.kubectl
    try:
        missing = json.dumps([{"op": "replace", "path": "/spec/paramRef/parameterNotFoundAction", "value": "Allow"}])
        kubectl("patch", "validatingadmissionpolicybinding", name, "--type=json", "-p", missing)
        assert doctor.finds("guard", "error", f"'{name}' does not exist or does not deny")
        kubectl("apply", "-f", str(ROOT / "manifests" / INJECTED_MANIFEST))
        patch = json.dumps([{"op": "replace", "path": "/spec/validations/1/expression", "value": "true"}])
        kubectl("patch", "validatingadmissionpolicy", name, "--type=json", "-p", patch)
        assert doctor.finds("guard", "error", f"'{name}' differs from the one of this version")
        kubectl("delete", "validatingadmissionpolicy", name)
        assert doctor.finds("guard", "error", f"'{name}' does not exist")
    finally:
        kubectl("apply", "-f", str(ROOT / "manifests" / INJECTED_MANIFEST))
    assert doctor.findings() == []


def test_a_pod_that_no_webhook_injects_is_found(doctor: Doctor, operator: InstalledOperator):
    with operator.webhooks_off(MUTATING):
        assert doctor.finds("injection", "error", "is denied because no webhook of the operator injects it")
        assert doctor.finds("webhooks", "error", "the MutatingWebhookConfiguration 'scoped-secrets' does not exist")


def test_a_minimal_role_is_enough_for_everything(doctor: Doctor, console: Console, web: str):
    account = account_with(console, web, RULES, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
    doctor.kubeconfig = account

    wait_until(lambda: not doctor.findings("unchecked"), "the role is known", seconds=SECONDS)
    assert doctor.findings() == []


def test_user_without_rights_sees_what_was_not_checked(doctor: Doctor, console: Console, web: str):
    doctor.kubeconfig = account_with(console, web, [], [])

    found = doctor.findings("error", "warning", "unchecked")
    assert {severity for _, severity, _ in found} == {"unchecked"}
    assert {check for check, *_ in found} == {
        *("crds", "workloads", "lease", "webhooks", "guard", "rights", "namespaces", "objects", "injection", "opt-in"),
    }
    assert all("not checked: needs" in message for *_, message in found)
    doctor.run("--namespace", web)
    assert doctor.code == 0
    doctor.run("--strict", "--namespace", web)
    assert doctor.code == 1


def test_unreachable_cluster_exits_with_2(doctor: Doctor, console: Console, tmp_path: Path):
    configuration = yaml.safe_load(console.cluster.kubeconfig.read_text())
    configuration["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    doctor.kubeconfig = tmp_path / "nowhere"
    doctor.kubeconfig.write_text(yaml.safe_dump(configuration))

    assert "the API server does not answer" in doctor.run()
    assert doctor.code == 2


def test_doctor_leaves_no_objects(doctor: Doctor, console: Console, web: str):
    doctor.run("--namespace", web)

    assert console.items("pod", web) == {}


def plain_pod(namespace: str, name: str, labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    """Return a pod that names no bundle by itself."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
    }


# Everything that the doctor asks for, but the pod of its dry run.
RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["apiextensions.k8s.io"],
        "resources": ["customresourcedefinitions"],
        "resourceNames": [f"scopedsecrets.{names.GROUP}", f"secretpolicies.{names.GROUP}"],
        "verbs": ["get"],
    },
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        "resourceNames": [names.WEBHOOK_CONFIGURATION],
        "verbs": ["get"],
    },
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        "resourceNames": [
            names.WEBHOOK_CONFIGURATION,
            f"{names.WEBHOOK_CONFIGURATION}-workloads",
            INJECTED_POLICY,
            *(f"{names.WEBHOOK_CONFIGURATION}-{end}" for end in GUARD_VALUES),
        ],
        "verbs": ["get"],
    },
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["list"]},
    {"apiGroups": ["batch"], "resources": ["jobs", "cronjobs"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [names.LEASE_NAME],
        "verbs": ["get"],
    },
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]},
    {"apiGroups": [names.GROUP], "resources": ["scopedsecrets", "secretpolicies"], "verbs": ["list"]},
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
]


def account_with(console: Console, namespace: str, everywhere: list[Any], there: list[Any]) -> Path:
    """Return a kubeconfig of a new ServiceAccount with these rules in the cluster, and in its namespace."""
    name = f"doctor-{namespace}"
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    group = "rbac.authorization.k8s.io"

    def of_roles(kind: str, **metadata: str) -> list[dict[str, Any]]:
        role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name, **metadata}}
        reference = {"apiGroup": group, "kind": kind, "name": name}
        return [
            {**role, "rules": there if metadata else everywhere},
            {**role, "kind": f"{kind}Binding", "roleRef": reference, "subjects": subjects},
        ]

    console.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    console.apply(*of_roles("ClusterRole"), *of_roles("Role", namespace=namespace))
    return console.cluster.service_account_kubeconfig(namespace, name)


def set_ready(console: Console, component: str, ready: int) -> None:
    """Let so many pods of a component be ready, as a kubelet would say; there are two."""
    label = f"app.kubernetes.io/component={component}"

    def are_made() -> bool:
        return len(console.items("pods", HOME, "-l", label)) == 2

    def is_told() -> bool:
        found = console.cluster.get("deployment", f"scoped-secrets-{component}", "-n", HOME)
        status = found.get("status", {})
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return is_seen and (status.get("readyReplicas", 0), status.get("updatedReplicas")) == (ready, 2)

    if is_told():
        return
    wait_until(are_made, f"two pods of the {component}", seconds=SECONDS)
    for number, name in enumerate(sorted(console.items("pods", HOME, "-l", label))):
        condition = {"type": "Ready", "status": "True" if number < ready else "False"}
        patch = json.dumps({"status": {"phase": "Running", "conditions": [condition]}})
        console.cluster.kubectl("patch", "pod", name, "-n", HOME, "--subresource=status", "--type=merge", "-p", patch)
    wait_until(is_told, f"{ready} ready pods of the {component}", seconds=SECONDS)


def merge(console: Console, kind: str, name: str, patch: dict[str, Any], *, namespace: str) -> None:
    """Change an object."""
    console.cluster.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))


@contextmanager
def changed(console: Console, kind: str, operations: list[dict[str, Any]]) -> Iterator[None]:
    """Change a webhook configuration for a while."""
    kubectl = console.cluster.kubectl
    before = console.cluster.get(kind, names.WEBHOOK_CONFIGURATION)["webhooks"]
    kubectl("patch", kind, names.WEBHOOK_CONFIGURATION, "--type=json", "-p", json.dumps(operations))
    try:
        yield
    finally:
        back = [{"op": "replace", "path": "/webhooks", "value": before}]
        kubectl("patch", kind, names.WEBHOOK_CONFIGURATION, "--type=json", "-p", json.dumps(back))


@contextmanager
def bundle(console: Console, text: str) -> Iterator[None]:
    """Give the first webhook another caBundle for a while."""
    path = "/webhooks/0/clientConfig/caBundle"
    operation = {"op": "replace", "path": path, "value": text} if text else {"op": "remove", "path": path}
    with changed(console, MUTATING, [operation]):
        yield
