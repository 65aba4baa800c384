"""Which reviews the audit log holds, and what it says about them (DESIGN section 9)."""

from collections.abc import Mapping
from typing import Any, Final, assert_never

from scoped_secrets.admission.review import Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.audit import AuditLog, audit_text
from scoped_secrets.core.audit import Fields, describe_decision, describe_session, shortened
from scoped_secrets.core.decide import Denied
from scoped_secrets.core.grant import DecisionTrail
from scoped_secrets.core.interactive import SessionDecision

__all__ = ["ReviewAuditor"]

_POD: Final = "Pod"
_SESSION: Final = "Session"

_EVENTS: Final[Mapping[str, str]] = {
    "/mutate/pods": _POD,
    "/validate/interactive": _SESSION,
}
"""The webhooks whose decisions are written, and what they decide about."""


class ReviewAuditor:
    """Writes the decisions of webhooks to the audit log."""

    def __init__(self, log: AuditLog) -> None:
        """Take the log."""
        self._log = log

    def decided(self, path: str, review: Review, outcome: Outcome) -> None:
        """Write the outcome of a review, if it is a decision."""
        event = _EVENTS.get(path)
        is_denial = isinstance(outcome, ReviewDenied)
        if event is None or not self._log.wants(is_denial=is_denial):
            return
        # A pod has one line of what is allowed, although the API server may ask about it again.
        if isinstance(outcome, ReviewAllowed) and (outcome.decision is None or outcome.is_repeated):
            return
        if isinstance(outcome, ReviewAllowed) and outcome.memo is not None:
            # The same for all pods that share the decision.
            more = outcome.memo.get(("audit",), _text, outcome)
            self._log.write(event, more, is_denial=False, **_request(review))
        else:
            self._log.write(event, is_denial=is_denial, **_request(review), **_describe(outcome))


def _text(outcome: Outcome) -> str:
    return audit_text(_describe(outcome))


def _request(review: Review) -> Fields:
    fields: Fields = {"uid": shortened(review.uid), "user": shortened(review.user), "pod": _pod(review)}
    return fields | {"dryRun": True} if review.dry_run else fields


def _pod(review: Review) -> Fields:
    """Return the pod's name, or what it will begin with; the API server validates names after admission."""
    metadata: Any = (review.object or {}).get("metadata")
    name = review.name or (metadata.get("name") if isinstance(metadata, Mapping) else None)
    fields: Fields = {"namespace": shortened(review.namespace)}
    if isinstance(name, str) and name:
        return fields | {"name": shortened(name)}
    prefix = metadata.get("generateName") if isinstance(metadata, Mapping) else None
    return fields | {"generateName": shortened(prefix)} if isinstance(prefix, str) else fields


def _describe(outcome: Outcome) -> Fields:
    """Return the parts of a line about the decision; a denial's own reason counts."""
    fields: Fields = {}
    match outcome.decision:
        case DecisionTrail() | Denied() as decision:
            fields = describe_decision(decision)
        case SessionDecision() as session:
            fields = describe_session(session)
        case None:
            pass
        case _ as never:
            assert_never(never)
    match outcome:
        case ReviewDenied(reason, message):
            return {"reason": reason.value, "message": message} | fields
        case ReviewAllowed():
            return fields
        case _ as never_outcome:
            assert_never(never_outcome)
