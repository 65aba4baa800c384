"""Where each thing that a job gets comes from: names only (DESIGN section 8).

The short form is the pod's annotation, which also pins what was used; the full form, with every variable and file, is
``resolution.json`` in the job.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scoped_secrets.core.grant import Grant, GrantedBundle
from scoped_secrets.core.injection.entries import BundleEntry, overridden_bundles
from scoped_secrets.core.resolution.definitions import FileEntry, SlottedDefinition

__all__ = ["InjectionTrace", "pins_of", "texts"]


@dataclass(frozen=True, slots=True)
class InjectionTrace:
    """What injection decided key by key.

    Attributes:
        variables: The holders of each variable; the last one won.
        files: For each container the files by absolute path, in the same form.
        kept: For each container the variables of its own that won over an injected one.
        missing: The variables and absolute paths that the job goes without, because their optional source is missing.
    """

    variables: Mapping[str, Sequence[BundleEntry]]
    files: dict[str, Mapping[str, Sequence[BundleEntry]]] = field(default_factory=dict)
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


def texts(grant: Grant, trace: InjectionTrace) -> tuple[str, str]:
    """Return the pod's annotation and ``resolution.json``.

    The annotation tells of bundles, what they won over, who allowed them, and every override; the file has in addition
    the origin of every variable and file.
    """
    document = _summary(grant, trace)
    annotation = _dump(document)
    document["env"] = {name: _origin(providers) for name, providers in trace.variables.items()}
    document["files"] = {
        container: {path: _origin(providers) for path, providers in files.items()}
        for container, files in trace.files.items()
    }
    return annotation, _dump(document)


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


def _summary(grant: Grant, trace: InjectionTrace) -> dict[str, Any]:
    path = grant.path
    document: dict[str, Any] = {"organization": path.organization}
    if path.project is not None:
        document["project"] = path.project
    if path.environment is not None:
        document["environment"] = path.environment
    document["bundles"] = [_bundle(applied) for applied in grant.applied]
    overrides = {
        key: {"bundle": providers[-1].bundle, "over": list(lost)}
        for found in (trace.variables, *trace.files.values())
        for key, providers in found.items()
        if (lost := overridden_bundles(providers))
    }
    if overrides:
        document["overridden"] = overrides
    if any(trace.kept.values()):
        document["kept"] = {container: list(kept) for container, kept in trace.kept.items() if kept}
    if trace.missing:
        document["missing"] = sorted(trace.missing)
    if grant.left_out:
        document["leftOut"] = [{"name": left.name, "reason": left.reason.value} for left in grant.left_out]
    return document


def _bundle(applied: GrantedBundle) -> dict[str, Any]:
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
        document["mergedFrom"] = [_definition(slotted) for slotted in merged]
    for key, others in (("shadowed", resolution.shadowed), ("blocked", resolution.blocked)):
        if others:
            document[key] = [slotted.definition.location for slotted in others]
    permissions = [
        {"policy": allowed.policy, "rule": allowed.rule}
        for allowed in dict.fromkeys(applied.allowed)
        if allowed.policy is not None
    ]
    if permissions:
        document["allowedBy"] = permissions
    return document


def _definition(slotted: SlottedDefinition) -> dict[str, str]:
    return {"definition": slotted.definition.location, "pin": slotted.definition.pin}


def _origin(providers: Sequence[BundleEntry]) -> dict[str, Any]:
    winner = providers[-1]
    contribution = winner.contribution
    origin: dict[str, Any] = {"bundle": winner.bundle, "definition": contribution.definition.location}
    if isinstance(contribution.entry, FileEntry):
        origin["mode"] = f"{contribution.entry.mode:04o}"
    lost = overridden_bundles(providers)
    if lost:
        origin["over"] = list(lost)
    return origin


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
