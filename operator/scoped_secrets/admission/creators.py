"""Who created a pod (DESIGN section 6).

Of a pod that a person or a CI engine creates, it is the requester. Kubernetes' own controllers create the pods of
workloads; for these it is the user who wrote the workload's template, whom the webhook of workloads recorded there.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from scoped_secrets import names
from scoped_secrets.admission.review import Review
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.policy.issuers import Issued, Writings, issue
from scoped_secrets.core.policy.subjects import Requester
from scoped_secrets.crypto.creator_tags import creator_tag, verify_creator_tag
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["NewPod", "is_workload_controller", "issue_record", "recorded_creator", "signed_creator"]

_CREATOR: Final = "creator"
_TAG: Final = "tag"


def is_workload_controller(review: Review) -> bool:
    """Tell whether one of Kubernetes' own controllers made the request."""
    return review.user in names.WORKLOAD_CONTROLLERS


class NewPod(Protocol):
    """What is read of the pod."""

    @property
    def namespace(self) -> str:
        """Return its namespace."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Return its labels."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """Return its annotations."""

    @property
    def owner_uid(self) -> str:
        """Return the UID of the object that controls it; empty without one."""


def issue_record(review: Review, pod: NewPod, review_context: ReviewContext) -> Issued:
    """Return what admission vouches for about the pod that a request creates.

    Of what the pod brings along only that counts which a trusted issuer wrote.

    Raises:
        DeniedError: An object that owns the pod cannot be read, so that it is not known which issuer matches.
    """
    if review.owners is None:
        raise DeniedError(
            Reason.OWNER_UNKNOWN,
            "the admission server cannot read the object that owns the pod, which a trusted issuer needs; try again, "
            "and check that the admission server may get this kind",
        )
    record = _request_record(review, pod, review_context)
    # The groups of a user who wrote a template are not recorded.
    groups = review.groups if record.creator == review.user else frozenset[str]()
    writings = Writings(pod.labels, pod.annotations)
    return issue(record, Requester(record.creator, groups), writings, review.owners, review_context.issuers)


def _request_record(review: Review, pod: NewPod, review_context: ReviewContext) -> AdmissionRecord:
    """Return what the request alone tells about the pod."""
    if not is_workload_controller(review):
        return AdmissionRecord(creator=review.user)
    # Only such a controller's word counts for the owner: everyone may write an ownerReference.
    creator = recorded_creator(pod.annotations.get(names.CREATOR_ANNOTATION), pod.namespace, review_context)
    return AdmissionRecord(creator=creator or review.user, owner=pod.owner_uid)


def signed_creator(user: str, namespace: str, review_context: ReviewContext) -> str:
    """Return the annotation of a template that a user wrote."""
    tag = creator_tag(review_context.fingerprint_key, namespace, user)
    return json.dumps({_CREATOR: user, _TAG: tag}, separators=(",", ":"))


def recorded_creator(text: str | None, namespace: str, review_context: ReviewContext) -> str | None:
    """Return the user whom the annotation of a template names; ``None`` unless admission wrote it."""
    if not text:
        return None
    try:
        record: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, Mapping):
        return None
    creator, tag = record.get(_CREATOR), record.get(_TAG)
    if not isinstance(creator, str) or not isinstance(tag, str):
        return None
    keys = (review_context.fingerprint_key, *review_context.former_fingerprint_keys)
    return creator if verify_creator_tag(keys, namespace, creator, tag) else None
