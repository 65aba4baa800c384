"""Definitions that no job of the known namespaces can get, because others of their name hide them everywhere."""

from collections.abc import Iterator

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.resolution.resolve import resolve
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath

__all__ = ["hidden_by"]


def hidden_by(location: str, inventory: Inventory) -> tuple[str, ...]:
    """Return the winners over a definition, if it loses for every job that it applies to; else nothing.

    Args:
        location: The definition's `namespace/name`.
        inventory: All definitions and namespaces. Jobs are those of its namespaces, for every environment that these
            have or allow.
    """
    entry = inventory.get(location)
    if not isinstance(entry, SlottedDefinition):
        return ()
    winners: set[str] = set()
    for path in _paths(entry, inventory):
        definitions = inventory.definitions(path.organization, path.project, entry.slot.secret_name)
        resolution = resolve(entry.slot.secret_name, definitions, path, inventory.territory(path))
        if resolution is None:
            continue
        if entry in resolution.contributors:
            return ()
        if entry in (*resolution.shadowed, *resolution.blocked):
            winners.add(resolution.winner.definition.location)
    return tuple(sorted(winners))


def _paths(entry: SlottedDefinition, inventory: Inventory) -> Iterator[ScopePath]:
    """Yield where jobs can stand that the definition applies to."""
    for binding in inventory.bindings():
        if binding.organization == entry.slot.organization:
            for environment in _environments(binding, entry):
                path = ScopePath(binding.organization, binding.project, environment)
                if entry.slot.applies_to(path):
                    yield path


def _environments(binding: Binding, entry: SlottedDefinition) -> Iterator[str | None]:
    """Yield the environments for which jobs of a namespace can run; of a pattern, one name that matches it."""
    yield binding.environment
    if binding.project is None or binding.environment is not None:
        return
    for pattern in (*binding.allow_environments, entry.slot.environment):
        if pattern is not None:
            yield pattern.replace("*", "x")
