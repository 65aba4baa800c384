"""Every name that a job at one path can use, and where it comes from: the resolver's answer, for all names at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from scoped_secrets.core.injection.optional_entries import has_ended
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import Attach, SlottedDefinition
from scoped_secrets.core.resolution.resolve import Resolution, resolve
from scoped_secrets.core.scope.slot import ScopePath
from scoped_secrets.operations.effects import governing

__all__ = ["EffectiveEntry", "effective_entries"]


@dataclass(frozen=True, slots=True)
class EffectiveEntry:
    """One variable or file that a job can use.

    Attributes:
        bundle: The name of the bundle, as the job references it.
        name: The variable, or the path of the file.
        kind: `variable` or `file`.
        source: The definition that it comes from, as `namespace/name`.
        scope: The scope of that definition.
        winner: The definition that wins the name of the bundle.
        hidden: The definitions of the bundle that contribute nothing.
        is_attached: Whether jobs get the bundle without naming it.
        policies: The policies that govern a definition of the bundle and decide who may use it.
    """

    bundle: str
    name: str
    kind: str
    source: str
    scope: str
    winner: str
    hidden: tuple[str, ...]
    is_attached: bool
    policies: tuple[str, ...]


def effective_entries(inventory: Inventory, path: ScopePath, now: datetime) -> list[EffectiveEntry]:
    """Return what a job at a path can use now, in the order of bundles, variables before files."""
    return [
        entry
        for name in sorted(_names(inventory, path))
        if (resolution := _resolve(inventory, path, name)) is not None
        for entry in _entries(resolution, inventory, now)
    ]


def _names(inventory: Inventory, path: ScopePath) -> set[str]:
    return {
        entry.slot.secret_name
        for location in inventory.locations()
        if isinstance(entry := inventory.get(location), SlottedDefinition) and entry.slot.applies_to(path)
    }


def _resolve(inventory: Inventory, path: ScopePath, name: str) -> Resolution | None:
    definitions = inventory.definitions(path.organization, path.project, name)
    return resolve(name, definitions, path, inventory.territory(path))


def _entries(resolution: Resolution, inventory: Inventory, now: datetime) -> Iterator[EffectiveEntry]:
    winner = resolution.winner
    scopes = {each.definition.location: each.slot.scope.value for each in resolution.contributors}
    policies = sorted({policy.location for each in resolution.contributors for policy in governing(each, inventory)})
    hidden = tuple(each.definition.location for each in (*resolution.shadowed, *resolution.blocked))
    found = [
        *((name, "variable", resolved) for name, resolved in sorted(resolution.variables().items())),
        *((resolved.entry.name, "file", resolved) for resolved in resolution.files()),
    ]
    for name, kind, resolved in found:
        if has_ended(resolved.entry, "", None, now):
            continue
        yield EffectiveEntry(
            bundle=resolution.name,
            name=name,
            kind=kind,
            source=resolved.definition.location,
            scope=scopes[resolved.definition.location],
            winner=winner.definition.location,
            hidden=hidden,
            is_attached=winner.definition.attach is Attach.ALWAYS,
            policies=tuple(policies),
        )
