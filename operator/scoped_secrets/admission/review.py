"""AdmissionReview v1 as dataclasses, and back to the bytes of a response.

The parser requires what the webhooks need and rejects everything else as malformed, because every client that reaches
the port may send a review. JSON is read and written by pydantic's library, which takes 8 µs for the patch of a typical
pod where the standard library takes 27.
"""

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, assert_never

from pydantic_core import from_json, to_json

from scoped_secrets.admission.ready_patch import ReadyPatch
from scoped_secrets.core.decide import Denied
from scoped_secrets.core.grant import DecisionTrail
from scoped_secrets.core.interactive import SessionDecision
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.policy.issuers import ReadOwners
from scoped_secrets.errors import ScopedSecretsError, UserError
from scoped_secrets.names import Reason
from scoped_secrets.redaction import RedactedDict

__all__ = [
    "CopyRight",
    "Decision",
    "MalformedReviewError",
    "Operation",
    "Outcome",
    "Review",
    "ReviewAllowed",
    "ReviewDenied",
    "parse_review",
    "render",
]

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

_FORBIDDEN: Final = 403
_CODES: Final[Mapping[Reason, int]] = {
    Reason.INVALID: 422,
    Reason.NOT_SYNCHRONIZED: 503,
    Reason.INTERNAL_ERROR: 500,
}
# Clients of the API server give some reasons a meaning of their own: a controller that ignores NotFound would never
# create the pod again. The message names our reason nevertheless.
_STATUS_REASONS: Final[Mapping[Reason, str]] = {Reason.NOT_FOUND: "Forbidden", Reason.EXPIRED: "Forbidden"}

_RESPONSE: Final = f'{{"apiVersion":"{API_VERSION}","kind":"{KIND}","response":{{"uid":'.encode()

_MAX_UID: Final = 128


class MalformedReviewError(ScopedSecretsError):
    """The body is not an AdmissionReview. The exception holds nothing of the body."""

    def __init__(self) -> None:
        """Take nothing, so that nothing can leak."""
        super().__init__("the body is not an AdmissionReview of version v1")


class Operation(StrEnum):
    """The operation of the request on the object."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(frozen=True, slots=True)
class CopyRight:
    """What the API server says about the source of a copy, and about the person who creates it.

    Attributes:
        is_allowed: Whether the person may copy the source.
        uid: The UID of the source; empty when it does not exist, or when the person may not copy it.
        generation: Its generation.
    """

    is_allowed: bool
    uid: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """One request to the API server. Its bodies, which may hold values, are not part of the representation.

    Attributes:
        size: Bytes of the review.
    """

    uid: str
    operation: Operation
    group: str
    kind: str
    sub_resource: str
    namespace: str
    name: str
    user: str
    dry_run: bool
    groups: frozenset[str] = frozenset()
    user_uid: str = ""
    user_extra: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    object: Mapping[str, Any] | None = field(default=None, repr=False)
    old_object: Mapping[str, Any] | None = field(default=None, repr=False)
    size: int = 0
    stored_pod: Mapping[str, Any] | None = field(default=None, repr=False)
    """The pod of the request's name as it is stored, for webhooks in `READS_POD`: ``None`` if it cannot be read, empty
    if it does not exist."""

    owners: ReadOwners | None = field(default_factory=dict, repr=False)
    """The pod's owners that trusted issuers need, for webhooks in `READS_OWNERS`; ``None`` if one cannot be read."""

    copy_right: CopyRight | None = None
    """The right to make the copy, for webhooks in `ASKS_ABOUT_COPIES`; ``None`` if the API server does not tell."""

    @property
    def writes_object(self) -> bool:
        """Return whether the request creates or updates the object itself and not a subresource."""
        return self.operation in (Operation.CREATE, Operation.UPDATE) and not self.sub_resource

    @property
    def keeps_spec(self) -> bool:
        """Tell whether an update leaves the object's `spec` as it is, and changes only metadata or the status."""
        body, old = self.object, self.old_object
        return (
            self.operation is Operation.UPDATE
            and body is not None
            and old is not None
            and body.get("spec") == old.get("spec")
        )


Decision: TypeAlias = DecisionTrail | Denied | SessionDecision
"""What an outcome is made from, for the audit log."""


@dataclass(frozen=True, slots=True)
class ReviewAllowed:
    """The request is allowed, changed by the operations of a JSON Patch (RFC 6902).

    Attributes:
        operations: The JSON Patch.
        warnings: What the API server shows the person who makes the request.
        is_provisional: Whether a warning may be wrong, because an object that it misses may be known in a moment.
        decision: What was decided; ``None`` when there was nothing to decide.
        is_repeated: Whether an earlier review of the same request has decided the same.
        memo: Where results are kept that follow from the decision; ``None`` unless other pods share it.
    """

    operations: Sequence[Mapping[str, object]] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    is_provisional: bool = False
    decision: Decision | None = field(default=None, compare=False, repr=False)
    is_repeated: bool = False
    memo: Memo | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ReviewDenied:
    """The request is denied, with a reason for programs and a message for people."""

    reason: Reason
    message: str
    decision: Decision | None = field(default=None, compare=False, repr=False)

    @classmethod
    def because(cls, error: UserError) -> "ReviewDenied":
        """Return the denial for an error."""
        return cls(error.reason, error.message)


Outcome: TypeAlias = ReviewAllowed | ReviewDenied


def parse_review(body: bytes) -> Review:
    """Read the body of a request.

    Raises:
        MalformedReviewError: The body is not an AdmissionReview; the error does not say why.
    """
    review = _read(body)
    # Raised outside of every handler, because an exception of the JSON parser as its context would hold the whole body.
    if review is None:
        raise MalformedReviewError
    return review


def render(review: Review, outcome: Outcome) -> bytes:
    """Return the response's body."""
    # Put together instead of written as a whole: a patch of some kilobytes would be searched for what to escape.
    match outcome:
        case ReviewAllowed(operations, warnings):
            parts = [_RESPONSE, to_json(review.uid), b',"allowed":true']
            if operations:
                patch = operations.json if isinstance(operations, ReadyPatch) else to_json(operations)
                parts += (b',"patchType":"JSONPatch","patch":"', binascii.b2a_base64(patch, newline=False), b'"')
            if warnings:
                parts += (b',"warnings":', to_json(warnings))
        case ReviewDenied(reason, message):
            status = {
                "status": "Failure",
                "code": _CODES.get(reason, _FORBIDDEN),
                "reason": _STATUS_REASONS.get(reason, reason.value),
                "message": f"{reason}: {message}",
            }
            parts = [_RESPONSE, to_json(review.uid), b',"allowed":false,"status":', to_json(status)]
        case _ as never:
            assert_never(never)
    parts.append(b"}}")
    return b"".join(parts)


def _read(body: bytes) -> Review | None:
    try:
        # Strings are not cached, because some are values of secrets; those that are no Unicode are errors.
        document = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return None
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        return None
    request = document.get("request")
    if not isinstance(request, dict):
        return None
    kind, user = request.get("kind"), request.get("userInfo")
    texts = [request.get(name) or "" for name in ("uid", "operation", "subResource", "namespace", "name")]
    if isinstance(kind, dict) and isinstance(user, dict):
        texts += [kind.get("group") or "", kind.get("kind") or "", user.get("username") or ""]
        return _build(request, texts, len(body))
    return None


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _build(request: Mapping[str, Any], texts: Sequence[object], size: int) -> Review | None:
    strings = [text for text in texts if isinstance(text, str)]
    groups = request["userInfo"].get("groups") or []
    if not _is_texts(groups):
        return None
    user_uid, extra = request["userInfo"].get("uid") or "", request["userInfo"].get("extra") or {}
    if not isinstance(user_uid, str) or not isinstance(extra, dict) or not all(map(_is_texts, extra.values())):
        return None
    bodies = [request.get(name) for name in ("object", "oldObject")]
    if len(strings) != len(texts) or not all(body is None or isinstance(body, dict) for body in bodies):
        return None
    uid, operation, sub_resource, namespace, name, group, kind, user = strings
    if not 0 < len(uid) <= _MAX_UID or operation not in tuple(Operation):
        return None
    return Review(
        uid=uid,
        operation=Operation(operation),
        group=group,
        kind=kind,
        sub_resource=sub_resource,
        namespace=namespace,
        name=name,
        user=user,
        dry_run=request.get("dryRun") is True,
        groups=frozenset(groups),
        user_uid=user_uid,
        user_extra=extra,
        object=None if bodies[0] is None else RedactedDict(bodies[0]),
        old_object=None if bodies[1] is None else RedactedDict(bodies[1]),
        size=size,
    )
