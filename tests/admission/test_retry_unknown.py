"""A denial because of an unknown object is retried for a moment; other denials are immediate."""

import asyncio
import time

import pytest
from tests.admission.support import ask, permission, refusal, review_context, scoped_secret
from tests.support.builders import definition, home_and_project, inventory, pod_body

from scoped_secrets.admission.retry_unknown import RETRY_SECONDS, retry_unknown
from scoped_secrets.names import Reason

NOTHING = review_context(inventory({}))
NAMESPACES = review_context(inventory(home_and_project()))
EVERYTHING = review_context(inventory(home_and_project(), [definition("acme/aws", env={"A": "a"})]))


class Following:
    """Decides about a request from what is known, which changes while somebody waits."""

    def __init__(self, path, body, *worlds):
        self.path = path
        self.body = body
        self.worlds = list(worlds)
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return ask(self.path, self.body, self.worlds.pop(0) if len(self.worlds) > 1 else self.worlds[0])


@pytest.mark.parametrize(
    ("path", "body", "before", "after"),
    [
        ("/mutate/pods", pod_body("aws"), NAMESPACES, EVERYTHING),
        ("/mutate/pods", pod_body("aws"), NOTHING, EVERYTHING),
        ("/mutate/scopedsecrets", scoped_secret(), NOTHING, NAMESPACES),
    ],
    ids=["the definition comes", "namespace and definition come", "the namespace comes"],
)
async def test_an_object_that_arrives_during_the_retries_is_used(path, body, before, after):
    permission(await retry_unknown(Following(path, body, before, before, after)))


async def test_an_object_that_never_arrives_is_denied_after_the_retries():
    decide = Following("/mutate/pods", pod_body("aws"), NAMESPACES)
    began = time.monotonic()

    outcome = await retry_unknown(decide, 0.2)

    assert refusal(outcome).reason is Reason.NOT_FOUND
    assert 0.2 <= time.monotonic() - began < 2
    assert decide.looks > 1


async def test_a_denial_for_another_reason_is_not_retried():
    decide = Following("/mutate/pods", pod_body("no name of a bundle"), EVERYTHING)

    outcome = await retry_unknown(decide)

    assert refusal(outcome).reason not in (Reason.NOT_FOUND, Reason.NAMESPACE_OUTSIDE)
    assert decide.looks == 1


async def test_other_reviews_are_answered_during_the_retries():
    waiting = asyncio.create_task(retry_unknown(Following("/mutate/pods", pod_body("aws"), NAMESPACES)))

    began = time.monotonic()
    permission(await retry_unknown(Following("/mutate/pods", pod_body("aws"), EVERYTHING)))

    assert time.monotonic() - began < RETRY_SECONDS / 2
    assert refusal(await waiting).reason is Reason.NOT_FOUND
