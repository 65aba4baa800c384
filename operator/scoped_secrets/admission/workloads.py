"""The webhook of workloads whose pod template opts in: who wrote the template, and whether its pods would be admitted.

Kubernetes' own controllers create the pods of a workload, so the user who acts is recorded where the user acts: in the
template, whose annotations its pods get (DESIGN section 6). The webhook denies nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.creators import is_workload_controller, recorded_creator, signed_creator
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.decide import Denied, decide
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.pod import Pod, parse_pod
from scoped_secrets.core.pod_template import pod_of_template, template_of, template_path
from scoped_secrets.core.policy.issuers import Writings, issue
from scoped_secrets.core.policy.subjects import Requester
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["mutate_workload"]

# The name of a bundle that does not exist: the decision about a template needs one, and nothing refers to it.
_NO_BASE: Final = names.BUNDLE_PREFIX + "a" * 32

_UNKNOWN: Final = frozenset({Reason.NAMESPACE_OUTSIDE, Reason.NOT_FOUND})


def mutate_workload(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the patch that records the template's creator, and warnings about pods that would be denied now."""
    path = template_path(review.kind)
    template = _template(review.object, path)
    if template is None or not review.writes_object or is_workload_controller(review):
        return ReviewAllowed()
    annotation = _creator_annotation(review, path, template, review_context)
    denial, warnings = _preview(review, template, annotation, review_context)
    return ReviewAllowed(
        list(_operations(path, template, annotation)),
        warnings,
        is_provisional=denial is not None and denial.reason in _UNKNOWN,
    )


def _template(body: Mapping[str, Any] | None, path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the pod template, if the workload has one that opts in."""
    template = template_of(body, path)
    metadata = None if template is None else template.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    opted_in = isinstance(labels, Mapping) and labels.get(names.INJECT_LABEL) == names.INJECT_VALUE
    return template if opted_in else None


def _creator_annotation(
    review: Review, path: tuple[str, ...], template: Mapping[str, Any], review_context: ReviewContext
) -> str | None:
    """Return the record that the template is to have.

    A user who leaves the template as it is, such as one who scales the workload, does not become its creator: another
    annotation would start new pods.
    """
    old = _template(review.old_object, path) if review.operation is Operation.UPDATE else None
    if old is not None and _without_record(old) == _without_record(template):
        return _annotations(old).get(names.CREATOR_ANNOTATION)
    return signed_creator(review.user, review.namespace, review_context)


def _operations(path: tuple[str, ...], template: Mapping[str, Any], annotation: str | None) -> list[PatchOperation]:
    annotations = _annotations(template)
    if annotations.get(names.CREATOR_ANNOTATION) == annotation:
        return []
    pointer = json_pointer(*path, "metadata", "annotations", names.CREATOR_ANNOTATION)
    if annotation is None:
        return [{"op": "remove", "path": pointer}]
    operations: list[PatchOperation] = []
    if not isinstance(template["metadata"].get("annotations"), Mapping):
        operations.append({"op": "add", "path": json_pointer(*path, "metadata", "annotations"), "value": {}})
    return [*operations, {"op": "add", "path": pointer, "value": annotation}]


def _preview(
    review: Review, template: Mapping[str, Any], annotation: str | None, review_context: ReviewContext
) -> tuple[Denied | None, tuple[str, ...]]:
    """Decide about a pod of the template, and return the denial and what the person should know."""
    try:
        pod = _pod(review, template)
    except DeniedError:
        # The API server explains a broken template better.
        return None, ()
    creator = recorded_creator(annotation, review.namespace, review_context) or ""
    record = AdmissionRecord(creator=creator)
    writings = Writings(pod.labels, pod.annotations)
    issued = issue(record, Requester(creator), writings, {}, review_context.issuers)
    pod = dataclasses.replace(pod, record=issued.record)
    decision = decide(pod, review_context.inventory, _NO_BASE, review_context.settings, review_context.now)
    if isinstance(decision, Denied):
        return decision, (f"pods of this {review.kind} would be denied now: {decision.reason}: {decision.message}",)
    return None, (*issued.unusable, *(warning.message for warning in decision.injection.warnings))


def _pod(review: Review, template: Mapping[str, Any]) -> Pod:
    """Return a pod as a controller would create it from the template.

    Raises:
        DeniedError: The template is not that of a valid pod.
    """
    return parse_pod(pod_of_template(template, review.name), review.namespace)


def _annotations(template: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = template["metadata"].get("annotations")
    return annotations if isinstance(annotations, Mapping) else {}


def _without_record(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the template without the record, and without the difference between no annotations and none."""
    annotations = {name: text for name, text in _annotations(template).items() if name != names.CREATOR_ANNOTATION}
    metadata = {name: member for name, member in template["metadata"].items() if name != "annotations"}
    return {**template, "metadata": {**metadata, "annotations": annotations}}
