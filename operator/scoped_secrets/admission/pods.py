"""The webhooks of pods: references in, references out (DESIGN sections 8 and 9).

The mutating webhook injects a pod that opted in. The validating webhook sees the pod after all mutating webhooks, ours
and others, and allows it only if the injection is complete and correct.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.creators import issue_record
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.decide import Denied, Granted, decide
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.injection.scheduling_gate import add_gate
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.core.reserved_secrets import refuse_foreign_bundles
from scoped_secrets.crypto.bundle_names import is_genuine, make_base
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["mutate_pod", "validate_pod"]

_PAST_STATES: Final = 4
"""How many past snapshots validation tries: mutation is only moments old, and a denial must stay cheap."""


def mutate_pod(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the patch for a pod that opted in; it is empty when the injection is complete."""
    try:
        subject = _subject(review, review_context)
        if subject is None:
            return ReviewAllowed()
        pod, unusable = subject
        base = _verified_base(pod, review.object or {}, review_context)
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    if base is None:
        base = make_base(review_context.fingerprint_key, pod.namespace, pod.identity, review.uid)
    decision = decide(pod, review_context.inventory, base, review_context.settings, review_context.now)
    if isinstance(decision, Denied):
        return ReviewDenied(decision.reason, decision.message, decision)
    warnings = (warning.message for warning in decision.injection.warnings)
    gate = add_gate(pod) if review_context.gate else []
    return ReviewAllowed([*decision.injection.operations, *gate], (*unusable, *warnings), decision=decision)


def validate_pod(review: Review, review_context: ReviewContext) -> Outcome:
    """Allow a pod that opted in only if it has exactly what it was granted."""
    try:
        subject = _subject(review, review_context)
        if subject is None:
            return ReviewAllowed()
        pod, _ = subject
        base = _verified_base(pod, review.object or {}, review_context)
    except DeniedError as denial:
        return ReviewDenied.because(denial)
    if base is None:
        return ReviewDenied(
            Reason.NOT_INJECTED,
            f"the pod has label {names.INJECT_LABEL} but no volume '{names.VOLUME_NAME}'; install the mutating "
            "webhook, or stop other webhooks from removing the volume after injection",
        )
    decision = decide(pod, review_context.inventory, base, review_context.settings, review_context.now)
    complete = decision if _is_complete(decision) else _former_decision(pod, base, review_context)
    if complete is not None:
        return ReviewAllowed(decision=complete)
    if isinstance(decision, Denied):
        return ReviewDenied(decision.reason, decision.message, decision)
    return ReviewDenied(
        Reason.NOT_INJECTED,
        f"the injection of the pod is incomplete at {decision.injection.operations[0]['path']}; create the pod again "
        "if definitions have just changed, or stop other webhooks from changing this field after injection",
        decision,
    )


def _subject(review: Review, review_context: ReviewContext) -> tuple[Pod, Sequence[str]] | None:
    """Return the pod, with what admission vouches for, and why texts of it are no claims.

    ``None`` unless it opted in and is being created.

    Raises:
        DeniedError: The object is not a pod, or an object that owns it cannot be read.
    """
    if review.operation is not Operation.CREATE or review.sub_resource:
        return None
    body: Mapping[str, Any] = review.object or {}
    pod = parse_pod(body, review.namespace or None)
    # A mirror pod shows a static pod of a kubelet, which the API server can neither change nor stop. Anyone may write
    # its annotation; only what a node created is one.
    is_mirror = names.MIRROR_ANNOTATION in pod.annotations and names.NODES_GROUP in review.groups
    if not pod.wants_injection or is_mirror:
        return None
    issued = issue_record(review, pod, review_context)
    return dataclasses.replace(pod, record=issued.record), issued.unusable


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


def _is_complete(decision: Granted | Denied) -> bool:
    return isinstance(decision, Granted) and not decision.injection.operations


def _former_decision(pod: Pod, base: str, review_context: ReviewContext) -> Granted | Denied | None:
    """Return the decision of moments ago by which the pod is complete: definitions may change between its webhooks."""
    decisions = (
        decide(pod, snapshot, base, review_context.settings, review_context.now)
        for snapshot in _past_snapshots(pod.namespace, review_context)
    )
    return next((decision for decision in decisions if _is_complete(decision)), None)


def _past_snapshots(namespace: str, review_context: ReviewContext) -> Iterator[ClusterSnapshot]:
    binding = review_context.inventory.binding(namespace)
    if binding is not None:
        yield from islice(review_context.inventory.snapshots(binding.organization), _PAST_STATES)
