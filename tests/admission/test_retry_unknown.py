"""A denial because of an unknown object is retried for a moment; other denials are immediate."""

import asyncio
import time

import pytest
from tests.admission.support import ask, permission, refusal, review_context, scoped_secret
from tests.support.builders import definition, home_and_project, inventory, pod_body

from scoped_secrets.admission.retry_unknown import RETRY_SECONDS, InventoryChanges, retry_unknown
from scoped_secrets.kube.changes import Changes
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


async def retried(decide, *, changes=0, seconds=RETRY_SECONDS):
    """Return the outcome of a decision, while the inventory changes so many times."""
    inventory_changes = InventoryChanges()
    waiting = asyncio.create_task(retry_unknown(decide, inventory_changes, seconds))
    for _ in range(changes):
        # The decision is made, and waits for the next change.
        await asyncio.sleep(0)
        inventory_changes.announce(Changes())
        await asyncio.sleep(0)
    return await waiting


@pytest.mark.parametrize(
    ("path", "body", "before", "after"),
    [
        ("/mutate/pods", pod_body("aws"), NAMESPACES, EVERYTHING),
        ("/mutate/pods", pod_body("aws"), NOTHING, EVERYTHING),
        ("/mutate/scopedsecrets", scoped_secret(), NOTHING, NAMESPACES),
    ],
    ids=["the definition comes", "namespace and definition come", "the namespace comes"],
)
async def test_an_object_that_arrives_meanwhile_is_used(path, body, before, after):
    permission(await retried(Following(path, body, before, before, after), changes=2))


async def test_an_object_that_never_arrives_is_denied_after_the_time():
    decide = Following("/mutate/pods", pod_body("aws"), NAMESPACES)
    began = time.monotonic()

    outcome = await retried(decide, changes=3, seconds=0.2)

    assert refusal(outcome).reason is Reason.NOT_FOUND
    assert 0.2 <= time.monotonic() - began < 2
    assert decide.looks == 4


async def test_nothing_is_decided_again_while_nothing_changes():
    decide = Following("/mutate/pods", pod_body("aws"), NAMESPACES)

    await retried(decide, seconds=0.2)

    assert decide.looks == 1


async def test_a_denial_for_another_reason_is_not_retried():
    decide = Following("/mutate/pods", pod_body("no name of a bundle"), EVERYTHING)

    outcome = await retried(decide)

    assert refusal(outcome).reason not in (Reason.NOT_FOUND, Reason.NAMESPACE_OUTSIDE)
    assert decide.looks == 1


async def test_other_reviews_are_answered_meanwhile():
    waiting = asyncio.create_task(retried(Following("/mutate/pods", pod_body("aws"), NAMESPACES)))

    began = time.monotonic()
    permission(await retried(Following("/mutate/pods", pod_body("aws"), EVERYTHING)))

    assert time.monotonic() - began < RETRY_SECONDS / 2
    assert refusal(await waiting).reason is Reason.NOT_FOUND
