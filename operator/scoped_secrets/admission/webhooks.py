"""Which webhook answers at which path; every failure is a denial."""

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, TypeAlias

from scoped_secrets import names
from scoped_secrets.admission.interactive import validate_interactive
from scoped_secrets.admission.pods import mutate_pod, refuse_copied_pod, validate_pod
from scoped_secrets.admission.review import Outcome, Review, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.admission.scopedsecrets import expect_validation, mutate_scoped_secret, validate_scoped_secret
from scoped_secrets.admission.secretpolicies import validate_secret_policy
from scoped_secrets.admission.workloads import mutate_workload
from scoped_secrets.logs import context
from scoped_secrets.names import Reason

__all__ = [
    "ASKS_ABOUT_COPIES",
    "FOLLOWED",
    "READS_OWNERS",
    "READS_POD",
    "WEBHOOKS",
    "FollowUp",
    "Webhook",
    "decide_review",
    "prepare_following",
    "webhook_name",
]

Webhook: TypeAlias = Callable[[Review, ReviewContext], Outcome]

WEBHOOKS: Final[Mapping[str, Webhook]] = {
    "/mutate/pods": mutate_pod,
    "/mutate/copies": refuse_copied_pod,
    "/validate/pods": validate_pod,
    "/mutate/workloads": mutate_workload,
    "/mutate/scopedsecrets": mutate_scoped_secret,
    "/validate/scopedsecrets": validate_scoped_secret,
    "/validate/secretpolicies": validate_secret_policy,
    "/validate/interactive": validate_interactive,
}

READS_POD: Final = frozenset({"/validate/interactive"})
"""The webhooks about a stored pod, which the server reads and adds to the review before it calls them."""

READS_OWNERS: Final = frozenset({"/mutate/pods"})
"""The webhooks about a new pod whose owners the server reads for trusted issuers before it calls them."""

ASKS_ABOUT_COPIES: Final = frozenset({"/mutate/scopedsecrets"})
"""The webhooks about a new copy, for which the server asks the API server before it calls them."""

FollowUp: TypeAlias = Callable[[Review, Outcome, ReviewContext], None]

FOLLOWED: Final[Mapping[str, FollowUp]] = {"/mutate/scopedsecrets": expect_validation}
"""The webhooks whose answers another review follows, and what prepares its answer."""

_logger = logging.getLogger(__name__)

_NOT_SYNCHRONIZED: Final = ReviewDenied(
    Reason.NOT_SYNCHRONIZED,
    "the admission server has not listed all definitions and policies yet; try again in a few seconds",
)
_INTERNAL_ERROR: Final = ReviewDenied(
    Reason.INTERNAL_ERROR,
    "the admission server failed to decide about this request; its log says where it failed",
)


def webhook_name(path: str) -> str:
    """Return the name of a webhook in the webhook configurations, which the API server's metrics use."""
    verb, _, plural = path.removeprefix("/").partition("/")
    return f"{plural}.{verb}.{names.GROUP}"


def decide_review(webhook: Webhook, review: Review, review_context: ReviewContext | None) -> Outcome:
    """Return the webhook's outcome, or a denial when there is no context or the webhook fails."""
    if review_context is None:
        return _NOT_SYNCHRONIZED
    try:
        return webhook(review, review_context)
    except Exception as error:  # noqa: BLE001 - every exception is a denial.
        _log_failure(error, review)
        return _INTERNAL_ERROR


def prepare_following(follow_up: FollowUp, review: Review, outcome: Outcome, review_context: ReviewContext) -> None:
    """Prepare the answer to the review that follows; a failure is logged, and the review is decided when it arrives."""
    try:
        follow_up(review, outcome, review_context)
    except Exception as error:  # noqa: BLE001 - nothing waits for the preparation.
        _log_failure(error, review)


def _log_failure(error: Exception, review: Review) -> None:
    """Log type and place of an exception; its text and its arguments may hold the input."""
    _logger.error(
        "review failed", extra=context(error=type(error).__name__, place=_place(error.__traceback__), kind=review.kind)
    )


def _place(traceback: TracebackType | None) -> str:
    """Return module and line of the innermost frame of this package."""
    place = "unknown"
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.startswith("scoped_secrets."):
            place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
