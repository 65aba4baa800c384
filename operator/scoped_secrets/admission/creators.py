"""Who created a pod (DESIGN section 6).

Of a pod that a person or a CI engine creates, it is the requester. Kubernetes' own controllers create the pods of
workloads; for these it is the user who wrote the workload's template, whom the webhook of workloads recorded there.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.review import Review
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.pod import Pod
from scoped_secrets.crypto.creator_tags import creator_tag, verify_creator_tag

__all__ = ["admission_record", "is_workload_controller", "recorded_creator", "signed_creator"]

_CREATOR: Final = "creator"
_TAG: Final = "tag"


def is_workload_controller(review: Review) -> bool:
    """Tell whether one of Kubernetes' own controllers made the request."""
    return review.user in names.WORKLOAD_CONTROLLERS


def admission_record(review: Review, pod: Pod, review_context: ReviewContext) -> AdmissionRecord:
    """Return what the request vouches for about the pod that it creates; nothing that the pod brings along counts."""
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
    try:
        record: Any = json.loads(text or "")
    except ValueError:
        return None
    if not isinstance(record, Mapping):
        return None
    creator, tag = record.get(_CREATOR), record.get(_TAG)
    if not isinstance(creator, str) or not isinstance(tag, str):
        return None
    keys = (review_context.fingerprint_key, *review_context.former_fingerprint_keys)
    return creator if verify_creator_tag(keys, namespace, creator, tag) else None
