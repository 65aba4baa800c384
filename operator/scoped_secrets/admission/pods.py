"""The webhooks of pods: references in, references out (DESIGN sections 8 and 9).

The mutating webhook injects a pod that opted in. What becomes of the pod afterwards is judged by others: a policy in
the API server denies a pod that was not injected, and the controller decides again from the stored pod.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from scoped_secrets import names
from scoped_secrets.admission.creators import issue_record
from scoped_secrets.admission.known_pods import find_known, keep_known, known_key
from scoped_secrets.admission.pod_shapes import read_shape
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.decide import Denied, Granted, decide
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.injection.scheduling_gate import add_gate
from scoped_secrets.core.pod import Pod, parse_pod, pod_identity
from scoped_secrets.core.reserved_secrets import refuse_foreign_bundles
from scoped_secrets.crypto.bundle_names import is_genuine, make_base, seconds_since_made
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["mutate_pod", "refuse_copied_pod", "validate_pod"]

_REQUEST_SECONDS: Final = 30.0
"""The age of a bundle's name up to which a pod that has it is asked about again within the same request."""


def mutate_pod(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the patch for a pod that opted in; it is empty when the injection is complete."""
    creates = review.operation is Operation.CREATE and not review.sub_resource
    shape = read_shape(review.object, review.namespace) if creates else None
    if shape is None:
        return _decide(review, review_context)
    try:
        issued = issue_record(review, shape, review_context)
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    key = known_key(shape, issued.record, review_context)
    if key is None:
        return _decide(review, review_context)
    known = find_known(key, shape, review_context)
    if known is None:
        return _decide(review, review_context, partial(keep_known, key, shape))
    record = issued.record.text()
    identity = pod_identity(shape.name, shape.generate_name, record)
    return known.answer(_new_base(shape.namespace, identity, review, review_context), record, issued.unusable)


class _Keep(Protocol):
    """Keeps a decision for other pods."""

    def __call__(
        self, base: str, decision: Granted, operations: Sequence[PatchOperation], review_context: ReviewContext
    ) -> None:
        """Take the decision, and the whole patch."""


def _decide(review: Review, review_context: ReviewContext, keep: _Keep | None = None) -> Outcome:
    """Decide about a pod.

    Args:
        review: The review.
        review_context: The state to decide from.
        keep: Receives what is granted to a pod that is not injected yet.
    """
    try:
        subject = _subject(review, review_context)
        if subject is None:
            return ReviewAllowed()
        pod, unusable = subject
        given = _verified_base(pod, review.object or {}, review_context)
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    base = _new_base(pod.namespace, pod.identity, review, review_context) if given is None else given
    decision = decide(pod, review_context.inventory, base, review_context.settings, review_context.now)
    if isinstance(decision, Denied):
        return ReviewDenied(decision.reason, decision.message, decision)
    warnings = (warning.message for warning in decision.injection.warnings)
    gate = add_gate(pod) if review_context.gate else []
    operations = [*decision.injection.operations, *gate]
    if keep is not None:
        keep(base, decision, operations, review_context)
    return ReviewAllowed(
        operations,
        (*unusable, *warnings),
        decision=decision.grant.trail,
        is_repeated=given is not None and not operations and _is_asked_again(given, review, review_context),
    )


def refuse_copied_pod(review: Review, _review_context: ReviewContext) -> Outcome:
    """Deny a pod that has not opted in and names a bundle as an injected pod does.

    Another webhook may add the label afterwards. The guard lets a pod with the label name the bundle of its volume,
    because the webhook of pods has verified that it is the pod's own; this pod that webhook would never see.
    """
    if review.operation is not Operation.CREATE or review.sub_resource:
        return ReviewAllowed()
    body: Mapping[str, Any] = review.object or {}
    try:
        if not parse_pod(body, review.namespace or None).wants_injection:
            refuse_foreign_bundles(body, None)
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    return ReviewAllowed()


def validate_pod(review: Review, _review_context: ReviewContext) -> Outcome:
    """Deny a pod that opted in and was not injected: what the policy `<fullname>-injected` denies.

    Only webhook configurations of earlier releases ask. They are in use for moments of an upgrade, or until someone who
    has replaced nothing but the image applies the rest.
    """
    if review.operation is not Operation.CREATE or review.sub_resource:
        return ReviewAllowed()
    try:
        pod = parse_pod(review.object or {}, review.namespace or None)
        is_injected = existing_base(pod) is not None
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    if is_injected or not _is_subject(pod, review):
        return ReviewAllowed()
    return ReviewDenied(
        Reason.NOT_INJECTED,
        f"the pod has label {names.INJECT_LABEL} but no volume '{names.VOLUME_NAME}'; install the mutating "
        "webhook, or stop other webhooks from removing the volume after injection",
    )


def _subject(review: Review, review_context: ReviewContext) -> tuple[Pod, Sequence[str]] | None:
    """Return the pod, with what admission vouches for, and why texts of it are no claims.

    ``None`` unless it opted in and is being created.

    Raises:
        DeniedError: The object is not a pod, or an object that owns it cannot be read.
    """
    if review.operation is not Operation.CREATE or review.sub_resource:
        return None
    pod = parse_pod(review.object or {}, review.namespace or None)
    if not _is_subject(pod, review):
        return None
    issued = issue_record(review, pod, review_context)
    return dataclasses.replace(pod, record=issued.record), issued.unusable


def _is_subject(pod: Pod, review: Review) -> bool:
    # A mirror pod shows a static pod of a kubelet, which the API server can neither change nor stop. Anyone may write
    # its annotation; only what a node created is one.
    is_mirror = names.MIRROR_ANNOTATION in pod.annotations and names.NODES_GROUP in review.groups
    return pod.wants_injection and not is_mirror


def _new_base(namespace: str, identity: str, review: Review, review_context: ReviewContext) -> str:
    # A dry run shows the name to its caller. A pod that is then created with it has a line in the audit log.
    made = None if review.dry_run else review_context.now
    return make_base(review_context.fingerprint_key, namespace, identity, review.uid, made)


def _is_asked_again(base: str, review: Review, review_context: ReviewContext) -> bool:
    """Tell whether the API server asks again within one request, because another webhook has changed the pod.

    Otherwise someone has created a pod again with everything that was injected into a former one.
    """
    return review.dry_run or abs(seconds_since_made(base, review_context.now)) <= _REQUEST_SECONDS


def _verified_base(pod: Pod, body: Mapping[str, Any], review_context: ReviewContext) -> str | None:
    """Return the base of the bundle Secrets of a pod that is injected already.

    Raises:
        DeniedError: The pod mounts or names a bundle that was not made for it.
    """
    base = existing_base(pod)
    if base is not None and not is_genuine(
        review_context.fingerprint_key, pod.namespace, pod.identity, base, review_context.former_fingerprint_keys
    ):
        raise DeniedError(
            Reason.RESERVED_NAME,
            f"volume '{names.VOLUME_NAME}' names a bundle that was not made for this pod; remove the volume and "
            "everything else that was injected into the pod that it was copied from",
        )
    refuse_foreign_bundles(body, base)
    return base
