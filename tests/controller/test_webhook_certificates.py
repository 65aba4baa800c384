"""A controller is ready when the webhooks have their CA bundle, whichever controller published it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.processes import wait_until
from tests.controller.lab import SECONDS

from scoped_secrets import names

pytestmark = pytest.mark.integration

HOLDER: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": names.LEASE_NAME, "namespace": names.DEFAULT_NAMESPACE},
    "spec": {"holderIdentity": "another-process", "leaseDurationSeconds": 3600},
}
WEBHOOKS = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": names.WEBHOOK_CONFIGURATION},
    "webhooks": [
        {
            "name": "nothing.scopedsecrets.dev",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [
                {"apiGroups": ["none.example"], "apiVersions": ["v1"], "resources": ["no"], "operations": ["CREATE"]}
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
    ],
}


@pytest.fixture
def held(lab):
    """A Lease that another process holds, and a webhook of the operator without a CA bundle."""
    lab.controller.program.stop(grace_seconds=20)
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {**HOLDER["spec"], "acquireTime": now, "renewTime": now}
    lab.plane.kubectl("replace", "-f", "-", input=json.dumps({**HOLDER, "spec": spec}))
    lab.plane.kubectl("create", "-f", "-", input=json.dumps(WEBHOOKS))
    yield lab
    lab.plane.kubectl("delete", "-f", "-", "--ignore-not-found", input=json.dumps(WEBHOOKS))
    lab.plane.kubectl("delete", "lease", names.LEASE_NAME, "-n", names.DEFAULT_NAMESPACE, "--ignore-not-found")


def test_standby_is_not_ready_before_the_webhooks_have_their_ca_bundle(held):
    controller = held.begin()
    wait_until(
        lambda: "CA bundle" in controller.missing,
        "only trust to be missing",
        seconds=SECONDS,
        programs=[controller.program],
    )
    assert controller.probe("/healthz") == 200

    held.plane.kubectl("delete", "lease", names.LEASE_NAME, "-n", names.DEFAULT_NAMESPACE)

    controller.wait_ready()
    stored = held.plane.get("validatingwebhookconfiguration", names.WEBHOOK_CONFIGURATION)
    assert stored["webhooks"][0]["clientConfig"]["caBundle"]
