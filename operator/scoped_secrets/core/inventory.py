"""The bindings, definitions and policies of the cluster, with a few minutes of history.

One thread owns an inventory and uses it without locks. Time is an argument, in seconds of a monotonic clock.

Definitions are indexed by organization, project and name, so that a decision costs the same with ten definitions and
with ten thousand. Superseded generations stay for a few minutes, because one process admits a pod and another renders
its bundle: the second can read the state that the first has read (DESIGN section 9).
"""

from collections import Counter, deque
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple, TypeVar

from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.past_state import PastState, Version
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Attach, Definition, SlottedDefinition
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import ScopePath, Slot, assign_slot
from scoped_secrets.core.scope.trust import Territory, Trust
from scoped_secrets.errors import DeniedError
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["HISTORY_SECONDS", "CollisionKey", "Inventory", "RejectedDefinition"]

HISTORY_SECONDS = 300.0
"""How long a superseded definition is kept."""

# 11 MB when it is full of the largest bundles; usually less than one.
_MEMO_SIZE = 100_000
_Key = TypeVar("_Key")
_OPEN = Territory()
_NO_ENVIRONMENTS: Mapping[str, Collection[str]] = {}


class CollisionKey(NamedTuple):
    """The organization and ``secretName`` that colliding definitions share (rule A)."""

    organization: str
    secret_name: str


class _IndexKey(NamedTuple):
    """The index of definitions."""

    organization: str
    project: str | None
    secret_name: str


@dataclass(frozen=True, slots=True)
class RejectedDefinition:
    """A definition that its namespace may not contain; it is never a candidate."""

    definition: Definition
    denial: DeniedError


class Inventory:
    """The store that decisions read; as a ``ClusterSnapshot`` it is the present state."""

    def __init__(self) -> None:
        """Begin empty."""
        self._bindings: dict[str, Binding] = {}
        self._homes: dict[str, set[str]] = {}
        self._environments: dict[tuple[str, str | None], dict[str, set[str]]] = {}
        self._definitions: dict[str, SlottedDefinition | RejectedDefinition] = {}
        self._by_namespace: dict[str, set[str]] = {}
        self._index: dict[_IndexKey, dict[str, Version]] = {}
        self._by_collision: dict[CollisionKey, set[str]] = {}
        self._attached: dict[tuple[str, str | None], Counter[str]] = {}
        self._policies: dict[str, Policy] = {}
        self._policies_by_namespace: dict[str, set[str]] = {}
        self._policy_index: dict[tuple[str, str | None], dict[str, Policy]] = {}
        self._superseded: deque[Version] = deque()
        self._appeared: deque[Version] = deque()
        self.memo = Memo(_MEMO_SIZE)

    # The present state, as decisions read it

    def binding(self, namespace: str) -> Binding | None:
        """Return the scope path of a namespace."""
        return self._bindings.get(namespace)

    def definitions(self, organization: str, project: str | None, name: str) -> Sequence[SlottedDefinition]:
        """Return the definitions of one name along a path."""
        return [version.slotted for version in self._versions(organization, project, name)]

    def attached(self, organization: str, project: str | None) -> Collection[str]:
        """Return the names with ``attach: Always`` along a path."""
        return {name for key in _path_keys(organization, project) for name in self._attached.get(key, ())}

    def territory(self, path: ScopePath) -> Territory:
        """Return whose objects count for the jobs at a path."""
        own = self.environments(path.organization, path.project).get(path.environment or "")
        if not own:
            return _OPEN
        consents = all(self._bindings[namespace].allows_project_attach for namespace in own)
        return Territory(is_own=True, admits_attached=consents)

    def environments(self, organization: str, project: str | None) -> Mapping[str, Collection[str]]:
        """Return the namespaces of each environment of a project that has namespaces of its own."""
        return self._environments.get((organization, project), _NO_ENVIRONMENTS)

    def home_attach_paths(self, organization: str) -> Sequence[str]:
        """Return the paths below which the home allows attached bundles to have files."""
        homes = self._homes.get(organization, ())
        return [path for namespace in sorted(homes) for path in self._bindings[namespace].attach_paths]

    def policies(self, organization: str, project: str | None) -> Sequence[Policy]:
        """Return the policies of the organization's home and of one project."""
        return [
            policy for key in _path_keys(organization, project) for policy in self._policy_index.get(key, {}).values()
        ]

    # What statuses and metrics read

    def __len__(self) -> int:
        """Return the number of definitions."""
        return len(self._definitions)

    def get(self, location: str) -> SlottedDefinition | RejectedDefinition | None:
        """Return the definition at ``namespace/name``."""
        return self._definitions.get(location)

    def colliding(self, key: CollisionKey) -> Iterator[SlottedDefinition]:
        """Yield all slotted definitions of a name in an organization, in any project."""
        for location in self._by_collision.get(key, ()):
            entry = self._definitions[location]
            if isinstance(entry, SlottedDefinition):
                yield entry

    def get_policy(self, location: str) -> Policy | None:
        """Return the policy at ``namespace/name``, with or without a scope path."""
        return self._policies.get(location)

    def overlap_candidates(self, slot: Slot) -> Iterator[SlottedDefinition]:
        """Yield the slotted definitions that overlap a slot, itself included, and possibly others of its name.

        A slot of a project overlaps slots of the organization and of the same project only. Thousands of projects may
        define one name: to read all of them for each would make a start quadratic.
        """
        if slot.project is None:
            return self.colliding(CollisionKey(slot.organization, slot.secret_name))
        return (version.slotted for version in self._versions(slot.organization, slot.project, slot.secret_name))

    def namespace_policies(self, namespace: str) -> Iterator[Policy]:
        """Yield the policies in a namespace, with or without a scope path."""
        return (self._policies[location] for location in sorted(self._policies_by_namespace.get(namespace, ())))

    def namespace_definitions(self, namespace: str) -> Collection[str]:
        """Return the locations of the definitions in a namespace."""
        return self._by_namespace.get(namespace, ())

    def bindings(self) -> Collection[Binding]:
        """Return the scope paths of all namespaces that have one."""
        return self._bindings.values()

    def locations(self) -> Collection[str]:
        """Return ``namespace/name`` of all definitions."""
        return self._definitions.keys()

    def policy_locations(self) -> Collection[str]:
        """Return ``namespace/name`` of all policies."""
        return self._policies.keys()

    def namespaces(self) -> Collection[str]:
        """Return the names of all namespaces that have a scope path."""
        return self._bindings.keys()

    # Changes

    def put_binding(self, namespace: str, binding: Binding | None, now: float) -> set[str]:
        """Set a namespace's scope path, and return the locations of the definitions that this can affect."""
        before = self._bindings.get(namespace)
        if before == binding:
            return set()
        self.memo.clear()
        affected = self._leave_environment(before)
        if before is not None and before.trust is Trust.HOME:
            _discard(self._homes, before.organization, namespace)
        if binding is not None and binding.trust is Trust.HOME:
            self._homes.setdefault(binding.organization, set()).add(namespace)
        if binding is None:
            self._bindings.pop(namespace, None)
        else:
            self._bindings[namespace] = binding
            affected |= self._enter_environment(binding)
        for location in sorted(self._by_namespace.get(namespace, ())):
            entry = self._definitions[location]
            affected |= self.put_definition(entry.definition, now)
        for policy in list(self.namespace_policies(namespace)):
            self.put_policy(policy)
        return affected

    def _enter_environment(self, binding: Binding) -> set[str]:
        if binding.environment is None:
            return set()
        environments = self._environments.setdefault((binding.organization, binding.project), {})
        environments.setdefault(binding.environment, set()).add(binding.namespace)
        return self._of_project(binding)

    def _leave_environment(self, binding: Binding | None) -> set[str]:
        if binding is None or binding.environment is None:
            return set()
        key = binding.organization, binding.project
        environments = self._environments[key]
        _discard(environments, binding.environment, binding.namespace)
        if not environments:
            del self._environments[key]
        return self._of_project(binding)

    def _of_project(self, binding: Binding) -> set[str]:
        """Return the locations of the definitions in the project's own namespaces, and of those that they overlap."""
        own = {
            location
            for namespace in self._by_namespace
            if (other := self._bindings.get(namespace)) is not None
            and (other.organization, other.project) == (binding.organization, binding.project)
            for location in self._by_namespace[namespace]
        }
        entries = (self._definitions[location] for location in own)
        slots = (entry.slot for entry in entries if isinstance(entry, SlottedDefinition))
        return own.union(*map(self._overlapping, slots))

    def put_definition(self, definition: Definition, now: float) -> set[str]:
        """Add or replace a definition, and return the locations of those whose status this can affect."""
        location = definition.location
        slotted = self._place(definition)
        if self._definitions.get(location) == slotted:
            return set()
        self.memo.clear()
        affected = self.remove_definition(location, now)
        self._definitions[location] = slotted
        self._by_namespace.setdefault(definition.namespace, set()).add(location)
        if isinstance(slotted, SlottedDefinition):
            self._insert(slotted, now)
            affected |= self._overlapping(slotted.slot)
        return affected | {location}

    def remove_definition(self, location: str, now: float) -> set[str]:
        """Remove a definition, and return the locations of those whose status this can affect."""
        entry = self._definitions.pop(location, None)
        if entry is None:
            return set()
        self.memo.clear()
        _discard(self._by_namespace, entry.definition.namespace, location)
        if isinstance(entry, RejectedDefinition):
            return set()
        slot = entry.slot
        indexed = self._index[_index_key(slot)]
        version = indexed.pop(location)
        if not indexed:
            del self._index[_index_key(slot)]
        _discard(self._by_collision, CollisionKey(slot.organization, slot.secret_name), location)
        if entry.definition.attach is Attach.ALWAYS:
            self._detach(slot)
        self.forget(now)
        self._superseded.append(replace(version, until=now))
        return self._overlapping(slot)

    def put_policy(self, policy: Policy) -> None:
        """Add or replace a policy; its namespace's scope path decides what it governs."""
        binding = self._bindings.get(policy.namespace)
        organization = binding.organization if binding is not None else ""
        project = binding.project if binding is not None else None
        environment = binding.environment if binding is not None else None
        slotted = replace(policy, organization=organization, project=project, environment=environment)
        if self._policies.get(policy.location) == slotted:
            return
        self.memo.clear()
        self.remove_policy(policy.location)
        self._policies[policy.location] = slotted
        self._policies_by_namespace.setdefault(policy.namespace, set()).add(policy.location)
        # A policy without a scope path governs nothing: no organization has the empty name.
        self._policy_index.setdefault((organization, project), {})[policy.location] = slotted

    def remove_policy(self, location: str) -> None:
        """Remove a policy."""
        policy = self._policies.pop(location, None)
        if policy is None:
            return
        self.memo.clear()
        key = policy.organization, policy.project
        indexed = self._policy_index[key]
        del indexed[location]
        if not indexed:
            del self._policy_index[key]
        _discard(self._policies_by_namespace, policy.namespace, location)

    def forget(self, now: float) -> None:
        """Drop the generations that are too old."""
        while self._superseded and self._superseded[0].until < now - HISTORY_SECONDS:
            self._superseded.popleft()
        while self._appeared and self._appeared[0].since < now - HISTORY_SECONDS:
            self._appeared.popleft()

    # The past

    def snapshots(
        self, organization: str, *, names: Container[str] | None = None, after: float = -inf
    ) -> Iterator[ClusterSnapshot]:
        """Yield the past states of an organization's definitions, from the latest to the oldest.

        Args:
            organization: The organization.
            names: The bundles that matter, beside those with ``attach: Always``; by default all. States that differ in
                other bundles only are skipped: there may be thousands.
            after: The time of the first complete list. Objects that appeared earlier existed before it.
        """

        def is_relevant(version: Version) -> bool:
            slot, attach = version.slotted.slot, version.slotted.definition.attach
            if slot.organization != organization:
                return False
            return names is None or slot.secret_name in names or attach is Attach.ALWAYS

        superseded = [version for version in self._superseded if is_relevant(version)]
        moments = {version.until for version in superseded}
        moments.update(version.since for version in self._appeared if is_relevant(version))
        for moment in sorted((moment for moment in moments if moment > after), reverse=True):
            yield PastState(self, self._versions, moment, superseded)

    def _versions(self, organization: str, project: str | None, name: str) -> Iterator[Version]:
        for key in _path_keys(organization, project):
            indexed = self._index.get(_IndexKey(*key, name))
            if indexed is not None:
                yield from indexed.values()

    def _place(self, definition: Definition) -> SlottedDefinition | RejectedDefinition:
        binding = self._bindings.get(definition.namespace)
        try:
            slot = assign_slot(
                binding,
                definition.scope,
                definition.project,
                definition.environment,
                definition.secret_name,
            )
        except DeniedError as denial:
            return RejectedDefinition(definition, denial)
        # Without a binding no slot is assigned.
        return SlottedDefinition(definition, slot, Trust.PROJECT if binding is None else binding.trust)

    def _insert(self, slotted: SlottedDefinition, now: float) -> None:
        slot, definition = slotted.slot, slotted.definition
        version = Version(slotted, now)
        self._index.setdefault(_index_key(slot), {})[definition.location] = version
        self._appeared.append(version)
        self._by_collision.setdefault(CollisionKey(slot.organization, slot.secret_name), set()).add(definition.location)
        if definition.attach is Attach.ALWAYS:
            self._attached.setdefault((slot.organization, slot.project), Counter())[slot.secret_name] += 1

    def _detach(self, slot: Slot) -> None:
        key = slot.organization, slot.project
        counter = self._attached[key]
        counter[slot.secret_name] -= 1
        if not counter[slot.secret_name]:
            del counter[slot.secret_name]
        if not counter:
            del self._attached[key]

    def _overlapping(self, slot: Slot) -> set[str]:
        return {slotted.definition.location for slotted in self.overlap_candidates(slot) if slotted.slot.overlaps(slot)}


def _path_keys(organization: str, project: str | None) -> tuple[tuple[str, str | None], ...]:
    return ((organization, None),) if project is None else ((organization, None), (organization, project))


def _index_key(slot: Slot) -> _IndexKey:
    return _IndexKey(slot.organization, slot.project, slot.secret_name)


def _discard(index: dict[_Key, set[str]], key: _Key, location: str) -> None:
    members = index[key]
    members.discard(location)
    if not members:
        del index[key]
