"""The policy that warns of mistakes in the opt-in, evaluated by the real API server for what the real kubectl sends."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.chart.generate import pod_annotations
from tests.chart.helm import CHART, ROOT, rendered
from tests.cluster.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.integration

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
RELEASE, HOME = "opt-in-scoped-secrets", "opt-in-home"
WARNING = re.compile(
    rf"Warning: Validation failed for {POLICY} '{RELEASE}' with binding '{RELEASE}(?:-workloads)?': (.*)",
)
SECONDS = 60.0
EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))

LABEL = {names.INJECT_LABEL: "true"}
ANNOTATION = {names.SECRETS_ANNOTATION: "aws"}
WRITTEN = list(names.AUTHOR_ANNOTATIONS)
KNOWN = ", ".join(WRITTEN)

POD_SPEC = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}
SERVER_SPEC = {**POD_SPEC, "restartPolicy": "Always"}


def metadata(labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return metadata without empty fields."""
    given = {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
    return {field: value for field, value in given.items() if value}


def pod(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """Return a pod; there is no metadata around its own."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": inner, "spec": POD_SPEC}


def job(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """Return a Job."""
    spec = {"suspend": True, "template": {"metadata": inner, "spec": POD_SPEC}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": outer, "spec": spec}


def cron_job(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """Return a CronJob."""
    template = {"spec": {"template": {"metadata": inner, "spec": POD_SPEC}}}
    spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": template}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": outer, "spec": spec}


def server(kind: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Return a maker of workloads of a kind of the group apps."""

    def make(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
        inner = {**inner, "labels": {"app": "x", **inner.get("labels", {})}}
        spec = {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": inner, "spec": SERVER_SPEC},
            **({} if kind == "DaemonSet" else {"replicas": 0}),
            **({"serviceName": "x"} if kind == "StatefulSet" else {}),
        }
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": outer, "spec": spec}

    return make


WORKLOADS = {
    "Job": (job, "spec.template.metadata"),
    "CronJob": (cron_job, "spec.jobTemplate.spec.template.metadata"),
    **{kind: (server(kind), "spec.template.metadata") for kind in ("Deployment", "StatefulSet", "DaemonSet")},
    "ReplicaSet": (server("ReplicaSet"), "spec.template.metadata"),
}
KINDS = {"Pod": (pod, "metadata"), **WORKLOADS}


class Cluster:
    """A namespace in a cluster with the policy and without the operator."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace

    def apply(self, body: Mapping[str, Any], *flags: str) -> list[str]:
        """Apply an object, which must succeed, and return what the policy says about it."""
        named = {**body, "metadata": {"name": f"x-{secrets.token_hex(4)}", **body["metadata"]}}
        result = self.plane.kubectl("apply", "-n", self.namespace, *flags, "-f", "-", input=json.dumps(named))
        lines = [line for line in result.stderr.splitlines() if line.startswith("Warning: Validation failed for")]
        found = [WARNING.fullmatch(line) for line in lines]
        assert all(found), lines
        return [match[1] for match in found if match is not None]


def policy_objects(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the policy and its bindings of the chart."""
    documents = rendered(values, release="opt-in", namespace=HOME).documents
    found = [document for document in documents if document["kind"] in {POLICY, BINDING}]
    return [document for document in found if document["metadata"]["name"] in {RELEASE, f"{RELEASE}-workloads"}]


@pytest.fixture(scope="module")
def cluster(plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster that has the policy, and evaluates it already."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": policy_objects()})
    plane.kubectl("apply", "-f", "-", input=text)
    cluster = Cluster(plane, plane.create_namespace(f"opt-in-{secrets.token_hex(4)}"))
    wait_until(
        lambda: cluster.apply(pod(metadata(annotations=ANNOTATION), {}), "--dry-run=server") != [],
        "the API server evaluates the policy",
        seconds=SECONDS,
    )
    yield cluster
    plane.kubectl("delete", "-f", "-", input=text)
    plane.delete_namespace(cluster.namespace)


def with_kinds(kinds: Mapping[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds)


@with_kinds(KINDS)
@pytest.mark.parametrize("case", ["neither", "both", "all annotations", "opted out", "foreign names"])
def test_correct_object_has_no_warning(cluster: Cluster, kind: str, case: str):
    make, _ = KINDS[kind]
    inner = {
        "neither": metadata(),
        "both": metadata(LABEL, ANNOTATION),
        "all annotations": metadata(LABEL, dict.fromkeys(names.POD_ANNOTATIONS, "x")),
        "opted out": metadata({names.INJECT_LABEL: "false"}, ANNOTATION),
        "foreign names": metadata({"my-scopedsecrets.dev/x": "y"}, {"scopedsecrets.development/secrets": "z"}),
    }[case]

    assert cluster.apply(make(inner, metadata())) == []


@with_kinds(WORKLOADS)
def test_opt_in_on_workload_and_template_has_no_warning(cluster: Cluster, kind: str):
    make, _ = WORKLOADS[kind]

    assert cluster.apply(make(metadata(LABEL, ANNOTATION), metadata(LABEL, ANNOTATION))) == []
    assert cluster.apply(make(metadata(), metadata({names.INJECT_LABEL: "false"}))) == []


@with_kinds(KINDS)
@pytest.mark.parametrize("value", ["True", "yes", "1", ""])
def test_label_value_that_does_not_opt_in_is_named(cluster: Cluster, kind: str, value: str):
    make, path = KINDS[kind]

    assert cluster.apply(make(metadata({names.INJECT_LABEL: value}, ANNOTATION), metadata())) == [
        (
            f"{path}.labels: the value '{value}' of the label {names.INJECT_LABEL} does not opt in, so the pod gets no "
            'secrets; write "true", in quotes and lower case, or "false" to opt out'
        )
    ]


@with_kinds(KINDS)
def test_annotation_without_the_label_is_named(cluster: Cluster, kind: str):
    make, path = KINDS[kind]
    annotations = {names.HOME_ANNOTATION: "/home/x", **ANNOTATION}
    ignored = f"{names.SECRETS_ANNOTATION}, {names.HOME_ANNOTATION}"

    assert cluster.apply(make(metadata(annotations=annotations), metadata())) == [
        (
            f"{path}.annotations: the operator ignores {ignored}, because the pod does not opt in; add the label "
            f'{names.INJECT_LABEL}: "true" to {path}.labels, or remove what it ignores'
        )
    ]


@with_kinds(WORKLOADS)
@pytest.mark.parametrize(
    ("outer", "inner", "what"),
    [
        (
            metadata(LABEL, ANNOTATION),
            metadata(),
            f"the label {names.INJECT_LABEL} and the annotation {names.SECRETS_ANNOTATION}",
        ),
        (metadata(LABEL), metadata(annotations=ANNOTATION), f"the label {names.INJECT_LABEL}"),
        (metadata({names.INJECT_LABEL: "True"}), metadata(), f"the label {names.INJECT_LABEL}"),
        (metadata(annotations=ANNOTATION), metadata(LABEL), f"the annotation {names.SECRETS_ANNOTATION}"),
        (metadata(annotations=ANNOTATION), metadata(), f"the annotation {names.SECRETS_ANNOTATION}"),
    ],
    ids=["both", "label", "label with another value", "annotation", "annotation without label"],
)
def test_opt_in_on_the_workload_instead_of_its_template_is_named(
    cluster: Cluster, kind: str, outer: dict[str, Any], inner: dict[str, Any], what: str
):
    make, path = WORKLOADS[kind]

    assert cluster.apply(make(inner, outer)) == [
        (
            f"metadata: the operator ignores {what} of the {kind}, because its pods do not get them; "
            f"move the opt-in to {path}"
        )
    ]


def test_opt_in_on_the_job_template_of_a_cron_job_is_named(cluster: Cluster):
    body = cron_job(metadata(), metadata())
    body["spec"]["jobTemplate"]["metadata"] = metadata(LABEL, ANNOTATION)

    (told,) = cluster.apply(body)

    assert told.endswith("move the opt-in to spec.jobTemplate.spec.template.metadata")


@pytest.mark.parametrize("label", [{}, {names.INJECT_LABEL: "false"}, LABEL], ids=["no label", "opted out", "opted in"])
@with_kinds(KINDS)
def test_unknown_annotation_is_named(cluster: Cluster, kind: str, label: dict[str, str]):
    make, path = KINDS[kind]
    unknown = f"{names.GROUP}/secret"

    # A pod that opted in has the warning of the webhook, which is not installed here.
    is_seen = kind == "Pod" and label == LABEL
    told = f"{path}.annotations: unknown annotation {unknown}; correct or remove it; the known ones are {KNOWN}"
    assert cluster.apply(make(metadata(label, {unknown: "aws"}), metadata())) == ([] if is_seen else [told])


@with_kinds(KINDS)
def test_unknown_label_is_named(cluster: Cluster, kind: str):
    make, path = KINDS[kind]

    assert cluster.apply(make(metadata({f"{names.GROUP}/injekt": "true"}, ANNOTATION), metadata())) == [
        (
            f"{path}.labels: unknown label {names.GROUP}/injekt; correct or remove it; "
            f"the only label of ours on a pod is {names.INJECT_LABEL}"
        )
    ]


@with_kinds(KINDS)
def test_label_that_is_an_annotation_and_the_reverse_are_named(cluster: Cluster, kind: str):
    make, path = KINDS[kind]

    assert cluster.apply(make(metadata(annotations={**LABEL, **ANNOTATION}), metadata())) == [
        (
            f"{path}.annotations: {names.INJECT_LABEL} is a label and has no effect as an annotation; "
            f"move it to {path}.labels"
        )
    ]
    told = (
        f"{path}.labels: {names.SECRETS_ANNOTATION} is an annotation and has no effect as a label; "
        f"move it to {path}.annotations"
    )
    is_seen = kind == "Pod"
    assert cluster.apply(make(metadata({**LABEL, **ANNOTATION}), metadata())) == ([] if is_seen else [told])
    assert cluster.apply(make(metadata(ANNOTATION), metadata())) == [told]


def test_update_of_a_workload_has_the_warning_too(cluster: Cluster):
    body = job(metadata(), {"name": "updated"})
    assert cluster.apply(body) == []

    body["metadata"]["labels"] = LABEL

    assert len(cluster.apply(body)) == 1


def test_pods_and_workloads_that_a_workload_makes_have_no_warning_of_their_own(cluster: Cluster):
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": "1", "controller": True}
    foreign = owner | {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
    mistake = metadata(annotations=ANNOTATION)

    assert cluster.apply(pod({**mistake, "ownerReferences": [owner]}, {})) == []
    assert cluster.apply(job(mistake, {"ownerReferences": [owner | {"kind": "CronJob"}]})) == []
    assert len(cluster.apply(pod({**mistake, "ownerReferences": [owner | {"controller": False}]}, {}))) == 1
    assert len(cluster.apply(pod({**mistake, "ownerReferences": [foreign]}, {}))) == 1


def test_excluded_namespace_has_no_warning(cluster: Cluster):
    mistake = pod(metadata(annotations=ANNOTATION), {})
    excluded = Cluster(cluster.plane, "kube-system")
    cluster.plane.kubectl("create", "serviceaccount", "default", "-n", "kube-system", check=False)

    assert excluded.apply(mistake, "--dry-run=server") == []


def test_pod_with_the_most_annotations_is_within_the_cost_limits(cluster: Cluster):
    # The API server limits the annotations of an object to 256 KiB.
    many = {f"{names.GROUP}/a{number:05}": "" for number in range(9000)}

    (told,) = cluster.apply(pod(metadata(annotations=many), {}), "--server-side")

    # The sentence that names each of them would be too long.
    assert told == f"an annotation with the prefix {names.GROUP}/ is unknown; correct its name"


def test_api_server_finds_no_fault_in_the_types_of_the_policy(cluster: Cluster):
    def status() -> dict[str, Any]:
        found: dict[str, Any] = cluster.plane.get(POLICY, RELEASE).get("status", {})
        return found

    wait_until(lambda: "observedGeneration" in status(), "the types are checked", seconds=SECONDS)
    assert status()["typeChecking"] == {}


def test_applying_the_policy_again_changes_nothing(cluster: Cluster):
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": policy_objects()})

    printed = cluster.plane.kubectl("apply", "-f", "-", input=text).stdout

    assert [line.rpartition(" ")[2] for line in printed.splitlines()] == ["unchanged"] * 3


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_have_no_warning(cluster: Cluster, example: Path):
    documents = [one for one in yaml.safe_load_all(example.read_text()) if one and one["kind"] in KINDS]
    for document in documents:
        del document["metadata"]["namespace"]

        assert cluster.apply(document, "--dry-run=server") == []


def test_chart_value_turns_the_policy_off():
    assert [one["kind"] for one in policy_objects()] == [POLICY, BINDING, BINDING]
    assert policy_objects({"optInWarnings": {"enabled": False}}) == []


@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.name)
def test_policy_only_warns_and_excludes_the_namespaces_of_the_webhooks(values: Any):
    outcome = rendered(yaml.safe_load(values.read_text()), namespace="elsewhere")
    (name,) = {one["metadata"]["name"] for one in outcome.documents if one["kind"] == "MutatingWebhookConfiguration"}
    found = {one["kind"]: one for one in outcome.documents if one["metadata"]["name"] == name}

    policy = found[POLICY]
    bindings = [one for one in outcome.documents if one.get("spec", {}).get("policyName") == policy["metadata"]["name"]]
    webhooks = found["MutatingWebhookConfiguration"]["webhooks"]
    webhook = next(one for one in webhooks if one["name"] == "pods.mutate.scopedsecrets.dev")
    pods, workloads = bindings
    assert pods["spec"]["validationActions"] == workloads["spec"]["validationActions"] == ["Warn"]
    # Together they bind all that the policy is for, but for the pods that the webhook sees.
    assert pods["spec"]["matchResources"]["objectSelector"] == {
        "matchExpressions": [{"key": names.INJECT_LABEL, "operator": "NotIn", "values": ["true"]}]
    }
    assert webhook["objectSelector"] == {"matchLabels": {names.INJECT_LABEL: "true"}}
    assert "objectSelector" not in workloads["spec"]["matchResources"]
    groups = {group for rule in policy["spec"]["matchConstraints"]["resourceRules"] for group in rule["apiGroups"]}
    assert groups == {
        group
        for binding in bindings
        for rule in binding["spec"]["matchResources"]["resourceRules"]
        for group in rule["apiGroups"]
    }
    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert policy["spec"]["matchConstraints"]["namespaceSelector"] == webhook["namespaceSelector"]


def test_policy_knows_the_annotations_of_names():
    known = next(one for one in policy_objects()[0]["spec"]["variables"] if one["name"] == "known")

    assert (CHART / "files" / "pod-annotations.yaml").read_text() == pod_annotations(), "run make chart"
    assert re.findall(r"'([^']+)'", known["expression"]) == WRITTEN
