"""Validating reviews that are decided before they arrive (DESIGN section 9).

The API server asks twice about a write of a ScopedSecret. Unless another webhook changes the object, the second review
follows from the patch that answers the first. So the rules are applied to the patched object while the API server still
applies the patch. The outcome is kept with the inventory, and vanishes with its next change. It answers only a review
that equals the expected one in all that the rules read; every other review is decided when it arrives.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from scoped_secrets.admission.review import Operation, Review, ReviewAllowed
from scoped_secrets.admission.review_context import ReviewContext

__all__ = ["MAX_EXPECTED_BYTES", "find_expected", "keep_expected"]

MAX_EXPECTED_BYTES: Final = 64 * 1024
"""The largest review whose following one is decided before: more entries than most objects have, and little memory."""

_VALID: Final = timedelta(seconds=5)
"""Longer than the API server waits for a webhook. Rules about times, which are dates of expiry, may be as late."""

_CHARACTERS: Final = 100
# What the API server sets after the mutating webhooks, and no rule reads.
_SET_BY_SERVER: Final = frozenset({"uid", "creationTimestamp", "generation", "resourceVersion", "managedFields"})


@dataclass(frozen=True, slots=True)
class _Expected:
    """A review that is expected, and its outcome.

    Attributes:
        facts: What the rules depend on beside the objects, the inventory and the time.
        spec: The spec of the object.
        metadata: Its metadata, without what the API server sets.
        old_object: The stored object.
        decided: When it was decided.
        outcome: The outcome.
        size: The size of the objects in bytes.
    """

    facts: tuple[object, ...]
    spec: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)
    old_object: Mapping[str, Any] | None = field(repr=False)
    decided: datetime
    outcome: ReviewAllowed
    size: int

    def __len__(self) -> int:
        """Return the size, in the unit of `Memo`."""
        return self.size // _CHARACTERS


def keep_expected(review: Review, outcome: ReviewAllowed, review_context: ReviewContext) -> None:
    """Keep the outcome of a review that is expected.

    Args:
        review: The review, whose object has a spec and metadata.
        outcome: What the rules say about it.
        review_context: The state that they read.
    """
    body = review.object or {}
    expected = _Expected(
        _facts(review, review_context),
        body["spec"],
        _metadata(body),
        review.old_object,
        review_context.now,
        outcome,
        review.size,
    )
    review_context.inventory.memo.keep(_key(review), expected)


def find_expected(review: Review, review_context: ReviewContext) -> ReviewAllowed | None:
    """Return the outcome of a review that was expected; ``None`` if it was not, or differs."""
    expected: _Expected | None = review_context.inventory.memo.find(_key(review))
    body = review.object
    if (
        expected is None
        or body is None
        or not timedelta() <= review_context.now - expected.decided <= _VALID
        or _facts(review, review_context) != expected.facts
        or body.get("spec") != expected.spec
        or _metadata(body) != expected.metadata
        or review.old_object != expected.old_object
    ):
        return None
    return expected.outcome


def _key(review: Review) -> tuple[Hashable, ...]:
    return ("expected review", review.namespace, review.name)


def _facts(review: Review, known: ReviewContext) -> tuple[object, ...]:
    of_review: tuple[Operation, str, bool] = (review.operation, review.sub_resource, review.dry_run)
    keys = known.fingerprint_key, known.former_fingerprint_keys, known.recipients
    return (*of_review, *keys, known.cluster_id, known.settings, known.may_read_sources)


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata")
    return {name: each for name, each in metadata.items() if name not in _SET_BY_SERVER} if metadata else {}
