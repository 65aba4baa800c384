"""Bodies that the tests of the API begin with, and a way to change one field of them."""

import copy
from functools import cache
from typing import Any

from tests.crypto.support import CONTEXT, NEW_KEY

from scoped_secrets import names
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue

CANARY = "canary-5f1e9c"
"""A value that no message may hold."""

REMOVED = object()


@cache
def sealed(size: int = 20) -> str:
    """Return a sealed text of a value of so many bytes, in the longest form, which admission makes."""
    return seal(SecretValue(b"x" * size), CONTEXT, NEW_KEY.public_key, Fingerprint(bytes(16), bytes(12)))


def minimal_secret() -> dict[str, Any]:
    """Return the smallest body that is a ScopedSecret."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": "aws", "namespace": "web"},
        "spec": {"scope": "Project"},
    }


def stored_secret() -> dict[str, Any]:
    """Return a ScopedSecret as it is stored: sealed, defaulted, with a status."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {
            "name": "aws-production",
            "namespace": "web",
            "uid": "6b1ddd6e-3b5c-4a7e-9c55-0f0a3c1c2d11",
            "generation": 3,
            "resourceVersion": "1234",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"tier": "production"},
            "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
        },
        "spec": {
            "secretName": "aws",
            "description": "Deploy keys for the web project",
            "scope": "Environment",
            "environment": "production",
            "override": "Merge",
            "final": True,
            "attach": "Always",
            "env": [
                {"name": "AWS_SECRET_ACCESS_KEY", "sealed": sealed(), "sensitive": True},
                {"name": "REGION", "value": "eu-west-1", "sensitive": False},
            ],
            "files": [
                {"path": ".ssh/id_ed25519", "mode": "0600", "sealed": sealed(400), "sensitive": True},
                {"path": "/etc/motd", "mode": "0644", "content": "hello\n", "sensitive": False},
                {"path": "~/blob", "mode": "444", "contentBase64": "AP8A\n/w==", "sensitive": False},
            ],
        },
        "status": {
            "observedGeneration": 3,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "observedGeneration": 3,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "reason": "Available",
                    "message": "",
                }
            ],
            "envCount": 2,
            "fileCount": 3,
        },
    }


def full_policy() -> dict[str, Any]:
    """Return a SecretPolicy that uses every field."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": "production", "namespace": "web"},
        "spec": {
            "secrets": {
                "names": ["aws", "deploy-*"],
                "selector": {
                    "matchLabels": {"tier": "production"},
                    "matchExpressions": [{"key": "example.org/team", "operator": "Exists"}],
                },
                "scopes": ["Environment"],
            },
            "effect": "Allow",
            "rules": [
                {
                    "name": "main-only",
                    "projects": ["web", "api-*"],
                    "environments": ["production", "review/*"],
                    "namespaces": ["web-ci"],
                    "serviceAccounts": ["deployer"],
                    "refs": ["refs/heads/main", "refs/tags/v*"],
                    "events": ["push", "tag"],
                    "creators": ["system:serviceaccount:gitlab:runner"],
                    "podSelector": {
                        "matchLabels": {"app": "deploy"},
                        "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}],
                    },
                    "notBefore": "2026-01-01T00:00:00Z",
                    "notAfter": "2027-01-01T00:00:00+01:00",
                }
            ],
            "interactive": {
                "exec": "Deny",
                "attach": "Deny",
                "portForward": "Allow",
                "ephemeralContainers": "Deny",
                "exemptSubjects": [
                    {"kind": "ServiceAccount", "namespace": "ci", "name": "agent"},
                    {"kind": "Group", "name": "oncall"},
                ],
            },
            "keyConflict": "Fail",
        },
    }


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one field set, or taken out by ``REMOVED``.

    Args:
        body: The body to copy.
        path: Names and indices between dots, such as ``spec.env.0.name``.
        value: The new value.
    """
    copied = copy.deepcopy(body)
    *parents, last = path.split(".")
    target: Any = copied
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if value is REMOVED:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = value
    return copied
