"""Compares values with stored ones: those of an update, and the sealed guess of `verify` (DESIGN section 7).

A sealed guess comes in an annotation of an update that changes nothing else and stores nothing (dry run). The answer is
a warning, which the API server sends in a header and writes into no audit log. The patch is the same for each answer.
"""

from collections.abc import Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.api.comparison import ComparisonRequest, stored_fingerprint
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.contexts import entry_fingerprint
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.guesses import Question, open_guess
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import DeniedError, UserError
from scoped_secrets.names import ComparisonAnswer, Reason

__all__ = ["GUESS_REFUSED", "answer_guess", "has_guess", "is_equal"]

_POINTER: Final = json_pointer("metadata", "annotations", names.COMPARE_ANNOTATION)
_REFUSED: Final = (
    f"annotation {names.COMPARE_ANNOTATION} is a question of `scoped-secrets verify` and is never stored; remove it"
)
_CHANGES_MORE: Final = (
    f"an update with annotation {names.COMPARE_ANNOTATION} must change nothing else; make the other changes without it"
)
_CHANGED: Final = "the ScopedSecret was changed just now; try again"
_SWITCHED_OFF: Final = (
    "values are not compared in this cluster, because the chart has `settings.keepUnchanged: false`; check what a job "
    "gets"
)
# One denial for every failure, so that the answer does not say what is wrong with a guess.
_NOT_OPENED: Final = (
    "the sealed guess does not open: it is damaged, or was made for another user, entry, value or key; run "
    "`scoped-secrets verify` again, and soon after a rotation of the fingerprint key wait a minute"
)
GUESS_REFUSED: Final = ReviewDenied(Reason.INVALID, _REFUSED)
"""The denial of a guess that would be stored."""


def has_guess(review: Review) -> bool:
    """Tell whether a review brings a guess.

    An annotation that is stored already, past admission, is none: it must not keep the object from being changed.
    """
    asked = _annotations(review.object).get(names.COMPARE_ANNOTATION)
    stored = _annotations(review.old_object if review.operation is Operation.UPDATE else None)
    return asked is not None and asked != stored.get(names.COMPARE_ANNOTATION)


def answer_guess(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the answer to a review that brings a guess."""
    try:
        question, guess = _opened(review, review_context)
    except UserError as error:
        return ReviewDenied.because(error)
    name, entry, stored = question.name, question.entry, question.stored
    if review_context.comparisons.is_reached(review.namespace, name, entry):
        answer = ComparisonAnswer.NOT_COMPARED
    elif is_equal(review, review_context, name, entry, guess, stored):
        answer = ComparisonAnswer.EQUAL
    else:
        answer = ComparisonAnswer.DIFFERENT
    return ReviewAllowed(({"op": "remove", "path": _POINTER},), (str(answer),))


def is_equal(
    review: Review,
    review_context: ReviewContext,
    name: str,
    entry: EntryKey,
    value: SecretValue,
    stored: Fingerprint,
) -> bool:
    """Tell whether a value has the stored fingerprint, and count it if it has not."""
    namespace = review.namespace
    guess = entry_fingerprint(review_context.fingerprint_key, namespace, name, entry, value, stored.salt)
    if guess == stored:
        return True
    if review.dry_run:
        # A dry run answers whether the value differs, not whether the fingerprint is current; a real write renews it.
        for key in review_context.former_fingerprint_keys:
            if entry_fingerprint(key, namespace, name, entry, value, stored.salt) == stored:
                return True
    review_context.comparisons.add_difference(namespace, name, entry, guess)
    return False


def _opened(review: Review, review_context: ReviewContext) -> tuple[Question, SecretValue]:
    """Return what a review asks, and the guess.

    Raises:
        UserError: The review must not bring a guess, the entry cannot be compared, or the guess does not open.
    """
    body, old = review.object, review.old_object
    if review.operation is not Operation.UPDATE or not review.dry_run or body is None or old is None:
        raise DeniedError(Reason.INVALID, _REFUSED)
    if not review_context.keep_unchanged:
        raise DeniedError(Reason.INVALID, _SWITCHED_OFF)
    # The API server finds a stale resourceVersion after the webhooks only.
    if body["metadata"].get("resourceVersion") != old["metadata"].get("resourceVersion"):
        raise DeniedError(Reason.INVALID, _CHANGED)
    if _without_guess(body) != _without_guess(old):
        raise DeniedError(Reason.INVALID, _CHANGES_MORE)
    request = ComparisonRequest.parse(_annotations(body)[names.COMPARE_ANNOTATION])
    if request is None:
        raise DeniedError(Reason.INVALID, _NOT_OPENED)
    stored = stored_fingerprint(old, request.entry)
    question = Question(review.namespace, str(old["metadata"]["name"]), request.entry, review.user, stored)
    keys = review_context.fingerprint_key, *review_context.former_fingerprint_keys
    guess = open_guess(request.guess, question, keys)
    if guess is None:
        raise DeniedError(Reason.INVALID, _NOT_OPENED)
    return question, guess


def _annotations(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    metadata = (body or {}).get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _without_guess(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without the guess and without what an update cannot change or a dry run does not keep."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in ("managedFields", "annotations")}
    annotations = {key: text for key, text in _annotations(body).items() if key != names.COMPARE_ANNOTATION}
    kept = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    return {**kept, "metadata": metadata, "annotations": annotations}
