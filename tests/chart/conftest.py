"""helm, and a control plane of this folder's own: a release puts its webhooks before every pod of a cluster."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.assets import existing_kubeconfig, find_assets, helm_binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
# Kinds of other projects that the chart makes objects of, with the fields that ours have.
OTHERS = (
    ("cert-manager.io", "Certificate"),
    ("cert-manager.io", "Issuer"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("monitoring.coreos.com", "ServiceMonitor"),
)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build helm and the cluster's programs when a test of this folder is about to run; a build outlasts a timeout."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    visible = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    # The tests report the failure.
    with visible, contextlib.suppress(ClusterError):
        helm_binary(ENVIRONMENT)
        find_assets(ENVIRONMENT)


@pytest.fixture(scope="package")
def plane(no_personal_cluster: None) -> Iterator[ControlPlane]:
    """A control plane without anything of ours, which knows the kinds of other projects."""
    if existing_kubeconfig(ENVIRONMENT) is not None:
        pytest.skip("an existing cluster is used, whose pods are not ours to intercept")
    with ControlPlane.start(find_assets(ENVIRONMENT), audit=True) as plane:
        items = [definition(group, kind) for group, kind in OTHERS]
        plane.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield plane


def definition(group: str, kind: str) -> dict[str, object]:
    """Return the definition of somebody else's kind, with any content."""
    plural = f"{kind.lower()}s"
    version = {"cert-manager.io": "v1", "monitoring.coreos.com": "v1"}[group]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }
