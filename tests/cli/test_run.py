"""What `run --install` leaves in a cluster, and that it says so."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.cli.run import _installed, _ports
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.response import Response

if TYPE_CHECKING:
    from scoped_secrets.kube.transport import Request

CONFIGURATION = f"/mutatingwebhookconfigurations/{names.WEBHOOK_CONFIGURATION}"
REMEDY = r"remove them with: kubectl delete mutatingwebhookconfigurations,\S+ -l app\.kubernetes\.io/name=\S+$"


class Stored:
    """Stores what is applied, and refuses requests as a role would, or all credentials."""

    def __init__(self, refusals: dict[str, int]) -> None:
        """Take the status of the refusal of each method, for webhooks and policies."""
        self.refusals = refusals
        self.objects: dict[str, Any] = {}

    async def send(self, request: Request) -> Response:
        """Answer as an API server does."""
        path, refusal = request.target.partition("?")[0], self.refusals.get(request.method)
        if refusal is not None and "admissionregistration" in path:
            return answer(refusal, {"kind": "Status", "reason": "Refused"})
        match request.method:
            case "PATCH":
                self.objects[path] = request.body
            case "DELETE":
                return answer(404 if self.objects.pop(path, None) is None else 200, {})
            case "POST":
                return answer(201, {"status": {"userInfo": {"username": "jane"}}})
        return answer(200, {})

    async def close(self) -> None:
        """Close nothing."""

    @property
    def left(self) -> set[str]:
        """The paths of webhooks and policies."""
        return {path for path in self.objects if "admissionregistration" in path}


def answer(status: int, body: dict[str, Any]) -> Response:
    return Response(status, SecretValue(json.dumps(body).encode()), None)


async def run(stored: Stored, after: dict[str, int] | None = None) -> None:
    """Install and remove; refuse more after the installation."""
    async with _installed(Cluster(stored), names.DEFAULT_NAMESPACE, _ports(0), asyncio.Event(), enabled=True):
        assert any(path.endswith(CONFIGURATION) for path in stored.left)
        stored.refusals |= after or {}


async def test_everything_that_concerns_pods_is_removed():
    stored = Stored({})

    await run(stored)

    assert stored.left == set()
    assert stored.objects != {}


@pytest.mark.parametrize("status", [401, 403, 409, 422, 503])
async def test_a_refused_deletion_is_an_error_with_its_reason_and_the_remedy(status: int):
    stored = Stored({})

    with pytest.raises(ClusterError, match=REMEDY) as caught:
        await run(stored, {"DELETE": status})

    assert stored.left != set()
    assert re.search(rf"may be left \(.*DELETE /apis/admissionregistration\S+: {status} Refused", str(caught.value))


async def test_an_apply_that_no_role_allows_leaves_nothing_and_its_error_is_shown():
    stored = Stored({"PATCH": 403, "DELETE": 403})

    with pytest.raises(ClusterError, match=r"^PATCH \S+: 403 Refused$"):
        await run(stored)

    assert stored.left == set()


async def test_an_apply_without_an_answer_may_be_stored_and_both_errors_are_shown():
    stored = Stored({"PATCH": 503, "DELETE": 403})

    with pytest.raises(ClusterError, match=REMEDY) as caught:
        await run(stored)

    both = r"PATCH \S+: 503 Refused; webhooks and policies may be left \(DELETE \S+: 403 "
    assert re.match(both, str(caught.value))
