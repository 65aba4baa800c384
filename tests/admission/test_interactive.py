"""Sessions in pods: what the webhook answers about pods that it has, has not, and cannot read."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from tests.admission.support import permission, refusal, review, review_context

from scoped_secrets.admission.interactive import validate_interactive
from scoped_secrets.admission.stored_pods import ABSENT, StoredPods
from scoped_secrets.errors import UnavailableError
from scoped_secrets.names import Reason

if TYPE_CHECKING:
    from scoped_secrets.kube.client import Cluster


def asked(stored_pod):
    request = review("interactive", {}, namespace="web", name="job", operation="CONNECT", subResource="exec")
    return validate_interactive(replace(request, stored_pod=stored_pod), review_context())


class Pods:
    """A cluster that answers a request for a pod in one way."""

    def __init__(self, answer):
        self.answer = answer

    async def get(self, path, *, seconds):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_absent_pod_has_the_same_answer_as_a_pod_without_bundles():
    plain = {"metadata": {"name": "job", "namespace": "web"}, "spec": {"containers": [{"name": "main", "image": "a"}]}}

    assert permission(asked(ABSENT)) == permission(asked(plain))


def test_session_in_a_pod_that_cannot_be_read_is_denied():
    assert refusal(asked(None)).reason is Reason.POD_UNKNOWN


@pytest.mark.parametrize(
    ("answer", "name", "found"),
    [
        (None, "job", ABSENT),
        ({"spec": {}}, "job", {"spec": {}}),
        (UnavailableError("the API server does not answer"), "job", None),
        # No text of a forged review goes into a path.
        (None, "../secrets", None),
    ],
)
async def test_only_the_api_server_can_say_that_a_pod_is_absent(answer, name, found):
    pods = cast("Cluster", Pods(answer))

    assert await StoredPods(pods).read("web", name) == found
    assert json.dumps(ABSENT) == "{}"
