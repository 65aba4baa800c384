"""What the chart renders, as the API server takes it: every field, and every pod by the restricted profile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.chart.helm import CHART, ROOT, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.integration

CI = sorted((CHART / "ci").glob("*-values.yaml"))
SHAPES = pytest.mark.parametrize("values", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
NAMESPACE = "chart-shapes"
HOST = 'Warning: would violate PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'
RESTRICTED = "pod-security.kubernetes.io/enforce"


@pytest.fixture(scope="module")
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace in which only restricted pods may be."""
    yield plane.create_namespace(NAMESPACE, {RESTRICTED: "restricted"})
    plane.delete_namespace(NAMESPACE)


def objects(values: Path, namespace: str) -> list[dict[str, Any]]:
    """Return everything of a shape, what is a hook included."""
    return rendered(yaml.safe_load(values.read_text()), namespace=namespace).documents


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pods that these objects are, or would make."""
    found = []
    for document in documents:
        if document["kind"] == "Pod":
            found.append(document)
        elif "template" in document.get("spec", {}):
            template = document["spec"]["template"]
            metadata = {**template["metadata"], "name": document["metadata"]["name"]}
            found.append({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata})
    return found


@SHAPES
def test_api_server_accepts_every_object_of_each_supported_configuration(
    values: Path, plane: ControlPlane, namespace: str
):
    # A pod alone needs its account; the next test makes it.
    documents = [document for document in objects(values, namespace) if document["kind"] != "Pod"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})

    answer = plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=text)

    assert len(answer.stdout.splitlines()) == len(documents)
    # It warns of what is deprecated, and of Deployments whose pods would be refused.
    expected = HOST if values.name == "host-network-values.yaml" else ""
    assert set(answer.stderr.splitlines()) == set(filter(None, [expected]))


@SHAPES
def test_every_pod_meets_the_restricted_pod_security_standard(values: Path, plane: ControlPlane, namespace: str):
    documents = objects(values, namespace)
    found = pods(documents)
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in found} >= {"admission", "controller"}
    for pod in found:
        plane.kubectl("create", "serviceaccount", pod["spec"]["serviceAccountName"], "-n", namespace, check=False)
        pod["metadata"]["namespace"] = namespace

        asked = pod["spec"].pop("hostNetwork", False)

        result = create(plane, pod)

        assert result.returncode == 0, result.stderr
        # What a person asks for by name is not restricted any more.
        assert asked == (values.name == "host-network-values.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"securityContext": {"allowPrivilegeEscalation": True}},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
    ],
)
def test_pod_outside_the_restricted_standard_is_rejected(change: dict[str, Any], plane: ControlPlane, namespace: str):
    """The check above can fail."""
    (pod, *_) = pods(objects(CHART / "ci" / "default-values.yaml", namespace))
    plane.kubectl("create", "serviceaccount", pod["spec"]["serviceAccountName"], "-n", namespace, check=False)
    pod["metadata"]["namespace"] = namespace
    pod["spec"]["containers"][0] |= change

    result = create(plane, pod)

    assert result.returncode != 0
    assert "violates PodSecurity" in result.stderr


def create(plane: ControlPlane, pod: dict[str, Any]) -> Any:
    return plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod), check=False)


def test_kubectl_applies_the_manifests_as_a_kustomization(plane: ControlPlane):
    built = plane.kubectl("kustomize", str(ROOT / "manifests")).stdout
    kinds = [document["kind"] for document in yaml.safe_load_all(built)]

    plane.kubectl("create", "namespace", "scoped-secrets")
    answer = plane.kubectl("apply", "--dry-run=server", "-k", str(ROOT / "manifests"))
    plane.delete_namespace("scoped-secrets")

    assert len(answer.stdout.splitlines()) == len(kinds)
    assert kinds.count("Deployment") == 2


def test_overlay_can_change_the_manifests(plane: ControlPlane, tmp_path: Path):
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["base"],
        "images": [{"name": "scoped-secrets", "newName": "registry.example.com/scoped-secrets", "newTag": "1"}],
        "replicas": [{"name": "scoped-secrets-admission", "count": 3}],
    }
    (tmp_path / "base").symlink_to(ROOT / "manifests")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    built = list(yaml.safe_load_all(plane.kubectl("kustomize", str(tmp_path)).stdout))

    deployments = {one["metadata"]["name"]: one["spec"] for one in built if one["kind"] == "Deployment"}
    assert {name: spec["replicas"] for name, spec in deployments.items()} == {
        "scoped-secrets-admission": 3,
        "scoped-secrets-controller": 2,
    }
    images = {spec["template"]["spec"]["containers"][0]["image"] for spec in deployments.values()}
    assert images == {"registry.example.com/scoped-secrets:1"}
