"""Which webhook answers at which path, and the rule that whatever goes wrong is a denial."""

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.admission.pods import mutate_pod, validate_pod
from scoped_secrets.admission.review import Outcome, Review, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.admission.scopedsecrets import mutate_scoped_secret, validate_scoped_secret
from scoped_secrets.admission.secretpolicies import validate_secret_policy
from scoped_secrets.logs import context
from scoped_secrets.names import Reason

__all__ = ["WEBHOOKS", "Webhook", "decide_review", "webhook_name"]

Webhook: TypeAlias = Callable[[Review, ReviewContext], Outcome]

WEBHOOKS: Final[Mapping[str, Webhook]] = {
    "/mutate/pods": mutate_pod,
    "/validate/pods": validate_pod,
    "/mutate/scopedsecrets": mutate_scoped_secret,
    "/validate/scopedsecrets": validate_scoped_secret,
    "/validate/secretpolicies": validate_secret_policy,
}

_logger = logging.getLogger(__name__)

_NOT_SYNCHRONIZED: Final = ReviewDenied(
    Reason.NOT_SYNCHRONIZED,
    "the admission server has not read all definitions and policies yet; try again in a few seconds",
)
_INTERNAL_ERROR: Final = ReviewDenied(
    Reason.INTERNAL_ERROR,
    "the admission server failed at this request, which is therefore refused; its log says where",
)


def webhook_name(path: str) -> str:
    """Return the name of a webhook in the webhook configurations, under which the API server's own metrics count it."""
    verb, _, plural = path.removeprefix("/").partition("/")
    return f"{plural}.{verb}.{names.GROUP}"


def decide_review(webhook: Webhook, review: Review, review_context: ReviewContext | None) -> Outcome:
    """Return the webhook's answer, or a denial when there is nothing to decide from or the webhook fails."""
    if review_context is None:
        return _NOT_SYNCHRONIZED
    try:
        return webhook(review, review_context)
    except Exception as error:  # noqa: BLE001 - fails closed, whatever it is.
        # Its text and its arguments may hold the input; type and place do not.
        _logger.error(  # noqa: TRY400 - logging.exception would write the text
            "a review failed and was denied",
            extra=context(error=type(error).__name__, place=_place(error.__traceback__), kind=review.kind),
        )
        return _INTERNAL_ERROR


def _place(traceback: TracebackType | None) -> str:
    """Return module and line of the innermost frame of ours."""
    place = "unknown"
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.startswith("scoped_secrets."):
            place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
