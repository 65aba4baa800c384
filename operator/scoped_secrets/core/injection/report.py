"""The report of where everything that a job gets comes from: names only (DESIGN section 8).

The short form is the pod's annotation, which also pins the definitions in use. The full form, with every variable and
file, is ``resolution.json`` in the job.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scoped_secrets.core.grant import Grant, GrantedBundle
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.containers import ContainerInjection
from scoped_secrets.core.injection.entries import BundleEntries, overridden_bundles
from scoped_secrets.core.injection.files import FilePlacement, PlacedFiles
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["ResolutionReport", "pins_of", "report_resolution"]


@dataclass(frozen=True, slots=True)
class ResolutionReport:
    """What a pod and its job are told about the resolution.

    Attributes:
        annotation: The text of the pod's annotation: the bundles, the definitions that they hide, the policies that
            allow them, and every override.
        document: The text of ``resolution.json``: in addition, the origin of every variable and file.
    """

    annotation: str
    document: str


def report_resolution(
    grant: Grant, bundle_entries: BundleEntries, injections: Sequence[ContainerInjection]
) -> ResolutionReport:
    """Return the report of one injection.

    Args:
        grant: What the pod gets.
        bundle_entries: The entries of all bundles.
        injections: What the containers get.
    """
    annotation = _dump(_summary(grant, bundle_entries, injections))
    variables = bundle_entries.memo.get(("origins",), _variable_origins, bundle_entries)
    files = (
        f"{_dump(each.container.name)}:{each.files.memo.get(('origins',), _file_origins, each.files)}"
        for each in injections
    )
    # The parts are texts already.
    document = f'{annotation.removesuffix("}")},"env":{variables},"files":{{{",".join(files)}}}}}'
    return ResolutionReport(annotation, document)


def pins_of(annotation: str | None) -> tuple[str, ...] | None:
    """Return the pins in an annotation; ``None`` when it is missing or not written by the operator."""
    if annotation is None:
        return None
    try:
        bundles = json.loads(annotation)["bundles"]
        pins = [pin for bundle in bundles for pin in (bundle["pin"], *(m["pin"] for m in bundle.get("mergedFrom", ())))]
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return tuple(pins) if all(isinstance(pin, str) for pin in pins) else None


def _summary(grant: Grant, bundle_entries: BundleEntries, injections: Sequence[ContainerInjection]) -> dict[str, Any]:
    path = grant.path
    document: dict[str, Any] = {"organization": path.organization}
    if path.project is not None:
        document["project"] = path.project
    if path.environment is not None:
        document["environment"] = path.environment
    if grant.claims:
        document["claims"] = {claim.name: {"value": claim.value, "source": claim.source} for claim in grant.claims}
    document["bundles"] = [_bundle(grant, applied) for applied in grant.applied]
    overrides = dict(bundle_entries.memo.get(("overrides",), _overrides, bundle_entries.variables))
    for injection in injections:
        files = injection.files
        overrides |= files.memo.get(("overrides",), _overrides, files.providers)
    if overrides:
        document["overridden"] = overrides
    declared = {each.container.name: list(each.declared) for each in injections if each.declared}
    if declared:
        document["kept"] = declared
    missing = {key for injection in injections for key in injection.left_out}
    if missing:
        document["missing"] = sorted(missing)
    if grant.left_out:
        document["leftOut"] = [{"name": left.name, "reason": left.reason.value} for left in grant.left_out]
    return document


def _overrides(providers_of: Mapping[str, Sequence[BundleEntry]]) -> dict[str, Any]:
    """Return the bundle whose entry wins, and those that lose, of each key with entries of several bundles."""
    return {
        key: {"bundle": providers[-1].bundle, "over": list(lost)}
        for key, providers in providers_of.items()
        if (lost := overridden_bundles(providers))
    }


def _bundle(grant: Grant, applied: GrantedBundle) -> dict[str, Any]:
    key = "bundle", grant.path, applied.name, applied.is_attached
    document = grant.memo.get(key, _describe, applied)
    permissions = [
        {"policy": allowed.policy, "rule": allowed.rule}
        for allowed in dict.fromkeys(applied.allowed)
        if allowed.policy is not None
    ]
    return document | {"allowedBy": permissions} if permissions else document


def _describe(applied: GrantedBundle) -> dict[str, Any]:
    """Return what is told about a bundle, except for the policies that allow it."""
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
    return document


def _definition(slotted: SlottedDefinition) -> dict[str, str]:
    return {"definition": slotted.definition.location, "pin": slotted.definition.pin}


def _variable_origins(bundle_entries: BundleEntries) -> str:
    return _dump({name: _origin(providers) for name, providers in bundle_entries.variables.items()})


def _file_origins(files: PlacedFiles) -> str:
    origins = {
        path: _origin(providers) | _file(files.placements.get(path)) for path, providers in files.providers.items()
    }
    return _dump(origins)


def _origin(providers: Sequence[BundleEntry]) -> dict[str, Any]:
    winner = providers[-1]
    resolved = winner.resolved
    origin: dict[str, Any] = {"bundle": winner.bundle, "definition": resolved.definition.location}
    lost = overridden_bundles(providers)
    if lost:
        origin["over"] = list(lost)
    return origin


def _file(file: FilePlacement | None) -> dict[str, Any]:
    """Return the mode that the container sees, and the variable that holds the path; nothing without the file."""
    if file is None:
        return {}
    variable = file.bundle_entry.resolved.entry.env
    return {"mode": f"{file.mode.seen:04o}", **({} if variable is None else {"env": variable})}


def _dump(document: Mapping[str, Any] | str) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
