"""Review contexts, reviews and their outcomes, for the tests of admission."""

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonpatch
from tests.support.builders import NOW, home_and_project, inventory

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import ComparisonLimit
from scoped_secrets.admission.review import Outcome, Review, ReviewAllowed, ReviewDenied, parse_review
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.admission.webhooks import WEBHOOKS
from scoped_secrets.core.decide import DecisionSettings
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey

CLUSTER_ID = "0d1f9d0e-6c53-4b4f-8d0a-5b1d0a7f8f10"
FINGERPRINT_KEY = FingerprintKey(bytes(range(32)))
PRIVATE_KEY = PrivateSealingKey(bytes(range(32)), datetime(2026, 1, 2, tzinfo=UTC))
KEYS = KeyRing((PRIVATE_KEY,))

_KINDS = {
    "pods": ("", "Pod"),
    "copies": ("", "Pod"),
    "scopedsecrets": (names.GROUP, names.SCOPED_SECRET_KIND),
    "secretpolicies": (names.GROUP, names.SECRET_POLICY_KIND),
    "interactive": ("", "PodExecOptions"),
    "workloads": ("batch", "Job"),
}


def review_context(snapshot: Inventory | None = None, **given: Any) -> ReviewContext:
    """Return the context of webhooks; by default organization acme with project web and no definition."""
    given.setdefault("fingerprint_key", FINGERPRINT_KEY)
    given.setdefault("recipients", KEYS.public())
    given.setdefault("cluster_id", CLUSTER_ID)
    given.setdefault("settings", DecisionSettings())
    given.setdefault("now", NOW)
    given.setdefault("comparisons", ComparisonLimit())
    return ReviewContext(inventory=inventory(home_and_project()) if snapshot is None else snapshot, **given)


def review_body(
    resource: str,
    body: Mapping[str, Any] | None,
    *,
    old: Mapping[str, Any] | None = None,
    uid: str = "review-1",
    **request: Any,
) -> dict[str, Any]:
    """Return an AdmissionReview as the API server sends it."""
    group, kind = _KINDS[resource]
    metadata = (body or {}).get("metadata", {})
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": resource},
            "name": metadata.get("name", ""),
            "namespace": metadata.get("namespace", ""),
            "operation": "CREATE" if old is None else "UPDATE",
            "userInfo": {"username": "someone"},
            "object": body,
            "oldObject": old,
            "dryRun": False,
            "options": {},
            **request,
        },
    }


def review(resource: str, body: Mapping[str, Any] | None, **given: Any) -> Review:
    """Return a review as the webhooks see it: through JSON, as over the wire."""
    return parse_review(json.dumps(review_body(resource, body, **given)).encode())


def ask(path: str, body: Mapping[str, Any] | None, snapshot: ReviewContext, **given: Any) -> Outcome:
    """Ask the webhook at a path about an object."""
    return WEBHOOKS[path](review(path.rpartition("/")[2], body, **given), snapshot)


def refusal(outcome: Outcome) -> ReviewDenied:
    """Return an outcome that must be a denial."""
    assert isinstance(outcome, ReviewDenied), outcome
    return outcome


def permission(outcome: Outcome) -> ReviewAllowed:
    """Return an outcome that must allow the request."""
    assert isinstance(outcome, ReviewAllowed), outcome
    return outcome


def patched(body: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return the object as the API server has it after the patch."""
    operations = [dict(operation) for operation in permission(outcome).operations]
    result: dict[str, Any] = jsonpatch.apply_patch(copy.deepcopy(dict(body)), operations)
    return result


def scoped_secret(name: str = "aws", *, namespace: str = "web", **given: Any) -> dict[str, Any]:
    """Return a ScopedSecret; everything but ``annotations`` and ``metadata`` goes into its spec."""
    annotations = given.pop("annotations", None)
    metadata = {"name": name, "namespace": namespace, **given.pop("metadata", {})}
    if annotations:
        metadata["annotations"] = annotations
    given.setdefault("scope", "Project")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": metadata,
        "spec": given,
    }


def applied_by_kubectl(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object with the annotation that client-side apply adds, in kubectl's own form."""
    copied = copy.deepcopy(dict(body))
    text = json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    copied["metadata"].setdefault("annotations", {})[names.LAST_APPLIED_ANNOTATION] = text
    return copied


def stored(body: Mapping[str, Any], snapshot: ReviewContext, **given: Any) -> dict[str, Any]:
    """Return what is stored of an object: mutated, and admitted by the validating webhook."""
    result = patched(body, ask("/mutate/scopedsecrets", body, snapshot, **given))
    permission(ask("/validate/scopedsecrets", result, snapshot, **given))
    return result
