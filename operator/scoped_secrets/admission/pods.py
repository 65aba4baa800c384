"""The webhooks of pods: references in, references out (DESIGN sections 8 and 9).

The mutating one adds to a pod that opted in what it lacks. The validating one sees the pod after all mutating webhooks,
ours and others, and lets it pass only if nothing is lacking or wrong then.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.knowledge import Knowledge
from scoped_secrets.admission.reserved import refuse_foreign_bundles
from scoped_secrets.admission.review import Allowed, Operation, Outcome, Refused, Review
from scoped_secrets.core.decide import Denied, Granted, decide
from scoped_secrets.core.inject import existing_base
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.core.world import World
from scoped_secrets.crypto.bundle_names import is_genuine, make_base
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["mutate_pod", "validate_pod"]

_PAST_STATES: Final = 4
"""How many past states validation looks at: mutation was moments ago, and a refused pod must not cost more."""


def mutate_pod(review: Review, knowledge: Knowledge) -> Outcome:
    """Return the patch of a pod that opted in; empty for one that has everything already."""
    try:
        pod = _subject(review)
        if pod is None:
            return Allowed()
        base = _verified_base(pod, review.object or {}, knowledge)
    except DeniedError as denial:
        return Refused.because(denial)
    if base is None:
        base = make_base(knowledge.fingerprint_key, pod.namespace, pod.identity, review.uid)
    decision = decide(pod, knowledge.inventory, base, knowledge.rules, knowledge.now)
    if isinstance(decision, Denied):
        return Refused(decision.reason, decision.message)
    return Allowed(decision.injection.operations, decision.injection.warnings)


def validate_pod(review: Review, knowledge: Knowledge) -> Outcome:
    """Let a pod that opted in pass only if it has exactly what it was granted."""
    try:
        pod = _subject(review)
        if pod is None:
            return Allowed()
        base = _verified_base(pod, review.object or {}, knowledge)
    except DeniedError as denial:
        return Refused.because(denial)
    if base is None:
        return Refused(
            Reason.NOT_INJECTED,
            f"the pod has label {names.INJECT_LABEL} and not the volume of its secrets; something removed it after "
            "injection, or the mutating webhook is not installed",
        )
    decision = decide(pod, knowledge.inventory, base, knowledge.rules, knowledge.now)
    if _is_complete(decision) or _was_complete(pod, base, knowledge):
        return Allowed()
    if isinstance(decision, Denied):
        return Refused(decision.reason, decision.message)
    return Refused(
        Reason.NOT_INJECTED,
        f"the pod lacks a part of its secrets at {decision.injection.operations[0]['path']}; another webhook removed "
        "or changed it after injection, or definitions have just changed and the pod can be created again",
    )


def _subject(review: Review) -> Pod | None:
    """Return the pod if it concerns us: it is being created and opted in.

    Raises:
        DeniedError: The object is no pod.
    """
    if review.operation is not Operation.CREATE or review.sub_resource:
        return None
    body: Mapping[str, Any] = review.object or {}
    pod = parse_pod(body, review.namespace or None)
    # The kubelet's copy of a static pod: the API server can neither change nor stop it.
    return pod if pod.wants_injection and names.MIRROR_ANNOTATION not in pod.annotations else None


def _verified_base(pod: Pod, body: Mapping[str, Any], knowledge: Knowledge) -> str | None:
    """Return the base of a pod that was injected before.

    Raises:
        DeniedError: It mounts or names a bundle that was not made for it.
    """
    base = existing_base(pod)
    if base is not None and not is_genuine(
        knowledge.fingerprint_key, pod.namespace, pod.identity, base, knowledge.former_fingerprint_keys
    ):
        raise DeniedError(
            Reason.RESERVED_NAME,
            f"volume '{names.VOLUME_NAME}' names a bundle that was not made for this pod; remove the volume, and "
            "what else was copied from another pod, and it is added anew",
        )
    refuse_foreign_bundles(body, base)
    return base


def _is_complete(decision: Granted | Denied) -> bool:
    return isinstance(decision, Granted) and not decision.injection.operations


def _was_complete(pod: Pod, base: str, knowledge: Knowledge) -> bool:
    """Tell whether the pod was complete a moment ago: definitions may change between its two webhooks."""
    return any(
        _is_complete(decide(pod, world, base, knowledge.rules, knowledge.now))
        for world in _past_worlds(pod.namespace, knowledge)
    )


def _past_worlds(namespace: str, knowledge: Knowledge) -> Iterator[World]:
    binding = knowledge.inventory.binding(namespace)
    if binding is not None:
        yield from islice(knowledge.inventory.snapshots(binding.organization), _PAST_STATES)
