"""A second look before a refusal that only says that something is not known.

``kubectl apply`` of a folder creates a namespace, its definitions and a job within a tenth of a second, and watches
tell us of each a moment later. Whoever applies them together should not have to do it twice.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from scoped_secrets.admission.review import Outcome, ReviewDenied
from scoped_secrets.names import Reason

__all__ = ["retry_unknown"]

PATIENCE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05
_MAY_COME: Final = frozenset({Reason.NAMESPACE_OUTSIDE, Reason.NOT_FOUND})


async def retry_unknown(decide: Callable[[], Outcome], seconds: float = PATIENCE_SECONDS) -> Outcome:
    """Return what is decided now or, when that is a refusal for want of knowledge, what is decided a moment later.

    Args:
        decide: Decides from what is known when it is called, and writes nothing.
        seconds: How long to look again; much less than the five seconds after which the API server gives up.
    """
    outcome = decide()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while isinstance(outcome, ReviewDenied) and outcome.reason in _MAY_COME and loop.time() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        outcome = decide()
    return outcome
