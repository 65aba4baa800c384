"""Ways to another pod's bundle that the webhooks do not see, and ways to take a bundle's place: the guard closes them.

The API server evaluates the policies of the guard by itself. Each attack is made by a user who may do everything in the
namespace, or with the controller's own token.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, resubmitted, scoped_secret, secret_policy
from tests.support.installed import ADMISSION_USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

MALLORY: Final = "mallory"
REFERENCES_POLICY: Final = "scoped-secrets-references"
ACCOUNTS_POLICY: Final = "scoped-secrets-accounts"
SECRETS_POLICY: Final = "scoped-secrets-secrets"
CONTROLLER_POLICY: Final = "scoped-secrets-controller"
GATE_POLICY: Final = "scoped-secrets-gate"
SPECS_POLICY: Final = "scoped-secrets-specs"
STATUSES_POLICY: Final = "scoped-secrets-statuses"
BUNDLE: Final = f"{names.BUNDLE_PREFIX}{'a' * 32}-0"
REFERENCE: Final = {"name": BUNDLE}
ENV: Final = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {**REFERENCE, "key": "k"}}}]}
ENV_FROM: Final = {"envFrom": [{"secretRef": REFERENCE}]}


def container(**fields: Any) -> dict[str, Any]:
    """Return a container."""
    return {"name": "main", "image": "busybox", **fields}


def volume(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a pod's spec that has one volume."""
    return {"volumes": [{"name": "stolen", **source}]}


# Every path in a pod's spec that names a Secret, and a spec that has one there. A test compares the paths with the
# API server's own description of a pod.
PATHS: Final[Mapping[str, dict[str, Any]]] = {
    "volumes.secret.secretName": volume({"secret": {"secretName": BUNDLE}}),
    "volumes.projected.sources.secret.name": volume({"projected": {"sources": [{"secret": REFERENCE}]}}),
    "volumes.csi.nodePublishSecretRef.name": volume(
        {"csi": {"driver": "x.example", "nodePublishSecretRef": REFERENCE}}
    ),
    "volumes.azureFile.secretName": volume({"azureFile": {"secretName": BUNDLE, "shareName": "s"}}),
    "volumes.cephfs.secretRef.name": volume({"cephfs": {"monitors": ["m"], "secretRef": REFERENCE}}),
    "volumes.cinder.secretRef.name": volume({"cinder": {"volumeID": "v", "secretRef": REFERENCE}}),
    "volumes.flexVolume.secretRef.name": volume({"flexVolume": {"driver": "a/b", "secretRef": REFERENCE}}),
    "volumes.iscsi.secretRef.name": volume(
        {"iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2020-01.a.b:c", "lun": 0, "secretRef": REFERENCE}}
    ),
    "volumes.rbd.secretRef.name": volume({"rbd": {"monitors": ["m"], "image": "i", "secretRef": REFERENCE}}),
    "volumes.scaleIO.secretRef.name": volume(
        {"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": REFERENCE}}
    ),
    "volumes.storageos.secretRef.name": volume({"storageos": {"volumeName": "v", "secretRef": REFERENCE}}),
    "imagePullSecrets.name": {"imagePullSecrets": [REFERENCE]},
    "containers.env.valueFrom.secretKeyRef.name": {"containers": [container(**ENV)]},
    "containers.envFrom.secretRef.name": {"containers": [container(**ENV_FROM)]},
    "initContainers.env.valueFrom.secretKeyRef.name": {"initContainers": [container(**ENV) | {"name": "init"}]},
    "initContainers.envFrom.secretRef.name": {"initContainers": [container(**ENV_FROM) | {"name": "init"}]},
}
EPHEMERAL: Final = {
    "ephemeralContainers.env.valueFrom.secretKeyRef.name": ENV,
    "ephemeralContainers.envFrom.secretRef.name": ENV_FROM,
}
REFERENCE_TYPES: Final = frozenset({"LocalObjectReference", "SecretReference"})


class Tenant:
    """A namespace with a running job that has a bundle, and a user who may do everything there."""

    def __init__(self, console: Console, namespace: str) -> None:
        self.console = console
        self.namespace = namespace

    @property
    def victim(self) -> dict[str, Any]:
        """The stored pod that has a bundle."""
        return self.console.cluster.get("pod", "victim", "-n", self.namespace)

    @property
    def bundle(self) -> str:
        """The name of its bundle Secret."""
        (name,) = named_secrets(self.victim)
        return name

    def does(self, *command: str, body: Mapping[str, Any] | None = None, user: str = MALLORY) -> str:
        """Run kubectl as the user, and return why it was refused; "" when it was not."""
        text = None if body is None else json.dumps(body)
        given = ("-n", self.namespace, *command, *(() if body is None else ("-f", "-")))
        result = self.console.cluster.kubectl(*given, input=text, check=False, user=user)
        return "" if result.returncode == 0 else result.stderr

    def replica_set(self, deployment: str) -> str:
        """Return the name of the one ReplicaSet of a Deployment."""
        (name,) = (each for each in self.console.items("rs", self.namespace) if each.startswith(f"{deployment}-"))
        return name

    def creates(self, body: Mapping[str, Any], *flags: str) -> str:
        """Create an object as the user, and return why it was refused."""
        return self.does("create", *flags, body=body)


@pytest.fixture(scope="module")
def tenant(found: Founder, console: Console, canary: Canary) -> Tenant:
    """A namespace with a bundle, and a user who may do everything there."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("guard")}))
    company.settle(web)
    binding = ("create", "rolebinding", MALLORY, "-n", web, "--clusterrole=cluster-admin", f"--user={MALLORY}")
    console.cluster.kubectl(*binding)
    console.create(pod(f"{web}/victim", "aws"))
    console.seen(web, "victim")
    return Tenant(console, web)


@pytest.fixture(autouse=True)
def running(operator: InstalledOperator) -> None:
    """The operator runs in each test."""


def plain(spec: Mapping[str, Any], name: str = "thief", **metadata: Any) -> dict[str, Any]:
    """Return a pod that does not opt in."""
    whole = {"restartPolicy": "Never", "containers": [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": whole}


def workload(kind: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a workload that makes pods of a spec, and runs none of them now."""
    is_batch = kind in ("Job", "CronJob")
    whole = {"restartPolicy": "Never" if is_batch else "Always", "containers": [container()], **spec}
    template = {"metadata": {"labels": {"app": "x", **(labels or {})}}, "spec": whole}
    body = {"apiVersion": "batch/v1" if is_batch else "apps/v1", "kind": kind, "metadata": {"name": "thief"}}
    match kind:
        case "Job":
            return body | {"spec": {"suspend": True, "template": {"spec": whole}}}
        case "CronJob":
            job = {"spec": {"template": {"spec": whole}}}
            return body | {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": job}}
        case "ReplicationController":
            selector: dict[str, Any] = {"app": "x"}
            return body | {"apiVersion": "v1", "spec": {"replicas": 0, "selector": selector, "template": template}}
        case _:
            fields: dict[str, Any] = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
            fields |= {"StatefulSet": {"serviceName": "x", "replicas": 0}, "DaemonSet": {}}.get(kind, {"replicas": 0})
            return body | {"spec": fields}


WORKLOADS = ("Job", "CronJob", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController")


# References


@pytest.mark.parametrize("path", PATHS)
def test_an_unlabelled_pod_that_names_a_bundle_is_denied(tenant: Tenant, path: str):
    refusal = tenant.creates(plain(PATHS[path]))

    assert f"'{REFERENCES_POLICY}'" in refusal
    assert "belongs to one pod" in refusal


@pytest.mark.parametrize("path", ["volumes.secret.secretName", "containers.env.valueFrom.secretKeyRef.name"])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_whose_template_names_a_bundle_is_denied(tenant: Tenant, kind: str, path: str):
    refusal = tenant.creates(workload(kind, PATHS[path], {names.INJECT_LABEL: names.INJECT_VALUE}))

    assert f"'{REFERENCES_POLICY}'" in refusal
    assert "spec.jobTemplate.spec.template.spec" in refusal or kind != "CronJob"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_other_pods_and_workloads_are_admitted(tenant: Tenant, kind: str):
    spec = {
        "containers": [
            container(
                env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "my-ssec-a", "key": "k"}}}],
                envFrom=[{"secretRef": {"name": "own"}}, {"configMapRef": {"name": BUNDLE}}],
            )
        ],
        **volume({"secret": {"secretName": "ssecret"}}),
    }

    assert tenant.creates(workload(kind, spec), "--dry-run=server") == ""
    assert tenant.creates(plain(spec), "--dry-run=server") == ""


def test_the_guard_knows_every_reference_to_a_secret_of_this_kubernetes(console: Console):
    document = json.loads(console.cluster.kubectl("get", "--raw", "/openapi/v3/api/v1").stdout)
    schemas: dict[str, Any] = document["components"]["schemas"]

    found = set(references(schemas, "io.k8s.api.core.v1.PodSpec", ()))

    assert found == {*PATHS, *EPHEMERAL}


def references(schemas: Mapping[str, Any], name: str, path: tuple[str, ...]) -> Iterator[str]:
    """Yield every path below a type that names a Secret."""
    short = name.rpartition(".")[2]
    for field, schema in schemas[name].get("properties", {}).items():
        while "items" in schema or "additionalProperties" in schema:
            schema = schema.get("items") or schema["additionalProperties"]  # noqa: PLW2901 - the type of the elements
        here = (*path, field)
        is_name = field == "name" and (short.startswith("Secret") or short in REFERENCE_TYPES)
        if is_name or field == "secretName":
            yield ".".join(here)
        for each in ({"$ref": schema["$ref"]} if "$ref" in schema else {}, *schema.get("allOf", ())):
            if "$ref" in each:
                yield from references(schemas, each["$ref"].rpartition("/")[2], here)


def test_a_copy_of_a_pod_for_debugging_is_denied(tenant: Tenant, operator: InstalledOperator):
    command = ("debug", "victim", "--copy-to=copy", "--image=busybox", "--container=debugger", "--attach=false")

    refusal = tenant.does(*command, "--", "env")
    with operator.webhooks_off():
        refusal_of_guard = tenant.does(*command, "--", "env")

    assert "ReservedName" in refusal
    assert f"'{REFERENCES_POLICY}'" in refusal_of_guard
    assert not tenant.console.exists("pod", tenant.namespace, "copy")


def test_a_job_with_the_stored_spec_of_an_injected_pod_is_denied(tenant: Tenant):
    stored = tenant.victim
    body = workload("Job", {field: stored["spec"][field] for field in ("containers", "volumes")})
    body["spec"]["template"]["metadata"] = {"labels": stored["metadata"]["labels"]}

    assert f"'{REFERENCES_POLICY}'" in tenant.creates(body)


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith(("volumes.secret", "containers"))])
def test_an_opted_in_pod_names_one_bundle_also_without_the_webhooks(
    tenant: Tenant, operator: InstalledOperator, path: str
):
    own = resubmitted(tenant.victim, "own")
    two = copy.deepcopy(own)
    added = PATHS[path]
    two["spec"]["volumes"] += added.get("volumes", [])
    two["spec"]["containers"] += [{**each, "name": "second"} for each in added.get("containers", ())]

    with operator.webhooks_off():
        own_refusal, refusal = (tenant.creates(body, "--dry-run=server") for body in (own, two))

    # Without the webhooks the policy cannot tell whose bundle it is; the controller can.
    assert own_refusal == ""
    assert f"'{REFERENCES_POLICY}'" in refusal


def test_a_labelled_pod_of_a_namespace_without_webhooks_names_no_bundle(tenant: Tenant):
    body = resubmitted(tenant.victim, "own")
    del body["metadata"]["namespace"]
    command = ("create", "-n", "kube-system", "--dry-run=server", "-f", "-")
    tenant.console.cluster.kubectl("create", "serviceaccount", "default", "-n", "kube-system", check=False)

    result = tenant.console.cluster.kubectl(*command, input=json.dumps(body), check=False)

    assert f"'{REFERENCES_POLICY}'" in result.stderr


def with_ephemeral(body: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a stored pod with one more container for debugging."""
    changed = copy.deepcopy(dict(body))
    others = changed["spec"].get("ephemeralContainers", [])
    changed["spec"]["ephemeralContainers"] = [*others, container(name=f"debugger-{len(others)}", **fields)]
    return changed


@pytest.mark.parametrize(
    "fields",
    [*EPHEMERAL.values(), {"volumeMounts": [{"name": names.VOLUME_NAME, "mountPath": "/stolen"}]}],
    ids=[*EPHEMERAL, "volumeMounts"],
)
def test_an_ephemeral_container_of_an_injected_pod_gets_nothing_of_a_bundle(tenant: Tenant, fields: dict[str, Any]):
    named = json.loads(json.dumps(fields).replace(BUNDLE, tenant.bundle))
    path = f"/api/v1/namespaces/{tenant.namespace}/pods/victim/ephemeralcontainers"

    refusal = tenant.does("replace", "--raw", path, body=with_ephemeral(tenant.victim, **named))

    assert f"'{REFERENCES_POLICY}'" in refusal
    assert "ephemeral containers never get secrets" in refusal


def test_an_ephemeral_container_of_another_pod_names_no_bundle_and_others_are_admitted(tenant: Tenant):
    assert tenant.creates(plain({}, "debugged")) == ""
    stored = tenant.console.cluster.get("pod", "debugged", "-n", tenant.namespace)
    path = f"/api/v1/namespaces/{tenant.namespace}/pods/debugged/ephemeralcontainers"

    refusal = tenant.does("replace", "--raw", path, body=with_ephemeral(stored, **ENV))

    assert f"'{REFERENCES_POLICY}'" in refusal
    assert tenant.does("replace", "--raw", path, body=with_ephemeral(stored)) == ""


def test_a_workload_that_is_older_than_the_guard_can_be_scaled_and_deleted_and_makes_no_pods(
    tenant: Tenant, operator: InstalledOperator
):
    body = workload("Deployment", PATHS["imagePullSecrets.name"])
    body["metadata"]["name"] = "older"
    with operator.guard_off():
        assert tenant.creates(body) == ""

    assert tenant.does("annotate", "deployment", "older", "note=1") == ""
    assert tenant.does("scale", "deployment", "older", "--replicas=1") == ""
    tenant.console.wait_event(tenant.namespace, tenant.replica_set("older"), "FailedCreate")
    patch = json.dumps({"spec": {"template": {"metadata": {"labels": {"note": "1"}}}}})
    assert f"'{REFERENCES_POLICY}'" in tenant.does("patch", "deployment", "older", "-p", patch)
    assert tenant.does("delete", "deployment", "older", "--cascade=foreground", "--timeout=30s") == ""


def test_a_pod_with_very_many_references_is_within_the_cost_limits(tenant: Tenant):
    env = [{"name": f"A{n}", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}} for n in range(5000)]
    volumes = [{"name": f"v{n}", "configMap": {"name": "x"}} for n in range(1000)]

    assert tenant.creates(plain({"containers": [container(env=env)], "volumes": volumes}), "--dry-run=server") == ""


# ServiceAccounts


@pytest.mark.parametrize("field", ["secrets", "imagePullSecrets"])
def test_a_service_account_that_lists_a_bundle_is_denied(tenant: Tenant, field: str):
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "thief"}, field: [REFERENCE]}

    assert f"'{ACCOUNTS_POLICY}'" in tenant.creates(body)
    patch = json.dumps({field: [REFERENCE]})
    assert f"'{ACCOUNTS_POLICY}'" in tenant.does("patch", "serviceaccount", "default", "-p", patch)
    assert tenant.does("patch", "serviceaccount", "default", "-p", json.dumps({field: [{"name": "own"}]})) == ""
    assert tenant.does("patch", "serviceaccount", "default", "--type=merge", "-p", json.dumps({field: None})) == ""


# Bundle Secrets


def secret(name: str | None, **fields: Any) -> dict[str, Any]:
    """Return a Secret; without a name the API server gives it one with our prefix."""
    metadata = {"name": name} if name else {"generateName": names.BUNDLE_PREFIX}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **fields}


@pytest.mark.parametrize("name", [BUNDLE, "ssec-x", None])
def test_a_user_plants_no_secret_in_the_place_of_a_bundle(tenant: Tenant, name: str | None):
    assert f"'{SECRETS_POLICY}'" in tenant.creates(secret(name, stringData={"KEY": "planted"}))
    assert tenant.creates(secret("my-ssec-x"), "--dry-run=server") == ""


def test_a_user_changes_no_bundle(tenant: Tenant):
    for command in (("label", "secret", tenant.bundle, "a=b"), ("annotate", "secret", tenant.bundle, "a=b")):
        assert f"'{SECRETS_POLICY}'" in tenant.does(*command)
    for change in ({"finalizers": ["example.com/keep"]}, {"ownerReferences": None}):
        patch = json.dumps({"metadata": change})
        refusal = tenant.does("patch", "secret", tenant.bundle, "--type=merge", "-p", patch)
        assert f"'{SECRETS_POLICY}'" in refusal


@pytest.mark.parametrize("user", [MALLORY, None, ADMISSION_USER])
def test_nobody_but_kubernetes_and_the_controller_deletes_a_bundle(tenant: Tenant, user: str | None):
    kubectl = tenant.console.cluster.kubectl
    if user not in (MALLORY, None):
        binding = ("create", "rolebinding", "other", f"--user={user}", "--clusterrole=cluster-admin")
        kubectl(*binding, "-n", tenant.namespace)

    one = kubectl("delete", "secret", tenant.bundle, "-n", tenant.namespace, user=user, check=False)
    many = kubectl("delete", "secrets", "--all", "-n", tenant.namespace, user=user, check=False)
    collection = f"/api/v1/namespaces/{tenant.namespace}/secrets"
    raw = kubectl("delete", "--raw", collection, user=user, check=False)

    for refusal in (one.stderr, many.stderr, raw.stderr):
        assert f"'{SECRETS_POLICY}'" in refusal
    assert tenant.console.exists("secret", tenant.namespace, tenant.bundle)


def test_a_bundle_can_be_stored_again_unchanged_to_encrypt_it_with_a_new_key(tenant: Tenant):
    stored = tenant.console.cluster.get("secret", tenant.bundle, "-n", tenant.namespace)

    assert tenant.does("replace", body=stored) == ""


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_the_garbage_collector_removes_a_bundle_when_its_pod_is_deleted(
    tenant: Tenant, operator: InstalledOperator, cascade: str
):
    console, name = tenant.console, f"gone-{cascade}"
    console.create(pod(f"{tenant.namespace}/{name}", "aws"))
    console.seen(tenant.namespace, name)
    bundles = named_secrets(console.cluster.get("pod", name, "-n", tenant.namespace))
    if cascade != "orphan":
        operator.stop_controllers()

    refusal = tenant.does("delete", "pod", name, f"--cascade={cascade}", "--grace-period=0", "--force", "--timeout=30s")

    assert refusal == ""
    console.wait_gone("secret", tenant.namespace, *bundles)


def test_a_namespace_with_a_bundle_can_be_deleted(
    found: Founder, console: Console, canary: Canary, operator: InstalledOperator
):
    company = found()
    web = company.namespace("ending", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("ending")}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    operator.stop_controllers()

    console.cluster.kubectl("delete", "namespace", web, "--timeout=60s", timeout=90)

    company.namespaces.remove(web)
    assert web not in {item["metadata"]["name"] for item in console.cluster.get("namespaces")["items"]}


# The controller's own account


def owned_by(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a Secret as the controller creates them, owned by an object of a kind."""
    owner = {"apiVersion": "v1", "kind": kind, "name": "victim", "uid": "1"}
    body = {"type": "Opaque", "immutable": True, **fields}
    made = secret(BUNDLE, **body)
    made["metadata"]["ownerReferences"] = [owner]
    return made


@pytest.mark.parametrize(
    ("namespace", "body"),
    [
        ("kube-system", secret("bootstrap-token-abcdef", type="bootstrap.kubernetes.io/token")),
        ("kube-system", owned_by("Pod")),
        ("default", secret("plain")),
        ("default", secret(BUNDLE, immutable=True)),
        ("default", owned_by("Node")),
        ("default", owned_by("Pod", immutable=False)),
        ("default", owned_by("Pod", type="example.com/other")),
        (names.DEFAULT_NAMESPACE, secret("token", type="Opaque")),
        (names.DEFAULT_NAMESPACE, secret("scoped-secrets-sealing-x")),
        (names.DEFAULT_NAMESPACE, secret("scoped-secrets-sealing-99", type="example.com/other")),
        (names.DEFAULT_NAMESPACE, owned_by("Pod")),
    ],
    ids=lambda given: given if isinstance(given, str) else given["metadata"]["name"],
)
def test_a_stolen_token_of_the_controller_creates_no_other_secret(
    console: Console, operator: InstalledOperator, namespace: str, body: dict[str, Any]
):
    result = operator.with_token_of(names.CONTROLLER_ACCOUNT, "create", "-n", namespace, "-f", "-", body=body)

    assert f"'{CONTROLLER_POLICY}'" in result.stderr
    assert not console.exists("secret", namespace, body["metadata"]["name"])


def test_a_stolen_token_of_the_controller_deletes_no_other_secret(
    tenant: Tenant, console: Console, operator: InstalledOperator
):
    assert tenant.creates(secret("native")) == ""

    for namespace, name in ((tenant.namespace, "native"), (names.DEFAULT_NAMESPACE, names.FINGERPRINT_KEY_SECRET)):
        result = operator.with_token_of(names.CONTROLLER_ACCOUNT, "delete", "--raw", secret_path(namespace, name))
        assert f"'{CONTROLLER_POLICY}'" in result.stderr
        assert console.exists("secret", namespace, name)


GATES = [{"name": "example.com/other"}, {"name": names.BUNDLE_GATE}]
PATCHES: dict[str, list[dict[str, Any]]] = {
    "image": [{"op": "replace", "path": "/spec/containers/0/image", "value": "evil"}],
    "init image": [{"op": "replace", "path": "/spec/initContainers/0/image", "value": "evil"}],
    "label": [{"op": "add", "path": "/metadata/labels/x", "value": "y"}],
    "annotation": [{"op": "add", "path": "/metadata/annotations/x", "value": "y"}],
    "finalizer": [{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/stuck"]}],
    "owner": [
        {
            "op": "add",
            "path": "/metadata/ownerReferences",
            "value": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}],
        }
    ],
    "another gate": [{"op": "remove", "path": "/spec/schedulingGates/0"}],
    "all gates": [{"op": "remove", "path": "/spec/schedulingGates"}],
    "our gate and an image": [
        {"op": "remove", "path": "/spec/schedulingGates/1"},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "evil"},
    ],
    "toleration": [{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}],
    "node selector": [{"op": "add", "path": "/spec/nodeSelector", "value": {"kubernetes.io/hostname": "mine"}}],
    "affinity": [
        {
            "op": "add",
            "path": "/spec/affinity",
            "value": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "mine", "operator": "Exists"}]}]
                    }
                }
            },
        }
    ],
    "deadline": [{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1}],
}


def test_a_stolen_token_of_the_controller_changes_nothing_of_a_pod_but_its_gate(
    tenant: Tenant, console: Console, operator: InstalledOperator
):
    body = plain({}, "gated")
    body["metadata"] |= {"labels": {"a": "b"}, "annotations": {"a": "b"}}
    body["spec"] |= {"schedulingGates": GATES, "initContainers": [container(name="init")]}
    assert tenant.creates(body) == ""
    before = console.cluster.get("pod", "gated", "-n", tenant.namespace)
    before["metadata"].pop("managedFields", None)

    def patch(operations: list[dict[str, Any]]) -> str:
        command = ("patch", "pod", "gated", "-n", tenant.namespace, "--type=json", "-p", json.dumps(operations))
        return operator.with_token_of(names.CONTROLLER_ACCOUNT, *command).stderr

    for name, operations in PATCHES.items():
        assert f"'{GATE_POLICY}'" in patch(operations), name
    assert patch([{"op": "remove", "path": "/spec/schedulingGates/1"}]) == ""

    after = console.cluster.get("pod", "gated", "-n", tenant.namespace)
    assert after["spec"].pop("schedulingGates") == GATES[:1]
    assert after["spec"] == {name: value for name, value in before["spec"].items() if name != "schedulingGates"}


def secret_path(namespace: str, name: str) -> str:
    """Return the path of a Secret in the API."""
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


# Mirror pods


def test_the_mirror_annotation_of_a_user_does_not_get_around_admission(tenant: Tenant):
    # The API server itself denies a mirror pod that names a ServiceAccount or a Secret.
    body = pod(f"{tenant.namespace}/mirror", "no-such-bundle", nodeName="nowhere")
    body["metadata"]["annotations"][names.MIRROR_ANNOTATION] = "hash"

    assert "NotFound: bundle 'no-such-bundle'" in tenant.creates(body)


# The policies


def test_policies_have_no_type_errors(console: Console):
    policies = (REFERENCES_POLICY, ACCOUNTS_POLICY, SECRETS_POLICY, CONTROLLER_POLICY, GATE_POLICY, SPECS_POLICY)

    def statuses() -> list[dict[str, Any]]:
        return [console.cluster.get("validatingadmissionpolicy", name).get("status", {}) for name in policies]

    wait_until(lambda: all("typeChecking" in one for one in statuses()), "the types are checked", seconds=SECONDS)
    assert [one["typeChecking"] for one in statuses()] == [{}] * len(policies)


# Statuses


def status_patch(kind: str, name: str, status: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command that changes the status of an object."""
    return ("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def test_only_the_controller_writes_a_status(tenant: Tenant):
    tenant.console.apply(secret_policy(f"{tenant.namespace}/written", "none"))
    tenant.console.wait_current(tenant.namespace, "aws")
    entries = tenant.console.cluster.get("ssec", "aws", "-n", tenant.namespace)["status"]["entries"]
    younger = {"entries": [{**entry, "changedTime": "2026-01-01T00:00:00Z"} for entry in entries]}

    changes: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("ssec", "aws", {"envCount": 7}),
        ("ssec", "aws", younger),
        ("spol", "written", {"conditions": []}),
    )
    refusals = [tenant.does(*status_patch(kind, name, status)) for kind, name, status in changes]
    administrator = tenant.console.cluster.kubectl(
        *status_patch("ssec", "aws", younger), "-n", tenant.namespace, check=False
    )

    assert all(f"'{STATUSES_POLICY}'" in refusal for refusal in (*refusals, administrator.stderr))
    assert tenant.console.cluster.get("ssec", "aws", "-n", tenant.namespace)["status"]["entries"] == entries
    # What changes no status is allowed.
    assert tenant.does("annotate", "ssec", "aws", "example.com/note=1") == ""


def test_a_writer_of_statuses_without_the_guard_reaches_only_the_age_of_values(
    tenant: Tenant, operator: InstalledOperator, canary: Canary
):
    namespace, cluster = tenant.namespace, tenant.console.cluster
    tenant.console.apply(scoped_secret(f"{namespace}/remembered", env={"KEY": canary.value("remembered")}))
    tenant.console.wait_current(namespace, "remembered")
    before = cluster.get("ssec", "remembered", "-n", namespace)["status"]
    (entry,) = before["entries"]
    age = "2020-01-01T00:00:00Z"
    false: dict[str, Any] = {
        "missingEntries": [{"kind": "Env", "name": "KEY"}],
        "conditions": [{**each, "status": "Unknown", "message": "false"} for each in before["conditions"]],
        "envCount": 7,
        "entries": [{**entry, "changedTime": age}],
    }

    with operator.guard_off():
        assert tenant.does(*status_patch("ssec", "remembered", false)) == ""

        def is_corrected() -> bool:
            now = cluster.get("ssec", "remembered", "-n", namespace)["status"]
            told = ("missingEntries", "envCount")
            return {key: now.get(key) for key in told} == {key: before.get(key) for key in told} and (
                [(each["type"], each["status"], each["message"]) for each in now["conditions"]]
                == [(each["type"], each["status"], each["message"]) for each in before["conditions"]]
            )

        wait_until(is_corrected, "the controller corrects the status", seconds=SECONDS)
        # The age is believed, unless it is in the future.
        (kept,) = cluster.get("ssec", "remembered", "-n", namespace)["status"]["entries"]
        assert kept == {**entry, "changedTime": age}
        assert (
            tenant.does(
                *status_patch("ssec", "remembered", {"entries": [{**entry, "changedTime": "2999-01-01T00:00:00Z"}]})
            )
            == ""
        )

        def is_not_ahead() -> bool:
            (now,) = cluster.get("ssec", "remembered", "-n", namespace)["status"]["entries"]
            return str(now["changedTime"]) < "2999"

        wait_until(is_not_ahead, "the controller corrects a time in the future", seconds=SECONDS)
