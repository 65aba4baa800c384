"""Validating reviews that are decided before they arrive (DESIGN section 9).

The API server asks twice about a write of a ScopedSecret. Unless another webhook changes the object, the second review
follows from the patch that answers the first. So the rules are applied to the patched object while the API server still
applies the patch. The outcome is kept with the inventory, and vanishes with its next change. It answers only a review
that equals the expected one; every other review is decided when it arrives. Of the objects only a digest is kept.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json

from scoped_secrets.admission.review import Review, ReviewAllowed
from scoped_secrets.admission.review_context import ReviewContext

__all__ = ["find_expected", "keep_expected"]

_VALID: Final = timedelta(seconds=5)
"""Longer than the API server waits for a webhook. Rules about times, which are dates of expiry, may be as late."""

# What the API server sets after the mutating webhooks, and no rule reads.
_SET_BY_SERVER: Final = frozenset({"uid", "creationTimestamp", "generation", "resourceVersion", "managedFields"})
# The digest is keyed, because a stored object may hold plain text that can be guessed.
_KEY: Final = os.urandom(32)


@dataclass(frozen=True, slots=True)
class _Expected:
    """A review that is expected, and its outcome.

    Attributes:
        facts: What the rules depend on beside the objects, the inventory and the time.
        objects: The digest of the objects.
        decided: When it was decided.
        outcome: The outcome.
    """

    facts: tuple[object, ...]
    objects: bytes
    decided: datetime
    outcome: ReviewAllowed


def keep_expected(review: Review, outcome: ReviewAllowed, review_context: ReviewContext) -> None:
    """Keep the outcome of a review that is expected.

    Args:
        review: The review.
        outcome: What the rules say about it.
        review_context: The state that they read.
    """
    # As the API server writes it, with the members of each object in order.
    text = json.dumps(_read_by_rules(review), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    expected = _Expected(_facts(review, review_context), _digest(text.encode()), review_context.now, outcome)
    review_context.inventory.memo.keep(_key(review), expected)


def find_expected(review: Review, review_context: ReviewContext) -> ReviewAllowed | None:
    """Return the outcome of a review that was expected; ``None`` if it was not, or differs."""
    expected: _Expected | None = review_context.inventory.memo.find(_key(review))
    if (
        expected is None
        or not timedelta() <= review_context.now - expected.decided <= _VALID
        or _facts(review, review_context) != expected.facts
        or _digest(to_json(_read_by_rules(review))) != expected.objects
    ):
        return None
    return expected.outcome


def _key(review: Review) -> tuple[str, str, str]:
    return "expected review", review.namespace, review.name


def _facts(review: Review, known: ReviewContext) -> tuple[object, ...]:
    of_review = review.operation, review.sub_resource, review.dry_run
    keys = known.fingerprint_key, known.former_fingerprint_keys, known.recipients
    return (*of_review, *keys, known.cluster_id, known.settings, known.may_read_sources)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, key=_KEY, digest_size=32).digest()


def _read_by_rules(review: Review) -> list[dict[str, Any] | None]:
    """Return both objects, without what no rule reads."""
    return [_without_unread(each) for each in (review.object, review.old_object)]


def _without_unread(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if body is None:
        return None
    metadata = body.get("metadata")
    kept = {name: each for name, each in body.items() if name != "status"}
    if isinstance(metadata, dict):
        kept["metadata"] = {name: each for name, each in metadata.items() if name not in _SET_BY_SERVER}
    return kept
