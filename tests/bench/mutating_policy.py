"""A MutatingAdmissionPolicy that adds a ready patch: what the API server alone takes, without any webhook.

It cannot replace the operator, because it sees neither definitions nor policies; its expression holds the patch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.bench.objects import FLOOR_LABEL, POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

_API_VERSION = "admissionregistration.k8s.io/v1"
_CHANGES_NOTHING = "[]"


def mutating_policy(name: str, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return policy and binding that apply the operations to pods with the floor's label."""
    additions = ", ".join(
        f"JSONPatch{{op: {_cel(one['op'])}, path: {_cel(one['path'])}, value: {_cel(one['value'])}}}"
        for one in operations
    )
    # A pod that a later webhook changed has the patch already.
    expression = f"has(object.spec.volumes) ? {_CHANGES_NOTHING} : [{additions}]"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    policy = {
        "apiVersion": _API_VERSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "objectSelector": {"matchLabels": {FLOOR_LABEL: POLICY}},
                "resourceRules": [rule],
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": _API_VERSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    return [policy, binding]


def _cel(value: Any) -> str:
    """Return a value as an expression; in literals, CEL wants members of one type, as `dyn` is."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)}: dyn({_cel(member)})" for key, member in value.items()) + "}"
        case list():
            return "[" + ", ".join(f"dyn({_cel(member)})" for member in value) + "]"
        case _:
            return json.dumps(value)
