"""Where each thing that a job gets comes from: names only (DESIGN section 8).

The short form is the pod's annotation, which also pins what was used; the full form, with every variable and file, is
``resolution.json`` in the job.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scoped_secrets.core.definitions import FileEntry, Placed
from scoped_secrets.core.grant import Applied, Grant
from scoped_secrets.core.resolve import Contribution

__all__ = ["Trace", "annotation_text", "file_text", "pins_of"]


@dataclass(frozen=True, slots=True)
class Trace:
    """What injection decided key by key.

    Attributes:
        variables: Each variable with its bundle, its origin, and the bundles whose variable lost to it.
        files: For each container the files by absolute path, in the same form.
        kept: For each container the variables of its own that won over an injected one.
    """

    variables: dict[str, tuple[str, Contribution, tuple[str, ...]]] = field(default_factory=dict)
    files: dict[str, dict[str, tuple[str, Contribution, tuple[str, ...]]]] = field(default_factory=dict)
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)


def annotation_text(grant: Grant, trace: Trace) -> str:
    """Return the pod's annotation: bundles, what they won over, who allowed them, and every override."""
    return _dump(_summary(grant, trace))


def file_text(grant: Grant, trace: Trace) -> str:
    """Return ``resolution.json``: the annotation and the origin of every variable and file."""
    document = _summary(grant, trace)
    document["env"] = {
        name: _origin(bundle, contribution, losers) for name, (bundle, contribution, losers) in trace.variables.items()
    }
    document["files"] = {
        container: {path: _origin(*found) for path, found in files.items()} for container, files in trace.files.items()
    }
    return _dump(document)


def pins_of(annotation: str | None) -> tuple[str, ...] | None:
    """Return what an annotation pins, ``None`` when it is missing or not one of ours."""
    if annotation is None:
        return None
    try:
        bundles = json.loads(annotation)["bundles"]
        pins = [pin for bundle in bundles for pin in (bundle["pin"], *(m["pin"] for m in bundle.get("mergedFrom", ())))]
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return tuple(pins) if all(isinstance(pin, str) for pin in pins) else None


def _summary(grant: Grant, trace: Trace) -> dict[str, Any]:
    path = grant.path
    document: dict[str, Any] = {"organization": path.organization}
    if path.project is not None:
        document["project"] = path.project
    if path.environment is not None:
        document["environment"] = path.environment
    document["bundles"] = [_bundle(applied) for applied in grant.applied]
    overrides = {
        name: {"bundle": bundle, "over": list(losers)}
        for name, (bundle, _, losers) in trace.variables.items()
        if losers
    } | {
        path: {"bundle": bundle, "over": list(losers)}
        for files in trace.files.values()
        for path, (bundle, _, losers) in files.items()
        if losers
    }
    if overrides:
        document["overridden"] = overrides
    if any(trace.kept.values()):
        document["kept"] = {container: list(kept) for container, kept in trace.kept.items() if kept}
    if grant.left_out:
        document["leftOut"] = [{"name": left.name, "reason": left.reason.value} for left in grant.left_out]
    return document


def _bundle(applied: Applied) -> dict[str, Any]:
    resolution = applied.resolution
    winner, *merged = resolution.contributors
    document: dict[str, Any] = {
        "name": applied.name,
        **_definition(winner),
        "scope": winner.slot.scope.value,
    }
    if applied.is_attached:
        document["attached"] = True
    if merged:
        document["mergedFrom"] = [_definition(placed) for placed in merged]
    for key, others in (("shadowed", resolution.shadowed), ("blocked", resolution.blocked)):
        if others:
            document[key] = [placed.definition.location for placed in others]
    permissions = [
        {"policy": allowed.policy, "rule": allowed.rule}
        for allowed in dict.fromkeys(applied.allowed)
        if allowed.policy is not None
    ]
    if permissions:
        document["allowedBy"] = permissions
    return document


def _definition(placed: Placed) -> dict[str, str]:
    return {"definition": placed.definition.location, "pin": placed.definition.pin}


def _origin(bundle: str, contribution: Contribution, losers: tuple[str, ...]) -> dict[str, Any]:
    origin: dict[str, Any] = {"bundle": bundle, "definition": contribution.definition.location}
    if isinstance(contribution.entry, FileEntry):
        origin["mode"] = f"{contribution.entry.mode:04o}"
    if losers:
        origin["over"] = list(losers)
    return origin


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
