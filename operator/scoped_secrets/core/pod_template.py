"""The pod template of a workload, and the pod that Kubernetes' controllers create from it."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["pod_of_template", "template_of", "template_path"]

_TEMPLATE: Final = ("spec", "template")
_CRON_JOB_TEMPLATE: Final = ("spec", "jobTemplate", "spec", "template")


def template_path(kind: str) -> tuple[str, ...]:
    """Return where a workload of a kind has its pod template."""
    return _CRON_JOB_TEMPLATE if kind == "CronJob" else _TEMPLATE


def template_of(body: Mapping[str, Any] | None, path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the template at a path; ``None`` when there is none."""
    part: Any = body
    for name in path:
        part = part.get(name) if isinstance(part, Mapping) else None
    return part if isinstance(part, Mapping) else None


def pod_of_template(template: Mapping[str, Any], workload: str) -> dict[str, Any]:
    """Return the body of a pod as a controller creates it from the template of the workload of this name."""
    metadata = template.get("metadata")
    given = dict(metadata) if isinstance(metadata, Mapping) else {}
    given.pop("name", None)
    return {**template, "metadata": {**given, "generateName": f"{workload}-"}}
