"""Retries a decision that denies a request only because an object is unknown.

``kubectl apply`` of a folder creates a namespace, its definitions and a job within a tenth of a second, and watches
deliver each of them a moment later. One apply must suffice.
"""

import asyncio
from collections.abc import Callable
from typing import Final, assert_never

from scoped_secrets.admission.review import Outcome, ReviewAllowed, ReviewDenied
from scoped_secrets.kube.changes import Changes
from scoped_secrets.names import Reason

__all__ = ["RETRY_SECONDS", "InventoryChanges", "depends_on_unknown", "retry_unknown"]

RETRY_SECONDS: Final = 1.0
"""How long to retry; much less than the five seconds after which the API server gives up."""
_RETRIED: Final = frozenset({Reason.NAMESPACE_OUTSIDE, Reason.NOT_FOUND})


class InventoryChanges:
    """Wakes those who wait for a change of the inventory; used in one event loop."""

    def __init__(self) -> None:
        """Begin without anyone who waits."""
        self._next = asyncio.Event()

    def announce(self, _changes: Changes) -> None:
        """Wake all who wait, after the inventory has the changes."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._next.wait()


async def retry_unknown(
    decide: Callable[[], Outcome], changes: InventoryChanges, seconds: float = RETRY_SECONDS
) -> Outcome:
    """Return the decision; while it denies, or warns, because an object is unknown, decide again after each change.

    Args:
        decide: Decides from the present inventory and writes nothing.
        changes: Announces changes of the inventory.
        seconds: How long to wait for changes.
    """
    outcome = decide()
    if not depends_on_unknown(outcome):
        return outcome
    try:
        async with asyncio.timeout(seconds):
            while depends_on_unknown(outcome):
                await changes.wait()
                outcome = decide()
    except TimeoutError:
        pass
    return outcome


def depends_on_unknown(outcome: Outcome) -> bool:
    """Tell whether a decision may be another one when an object is known."""
    match outcome:
        case ReviewDenied():
            return outcome.reason in _RETRIED
        case ReviewAllowed():
            return outcome.is_provisional
        case _:
            assert_never(outcome)
