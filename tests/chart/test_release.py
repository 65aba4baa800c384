"""A release in a cluster: installed, upgraded and removed by helm, with the controller that its Deployment describes.

There is no node here. The controller runs as a process with the Deployment's own arguments and the ServiceAccount's
own token, so that flags, names and rights of the release are tried; its pods are tried with a node, elsewhere.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from cryptography import x509

from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from tests.chart.helm import CHART, ROOT, Outcome, helm
from tests.cluster.processes import Program, free_port, wait_until
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.integration

CONFIGURATIONS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
PLURALS = tuple(f"{kind}s" for kind in CONFIGURATIONS)
DEFINITIONS = ("scopedsecrets.scopedsecrets.dev", "secretpolicies.scopedsecrets.dev")
SECONDS = 60.0


class Release:
    """One release, and the cluster that it is in."""

    def __init__(self, plane: ControlPlane, name: str, namespace: str) -> None:
        self.plane = plane
        self.name = name
        self.namespace = namespace

    @property
    def fullname(self) -> str:
        """What names of its objects begin with."""
        return self.name if "scoped-secrets" in self.name else f"{self.name}-scoped-secrets"

    def helm(self, verb: str, *flags: str, values: dict[str, Any] | None = None) -> Outcome:
        """Run helm on the release."""
        chart = (str(CHART),) if verb in {"install", "upgrade"} else ()
        arguments = (verb, self.name, *chart, "--namespace", self.namespace, *flags)
        return helm(*arguments, values=values, kubeconfig=self.plane.kubeconfig)

    def do(self, verb: str, *flags: str, values: dict[str, Any] | None = None) -> None:
        """Run helm on the release; it must succeed."""
        outcome = self.helm(verb, *flags, values=values)
        assert outcome.code == 0, outcome.error

    def bundles(self) -> set[bytes]:
        """Return the CA bundles of all its webhooks, an empty one for those that have none."""
        return {
            base64.b64decode(webhook["clientConfig"].get("caBundle", ""))
            for kind in CONFIGURATIONS
            for webhook in self.plane.get(kind, self.fullname)["webhooks"]
        }

    def timeouts(self) -> set[int]:
        """Return how long the API server waits for each of its webhooks."""
        configurations = [self.plane.get(kind, self.fullname) for kind in CONFIGURATIONS]
        return {webhook["timeoutSeconds"] for one in configurations for webhook in one["webhooks"]}

    def data(self, secret: str) -> dict[str, bytes]:
        """Return the data of a Secret in its namespace, empty while it does not exist."""
        answer = self.plane.kubectl("get", "secret", secret, "-n", self.namespace, "-o", "json", check=False)
        found = json.loads(answer.stdout)["data"] if answer.returncode == 0 else {}
        return {key: base64.b64decode(value) for key, value in found.items()}

    @contextmanager
    def controller(self, folder: Path, *flags: str) -> Iterator[Program]:
        """Run the controller as its Deployment says, with the token of its account."""
        deployment = self.plane.get("deployment", f"{self.fullname}-controller", "-n", self.namespace)
        spec = deployment["spec"]["template"]["spec"]
        kubeconfig = self.plane.service_account_kubeconfig(self.namespace, spec["serviceAccountName"])
        # The last one counts: the ports are the machine's, and not a pod's.
        here = ("--probe-host=127.0.0.1", f"--probe-port={free_port()}", "--no-metrics", f"--kubeconfig={kubeconfig}")
        arguments = [sys.executable, "-m", "scoped_secrets", *spec["containers"][0]["args"], *here, *flags]
        environment = RunningOperator.environment(self.plane)
        del environment["KUBECONFIG"]
        log = folder / f"controller-{secrets.token_hex(2)}.log"
        program = Program("scoped-secrets controller", arguments, log, environment)
        try:
            yield program
        finally:
            program.stop(grace_seconds=30)


class Install(Protocol):
    """Installs releases, which are gone with everything after the test."""

    def __call__(self, *flags: str, name: str = "scoped-secrets", values: dict[str, Any] | None = None) -> Release:
        """Install a release in a namespace of its own."""
        ...


@pytest.fixture
def release(plane: ControlPlane) -> Iterator[Install]:
    """An installer of releases."""
    installed: list[Release] = []

    def install(*flags: str, name: str = "scoped-secrets", values: dict[str, Any] | None = None) -> Release:
        one = Release(plane, name, f"release-{secrets.token_hex(4)}")
        installed.append(one)
        one.do("install", "--create-namespace", *flags, values=values)
        return one

    yield install
    for one in installed:
        one.helm("uninstall", "--ignore-not-found")
        plane.kubectl("delete", "namespace", one.namespace, "--wait=false")
    # Now and then the API server confirms only after a minute that no object is left.
    plane.kubectl("delete", "crd", *DEFINITIONS, "--ignore-not-found", timeout=3 * SECONDS)


def pod(name: str) -> str:
    """Return a pod that opts in."""
    metadata = {"name": name, "labels": {"scopedsecrets.dev/inject": "true"}}
    spec = {"containers": [{"name": "main", "image": "none"}]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def definition(name: str) -> str:
    """Return a bundle without any value."""
    spec = {"scope": "Project", "env": [{"name": "REGION", "value": "north", "sensitive": False}]}
    kinds = {"apiVersion": "scopedsecrets.dev/v1alpha1", "kind": "ScopedSecret"}
    return json.dumps({**kinds, "metadata": {"name": name}, "spec": spec})


def test_release_of_any_name_gets_a_ca_bundle_that_verifies_its_service(release: Install, tmp_path: Path):
    installed = release(name="platform")
    assert installed.bundles() == {b""}

    with installed.controller(tmp_path) as controller:
        wait_until(lambda: installed.bundles() != {b""}, "a bundle", seconds=SECONDS, programs=[controller])
        wait_until(lambda: installed.data("scoped-secrets-admission") != {}, "material", seconds=SECONDS)

    leaf = x509.load_pem_x509_certificate(installed.data("scoped-secrets-admission")["tls.crt"])
    hosts = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    service = f"platform-scoped-secrets-admission.{installed.namespace}.svc"
    assert service in hosts.get_values_for_type(x509.DNSName)
    (bundle,) = installed.bundles()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificates(bundle)[0])


@pytest.mark.parametrize("how", ["true", "false"])
def test_upgrade_keeps_the_ca_bundle_of_the_controller(release: Install, tmp_path: Path, how: str):
    installed = release(f"--server-side={how}")
    with installed.controller(tmp_path) as controller:
        wait_until(lambda: installed.bundles() != {b""}, "a bundle", seconds=SECONDS, programs=[controller])
    # Nobody is there any more who would write it again.
    before = installed.bundles()

    installed.do("upgrade", values={"webhooks": {"timeoutSeconds": 4}})

    assert installed.timeouts() == {4}
    assert installed.bundles() == before

    installed.do("rollback")

    assert installed.timeouts() == {5}
    assert installed.bundles() == before


def test_ca_bundle_of_an_existing_secret_is_published_and_updated(release: Install, tmp_path: Path):
    authorities = [plan_certificates(None, ["a"], datetime.now(UTC), bundle_published=False) for _ in range(2)]
    file = tmp_path / "ca.crt"
    installed = release(values={"certificates": {"mode": "existingSecret", "existingSecret": {"name": "mine"}}})

    with installed.controller(tmp_path, f"--ca-file={file}") as controller:
        problem = "the file of --ca-file has no certificate"
        wait_until(lambda: problem in controller.log.read_text(), problem, seconds=SECONDS, programs=[controller])
        for authority in authorities:
            # A file may hold more than it should.
            file.write_bytes(ca_bundle(authority) + authority.authority.private_key_pem())
            wanted = {ca_bundle(authority)}
            wait_until(lambda: installed.bundles() == wanted, "the bundle", seconds=SECONDS, programs=[controller])  # noqa: B023 - called before the loop goes on

    given = installed.data("scoped-secrets-admission")
    assert "fingerprint.key" in given
    assert not {"tls.crt", "tls.key"} & set(given)
    assert installed.data("scoped-secrets-certificates") == {}


def test_controller_leaves_webhooks_to_cert_manager(release: Install, tmp_path: Path):
    installed = release(values={"certificates": {"mode": "certManager"}})

    with installed.controller(tmp_path) as controller:
        what = "the admission material"
        wait_until(
            lambda: installed.data("scoped-secrets-admission") != {}, what, seconds=SECONDS, programs=[controller]
        )

    assert installed.bundles() == {b""}
    assert "tls.crt" not in installed.data("scoped-secrets-admission")
    assert "not maintained" not in controller.log.read_text()


def test_second_release_is_rejected(release: Install, plane: ControlPlane):
    release()

    second = Release(plane, "second", "default").helm("install")

    assert second.code != 0
    assert "Scoped Secrets is already installed in this cluster" in second.error


def test_install_fails_without_crds(plane: ControlPlane):
    outcome = Release(plane, "scoped-secrets", "default").helm("install", values={"crds": {"install": False}})

    assert outcome.code != 0
    assert "this cluster has no ScopedSecrets: run kubectl apply -f crds/ first" in outcome.error


def test_crds_of_kubectl_can_stay_or_be_taken_over(release: Install, plane: ControlPlane):
    plane.kubectl("apply", "-f", str(CHART / "files" / "crds"))

    refused = Release(plane, "scoped-secrets", "default").helm("install")
    left = release(values={"crds": {"install": False}})
    left.do("upgrade", "--reset-values", "--take-ownership")

    assert "invalid ownership metadata" in refused.error
    labels = plane.get("crd", DEFINITIONS[0])["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_release_takes_over_the_objects_of_kubectl(plane: ControlPlane):
    for folder in (("-f", str(ROOT / "crds")), ("-k", str(ROOT / "manifests"))):
        plane.kubectl("apply", *folder)
    installed = Release(plane, "scoped-secrets", "scoped-secrets")
    try:
        refused = installed.helm("install")
        installed.do("install", "--take-ownership", "--force-conflicts", values={"webhooks": {"timeoutSeconds": 4}})

        assert "invalid ownership metadata" in refused.error
        assert installed.timeouts() == {4}
    finally:
        installed.helm("uninstall", "--ignore-not-found")
        plane.kubectl("delete", "namespace", "scoped-secrets", "--ignore-not-found", "--timeout=60s")
        # Now and then the API server confirms only after a minute that no object is left.
    plane.kubectl("delete", "crd", *DEFINITIONS, "--ignore-not-found", timeout=3 * SECONDS)


def test_uninstall_keeps_definitions_and_keys_and_lets_pods_start(
    release: Install, plane: ControlPlane, tmp_path: Path
):
    installed = release()
    with installed.controller(tmp_path) as controller:
        wait_until(lambda: installed.bundles() != {b""}, "a bundle", seconds=SECONDS, programs=[controller])
    keys = installed.data("scoped-secrets-fingerprint")
    tenant = plane.create_namespace(f"tenant-{secrets.token_hex(4)}")
    create = ("create", "-n", tenant, "-f", "-")
    refused = plane.kubectl(*create, input=pod("before"), check=False)

    installed.do("uninstall")
    # The API server takes a moment to see that the policy about pods that were not injected is gone.
    wait_until(
        lambda: plane.kubectl(*create, input=pod("after"), check=False).returncode == 0, "a pod", seconds=SECONDS
    )
    plane.kubectl(*create, input=definition("kept"))

    # Nobody answered, and nothing is let through for that.
    assert 'failed calling webhook "pods.mutate.scopedsecrets.dev"' in refused.stderr
    assert plane.get("scopedsecret", "kept", "-n", tenant)["metadata"].get("finalizers", []) == []
    left = plane.kubectl("get", "all,roles,rolebindings,poddisruptionbudgets", "-n", installed.namespace, "-o", "name")
    assert left.stdout == ""
    policies = ("validatingadmissionpolicy", "validatingadmissionpolicybinding")
    for kind in ("clusterrole", "clusterrolebinding", *CONFIGURATIONS, *policies):
        assert "scoped-secrets" not in plane.kubectl("get", kind, "-o", "name").stdout
    assert keys == installed.data("scoped-secrets-fingerprint") != {}
    # It comes back to what it left.
    installed.do("install")
    assert plane.get("scopedsecret", "kept", "-n", tenant)["spec"]["env"][0]["value"] == "north"
    installed.do("uninstall")
    plane.kubectl("delete", "namespace", tenant, installed.namespace, "--timeout=60s")
    plane.kubectl("create", "namespace", installed.namespace)


def test_uninstall_removes_webhook_configurations_before_the_admission_server(release: Install, plane: ControlPlane):
    installed = release()

    installed.do("uninstall")

    deleted = [
        entry["objectRef"]["resource"]
        for entry in plane.audit_entries()
        if entry["verb"] == "delete"
        and entry["objectRef"].get("name", "").startswith("scoped-secrets")
        # Deployments take their pods with them, on behalf of somebody else.
        and not entry["user"]["username"].startswith("system:")
    ]
    order = [resource for resource in deleted if resource in {*PLURALS, "services", "deployments", "serviceaccounts"}]
    assert order[-8:] == [
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "services",
        "services",
        "deployments",
        "deployments",
        "serviceaccounts",
        "serviceaccounts",
    ]


def test_uninstall_removes_crds_that_are_not_kept(release: Install, plane: ControlPlane):
    installed = release(values={"crds": {"keep": False}})

    installed.do("uninstall", "--wait")

    assert "scopedsecrets.dev" not in plane.kubectl("get", "crd", "-o", "name").stdout


@pytest.mark.parametrize("where", ["kube-public", "default"])
def test_helm_test_account_may_read_everything_that_the_doctor_checks(
    release: Install, plane: ControlPlane, where: str
):
    installed = release(name="platform", values={"test": {"namespace": where}})
    hooks = ("get", "hooks", installed.name, "--namespace", installed.namespace)
    found = helm(*hooks, kubeconfig=plane.kubeconfig).documents
    (examination,) = [hook for hook in found if hook["kind"] == "Pod"]
    accounts = [hook for hook in found if hook["kind"] != "Pod"]
    plane.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": accounts}))
    try:
        spec = examination["spec"]
        kubeconfig = plane.service_account_kubeconfig(installed.namespace, spec["serviceAccountName"])
        flags = (*spec["containers"][0]["args"], "--output=json", f"--kubeconfig={kubeconfig}")
        environment = RunningOperator.environment(plane)
        del environment["KUBECONFIG"]
        command = [sys.executable, "-m", "scoped_secrets", *flags]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    finally:
        for hook in accounts:
            place = ("-n", hook["metadata"]["namespace"]) if "namespace" in hook["metadata"] else ()
            plane.kubectl("delete", hook["kind"], hook["metadata"]["name"], *place)

    checks = {check["name"]: check["findings"] for check in json.loads(result.stdout)["checks"]}
    told = [finding["message"] for findings in checks.values() for finding in findings]
    assert [message for message in told if "needs" in message] == []
    # Nothing runs here, and it says so.
    assert result.returncode == 1
    assert any("has no ready pod" in message for message in told)
    assert any("the API server cannot call the webhook for a pod" in message for message in told) or checks["webhooks"]
    assert not checks["crds"]


@pytest.mark.parametrize(
    ("role", "can", "cannot"),
    [
        ("view", ["get scopedsecrets", "list secretpolicies"], ["create scopedsecrets", "get secrets"]),
        ("edit", ["get scopedsecrets", "create scopedsecrets"], ["create secretpolicies"]),
        ("admin", ["patch scopedsecrets", "delete secretpolicies"], ["update scopedsecrets --subresource=status"]),
    ],
)
def test_aggregated_roles_grant_access_to_the_custom_resources(
    release: Install, plane: ControlPlane, role: str, can: list[str], cannot: list[str]
):
    release()
    tenant = plane.create_namespace(f"tenant-{secrets.token_hex(4)}")
    plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", "--user=alice", "-n", tenant)

    def may(what: str) -> bool:
        resource = what.replace("scopedsecrets", "scopedsecrets.scopedsecrets.dev", 1)
        asked = ("auth", "can-i", *resource.split(), "-n", tenant)
        return plane.kubectl(*asked, user="alice", check=False).stdout.strip() == "yes"

    for what in can:
        # The role is put together by a controller of the cluster.
        wait_until(lambda: may(what), f"alice may {what}", seconds=SECONDS)  # noqa: B023 - called before the loop goes on
    assert [what for what in cannot if may(what)] == []
    plane.delete_namespace(tenant)
