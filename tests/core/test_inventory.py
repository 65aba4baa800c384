"""The inventory against a naive model: everything that it may be told, in any order, and every question about it."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.strategies import BUNDLES, NAMESPACES, definitions, examples, policies
from tests.support.builders import NOW, definition, definition_at, inventory, scope_labels

from scoped_secrets.core.inventory import HISTORY_SECONDS, CollisionKey, Inventory
from scoped_secrets.core.policy.policy import Policy
from scoped_secrets.core.resolution.definitions import Attach, Definition, SlottedDefinition
from scoped_secrets.core.scope.binding import Binding, bind
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.core.status import status_of

PATHS = [(organization, project) for organization in ("acme", "rival", "default") for project in (None, "web", "api")]
BINDINGS = tuple(
    bind("", metadata.get("labels", {}), metadata.get("annotations", {}), "default") for metadata in NAMESPACES.values()
)


def lookups(snapshot) -> dict[tuple[str, str | None, str], Any]:
    """Return the answers to every question about definitions."""
    return {
        (organization, project, name): sorted(
            (slotted.definition.pin, slotted.definition.created, slotted.slot)
            for slotted in snapshot.definitions(organization, project, name)
        )
        for organization, project in PATHS
        for name in BUNDLES
    }


class Model(RuleBasedStateMachine):
    """Tells an inventory and a few plain dictionaries the same things."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = Inventory()
        self.bindings: dict[str, Binding] = {}
        self.definitions: dict[str, Definition] = {}
        self.policies: dict[str, Policy] = {}
        self.now = 1000.0
        # What was true before each moment at which something changed, by the answers of an inventory made anew.
        self.history: dict[float, dict[tuple[str, str | None, str], Any]] = {}

    # What happens

    @initialize()
    def administrators_label_some_namespaces(self):
        for namespace in ("acme", "web", "web-production"):
            self.set_binding(namespace, list(NAMESPACES).index(namespace))

    @rule(namespace=st.sampled_from(tuple(NAMESPACES)), number=st.integers(0, len(NAMESPACES) - 1))
    def set_binding(self, namespace: str, number: int):
        given = BINDINGS[number]
        binding = None
        if given is not None:
            binding = Binding(namespace, given.organization, given.project, given.environment)
        self.remember()
        statuses = self.statuses()
        concerned = self.inventory.put_binding(namespace, binding, self.now)
        self.bindings.pop(namespace, None)
        if binding is not None:
            self.bindings[namespace] = binding
        self.check_concerned(statuses, concerned)

    @rule(item=definitions(), generation=st.integers(1, 3))
    def put_definition(self, item: Definition, generation: int):
        self.remember()
        statuses = self.statuses()
        concerned = self.inventory.put_definition(item, self.now)
        self.definitions[item.location] = item
        self.check_concerned(statuses, concerned)

    @rule(data=st.data())
    @precondition(lambda self: self.definitions)
    def remove_definition(self, data: st.DataObject):
        location = data.draw(st.sampled_from(sorted(self.definitions)))
        self.remember()
        statuses = self.statuses()
        concerned = self.inventory.remove_definition(location, self.now)
        del self.definitions[location]
        self.check_concerned(statuses, concerned)

    @rule(item=policies())
    def put_policy(self, item: Policy):
        self.inventory.put_policy(item)
        self.policies[item.location] = item

    @rule(item=policies())
    def remove_policy(self, item: Policy):
        self.inventory.remove_policy(item.location)
        self.policies.pop(item.location, None)

    @rule(seconds=st.sampled_from((0.001, 1.0, 100.0, HISTORY_SECONDS + 1)))
    def wait(self, seconds: float):
        self.now += seconds

    # What must hold

    @invariant()
    def every_lookup_is_what_an_inventory_made_anew_says(self):
        fresh = self.fresh()
        assert lookups(self.inventory) == lookups(fresh)
        for organization, project in PATHS:
            assert set(self.inventory.attached(organization, project)) == self.attached(organization, project)
            found = self.inventory.policies(organization, project)
            assert sorted(item.location for item in found) == self.governing(organization, project)
        for name in BUNDLES:
            for organization in ("acme", "rival", "default"):
                key = CollisionKey(organization, name)
                assert sorted(slotted.definition.pin for slotted in self.inventory.colliding(key)) == sorted(
                    slotted.definition.pin for slotted in fresh.colliding(key)
                )

    @invariant()
    def what_meets_a_slot_is_found_without_a_look_at_every_project(self):
        for location in self.definitions:
            entry = self.inventory.get(location)
            if isinstance(entry, SlottedDefinition):
                key = CollisionKey(entry.slot.organization, entry.slot.secret_name)
                overlapping = {one.slot for one in self.inventory.colliding(key) if one.slot.overlaps(entry.slot)}
                meeting = {one.slot for one in self.inventory.overlap_candidates(entry.slot)}
                assert overlapping <= meeting
                if entry.slot.project is not None:
                    assert {slot.project for slot in meeting} <= {None, entry.slot.project}

    @invariant()
    def it_holds_what_it_was_told_and_nothing_else(self):
        assert len(self.inventory) == len(self.definitions)
        assert set(self.inventory.locations()) == set(self.definitions)
        assert set(self.inventory.policy_locations()) == set(self.policies)
        assert set(self.inventory.namespaces()) == set(self.bindings)
        for location, item in self.definitions.items():
            assert definition_at(self.inventory, location).definition == item
        for namespace in NAMESPACES:
            assert self.inventory.binding(namespace) == self.bindings.get(namespace)

    @invariant()
    def each_snapshot_is_a_state_that_was(self):
        for organization in ("acme", "rival"):
            keys = [key for key in lookups(self.inventory) if key[0] == organization]
            seen = [
                {key: answer for key, answer in lookups(snapshot).items() if key in keys}
                for snapshot in self.inventory.snapshots(organization)
            ]
            were = [
                {key: answer for key, answer in state.items() if key in keys}
                for _, state in sorted(self.history.items(), reverse=True)
            ]
            remaining = iter(were)
            # Each one is found behind the one before it: from the latest to the oldest.
            assert all(any(state == past for past in remaining) for state in seen)

    @invariant()
    def no_state_of_the_last_minutes_is_forgotten(self):
        recent = {moment: state for moment, state in self.history.items() if moment >= self.now - HISTORY_SECONDS}
        for organization in ("acme", "rival"):
            kept = [lookups(snapshot) for snapshot in self.inventory.snapshots(organization)] + [
                lookups(self.inventory)
            ]
            for state in recent.values():
                answers = [item for item in state.items() if item[0][0] == organization]
                assert any(all(past[key] == answer for key, answer in answers) for past in kept)

    @invariant()
    def snapshots_know_every_attached_name_of_their_time(self):
        for snapshot in self.inventory.snapshots("acme"):
            for project in (None, "web", "api"):
                attached = {
                    name
                    for name in BUNDLES
                    for slotted in snapshot.definitions("acme", project, name)
                    if slotted.definition.attach is Attach.ALWAYS
                }
                assert attached <= set(snapshot.attached("acme", project))

    # The model

    def remember(self):
        """Note what is true just before this moment; a moment has one past, however much happens in it."""
        self.history.setdefault(self.now, lookups(self.inventory))

    def statuses(self) -> dict[str, Any]:
        return {
            location: status_of(definition_at(self.inventory, location), self.inventory, NOW)
            for location in self.inventory.locations()
        }

    def check_concerned(self, before: dict[str, Any], concerned: set[str]):
        changed = {location for location, status in self.statuses().items() if before.get(location) != status}
        assert changed <= concerned

    def fresh(self) -> Inventory:
        built = Inventory()
        for item in reversed(self.definitions.values()):
            built.put_definition(item, 0.0)
        for namespace, binding in self.bindings.items():
            built.put_binding(namespace, binding, 0.0)
        return built

    def attached(self, organization: str, project: str | None) -> set[str]:
        found = (self.inventory.get(location) for location in self.definitions)
        return {
            slotted.slot.secret_name
            for slotted in found
            if isinstance(slotted, SlottedDefinition)
            and slotted.slot.organization == organization
            and slotted.slot.project in (None, project)
            and slotted.definition.attach is Attach.ALWAYS
        }

    def governing(self, organization: str, project: str | None) -> list[str]:
        places = {location: self.bindings.get(item.namespace) for location, item in self.policies.items()}
        return sorted(
            location
            for location, over in places.items()
            if over is not None and over.organization == organization and over.project in (None, project)
        )

    def teardown(self):
        """Take everything away: what is left would be a leak."""
        for location in list(self.definitions):
            self.inventory.remove_definition(location, self.now)
        for location in list(self.policies):
            self.inventory.remove_policy(location)
        for namespace in NAMESPACES:
            self.inventory.put_binding(namespace, None, self.now)
        self.inventory.forget(self.now + HISTORY_SECONDS + 1)
        left = {name: value for name, value in vars(self.inventory).items() if value}
        assert left == {}
        super().teardown()


Model.TestCase.settings = examples(2, stateful_step_count=25)
TestInventory = Model.TestCase


def test_wider_definitions_are_concerned_when_an_environment_gets_or_loses_its_namespaces():
    namespaces = {
        "acme": {"labels": scope_labels("acme")},
        "web": {"labels": scope_labels("acme", "web")},
    }
    wide = definition("acme/aws", scope=Scope.ORGANIZATION)
    narrow = definition("web/aws", scope=Scope.ENVIRONMENT, environment="production")
    snapshot = inventory(namespaces, [wide, narrow])

    gets = snapshot.put_binding("web-production", Binding("web-production", "acme", "web", "production"), 1.0)
    loses = snapshot.put_binding("web-production", None, 2.0)

    assert gets == loses == {"acme/aws", "web/aws"}
