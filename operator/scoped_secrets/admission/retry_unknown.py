"""Retries a decision that denies a request only because an object is unknown.

``kubectl apply`` of a folder creates a namespace, its definitions and a job within a tenth of a second, and watches
deliver each of them a moment later. One apply must suffice.
"""

import asyncio
from collections.abc import Callable
from typing import Final, assert_never

from scoped_secrets.admission.review import Outcome, ReviewAllowed, ReviewDenied
from scoped_secrets.names import Reason

__all__ = ["RETRY_SECONDS", "retry_unknown"]

RETRY_SECONDS: Final = 1.0
"""How long to retry; much less than the five seconds after which the API server gives up."""
_INTERVAL_SECONDS: Final = 0.05
_RETRIED: Final = frozenset({Reason.NAMESPACE_OUTSIDE, Reason.NOT_FOUND})


async def retry_unknown(decide: Callable[[], Outcome], seconds: float = RETRY_SECONDS) -> Outcome:
    """Return the decision, after retries for `seconds` while it denies, or warns, because an object is unknown.

    Args:
        decide: Decides from the present inventory and writes nothing.
        seconds: How long to retry.
    """
    outcome = decide()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while _depends_on_unknown(outcome) and loop.time() < deadline:
        await asyncio.sleep(_INTERVAL_SECONDS)
        outcome = decide()
    return outcome


def _depends_on_unknown(outcome: Outcome) -> bool:
    match outcome:
        case ReviewDenied():
            return outcome.reason in _RETRIED
        case ReviewAllowed():
            return outcome.is_provisional
        case _:
            assert_never(outcome)
