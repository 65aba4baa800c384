"""Explain every bundle of one pod, stored or in a file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from scoped_secrets import names
from scoped_secrets.core.decide import Denied, Granted, decide
from scoped_secrets.core.grant import Grant, JobDeniedError, grant
from scoped_secrets.core.injection.inject import existing_base
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.errors import ConfigurationError, DeniedError
from scoped_secrets.operations.explain import Explanation, explain_bundle
from scoped_secrets.operations.jobs import BASE, Question
from scoped_secrets.operations.pod_bundles import read_pod_bundles

__all__ = ["explain_pod"]


def explain_pod(
    body: Mapping[str, Any], namespace: str, inventory: Inventory, question: Question
) -> tuple[Explanation, ...]:
    """Return an explanation of each bundle that a pod asks for, holds, or gets without asking.

    Args:
        body: The pod.
        namespace: Its namespace.
        inventory: The state.
        question: The time and the settings; its record counts for a pod that admission has not written one into.

    Raises:
        ConfigurationError: The object is no pod.
    """
    try:
        pod = parse_pod(body, namespace)
        base = existing_base(pod)
    except DeniedError as error:
        problem = error.message
    else:
        if base is None and not pod.wants_injection:
            raise ConfigurationError(
                f'the pod has no label `{names.INJECT_LABEL}: "{names.INJECT_VALUE}"`, so that it gets nothing'
            )
        decision = _decide(pod, base, inventory, question)
        held = read_pod_bundles(body)
        bundles = dict.fromkeys(_named(decision))
        if held is not None:
            bundles |= dict.fromkeys(bundle.name for bundle in held.bundles)
        return tuple(explain_bundle(name, pod, decision, inventory) for name in bundles)
    raise ConfigurationError(f"the pod cannot be explained: {problem}")


def _decide(pod: Pod, base: str | None, inventory: Inventory, question: Question) -> Grant | Denied:
    """Return what is granted to a pod now.

    A stored pod that is injected keeps its references, so that they are not compared with the present definitions.
    """
    if base is None:
        pod = dataclasses.replace(pod, record=question.record)
        decision = decide(pod, inventory, BASE, question.settings, question.now)
        return decision.grant if isinstance(decision, Granted) else decision
    try:
        return grant(pod, inventory, question.settings.access, question.now)
    except JobDeniedError as denial:
        return Denied(denial.reason, denial.message, denial.trail)
    except DeniedError as denial:
        return Denied(denial.reason, denial.message)


def _named(decision: Grant | Denied) -> list[str]:
    """Return the bundles of a decision in their order."""
    trail = decision.trail
    if trail is None:
        return []
    named = [bundle.name for bundle in trail.applied] + [left.name for left in trail.left_out]
    return named if trail.denied is None else [*named, trail.denied.name]
