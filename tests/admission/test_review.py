"""Reviews are parsed strictly and answered in the form that the API server requires."""

import base64
import json

import pytest
from tests.admission.support import review, review_body
from tests.support.builders import pod_body

from scoped_secrets.admission.review import (
    MalformedReviewError,
    Operation,
    ReviewAllowed,
    ReviewDenied,
    parse_review,
    render,
)
from scoped_secrets.names import Reason

CANARY = "canary-9f2c"


def changed(**request):
    body = review_body("pods", pod_body())
    body["request"].update(request)
    return json.dumps(body).encode()


def test_a_review_keeps_what_the_webhooks_need():
    parsed = review("pods", pod_body("aws"), uid="u-1", dryRun=True, subResource="", name="")

    assert (parsed.uid, parsed.operation, parsed.kind, parsed.namespace) == ("u-1", Operation.CREATE, "Pod", "web")
    assert (parsed.user, parsed.dry_run, parsed.name) == ("someone", True, "")
    assert parsed.object == pod_body("aws")
    assert parsed.old_object is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"[" * 200_000, id="deep nesting"),
        pytest.param(b'{"a":' * 200_000, id="deep objects"),
        pytest.param(b"1" * 100_000, id="a huge number"),
        pytest.param(b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', id="no request"),
        pytest.param(changed(uid=""), id="no uid"),
        pytest.param(changed(uid=5), id="a number as uid"),
        pytest.param(changed(uid="u" * 500), id="an endless uid"),
        pytest.param(changed(operation="PATCH"), id="an unknown operation"),
        pytest.param(changed(object=[]), id="a list as object"),
        pytest.param(changed(oldObject="text"), id="a text as old object"),
        pytest.param(changed(kind="Pod"), id="a text as kind"),
        pytest.param(changed(userInfo=None), id="no user"),
        pytest.param(changed(userInfo={"username": "a", "groups": "system:nodes"}), id="a text as groups"),
        pytest.param(changed(userInfo={"username": "a", "groups": [1]}), id="a number as group"),
        pytest.param(changed(namespace={"a": 1}), id="an object as namespace"),
        pytest.param(changed().replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"), id="another version"),
    ],
)
def test_a_malformed_review_raises_an_error_that_holds_nothing_of_it(body):
    with pytest.raises(MalformedReviewError) as caught:
        parse_review(body)

    assert caught.value.__context__ is None
    assert str(caught.value) == "the body is not an AdmissionReview of version v1"


def test_an_allowed_review_without_operations_has_no_patch():
    response = json.loads(render(review("pods", pod_body(), uid="u-7"), ReviewAllowed()))

    assert response == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u-7", "allowed": True},
    }


def test_a_patch_is_json_patch_in_base64_beside_its_warnings():
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"ä": "<&>"}}]

    response = json.loads(render(review("pods", pod_body()), ReviewAllowed(operations, ("careful",))))["response"]

    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == operations
    assert response["warnings"] == ["careful"]


@pytest.mark.parametrize(
    ("reason", "code", "word"),
    [
        (Reason.POLICY_DENIED, 403, "PolicyDenied"),
        (Reason.INVALID, 422, "Invalid"),
        (Reason.NOT_SYNCHRONIZED, 503, "NotSynchronized"),
        (Reason.INTERNAL_ERROR, 500, "InternalError"),
        # Kubernetes' clients act upon these words, so they are in the message only.
        (Reason.NOT_FOUND, 403, "Forbidden"),
        (Reason.EXPIRED, 403, "Forbidden"),
    ],
)
def test_a_denial_has_a_reason_for_programs_and_a_message_for_people(reason, code, word):
    response = json.loads(render(review("pods", pod_body()), ReviewDenied(reason, "do this instead")))["response"]

    assert response["allowed"] is False
    assert "patch" not in response
    assert response["status"] == {
        "status": "Failure",
        "code": code,
        "reason": word,
        "message": f"{reason}: do this instead",
    }


def test_reviews_and_outcomes_do_not_show_bodies():
    body = pod_body(annotations={"note": CANARY})

    shown = repr(review("pods", body, old=body)) + repr(ReviewAllowed([{"op": "add", "path": "/x", "value": CANARY}]))

    assert CANARY not in shown
