"""Properties of rule A (DESIGN section 4): one name, several definitions."""

from itertools import product

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.core import oracle
from tests.strategies import ENVIRONMENTS, PATTERNS, SEATS, Store, definitions, examples, stores

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import Override, SlottedDefinition
from scoped_secrets.core.resolution.resolve import Resolution, resolve, slot_owners
from scoped_secrets.core.scope.slot import Scope, ScopePath, Slot

PATHS = st.builds(
    ScopePath, st.just("acme"), st.sampled_from((None, "web", "web", "api")), st.sampled_from((None, *ENVIRONMENTS))
)
# One name and one organization, so that most stores have several candidates.
CROWDED = stores(
    definition=definitions(
        seats=[seat for seat in SEATS if seat[0] in {"acme", "web"} and seat[2] != "api"], bundles=["aws"]
    ),
    max_definitions=8,
    max_policies=0,
)


def placed_of(inventory: Inventory) -> list[SlottedDefinition]:
    entries = (inventory.get(location) for location in inventory.locations())
    return [entry for entry in entries if isinstance(entry, SlottedDefinition)]


def resolved(store: Store, path: ScopePath, name: str = "aws") -> tuple[list[SlottedDefinition], Resolution]:
    """Return the candidates and the resolution of a store that has any."""
    everything = placed_of(store.inventory())
    resolution = resolve(name, everything, path)
    assume(resolution is not None)
    assert resolution is not None
    candidates = [
        slotted
        for slotted in slot_owners(everything)
        if slotted.slot.secret_name == name and slotted.slot.applies_to(path)
    ]
    return candidates, resolution


@examples(4)
@given(store=CROWDED, path=PATHS)
def test_every_candidate_is_used_shadowed_or_blocked(store, path):
    candidates, resolution = resolved(store, path)

    parts = (*resolution.blocked, *resolution.contributors, *resolution.shadowed)

    assert list(parts) == sorted(candidates, key=lambda slotted: slotted.slot.rank, reverse=True)
    assert resolution.contributors[0] is resolution.winner


@examples(4)
@given(store=CROWDED, path=PATHS)
def test_the_winner_ranks_above_every_candidate_that_is_not_blocked(store, path):
    candidates, resolution = resolved(store, path)

    for candidate in candidates:
        if candidate not in resolution.blocked:
            assert candidate.slot.rank <= resolution.winner.slot.rank


@examples(4)
@given(store=CROWDED, extra=definitions(), path=PATHS)
def test_a_narrower_definition_that_is_added_can_only_make_the_winner_narrower(store, extra, path):
    """Precedence is monotone; a final definition is the one exception, and it can only make it wider."""
    candidates, before = resolved(store, path)
    added = placed_of(Store((extra,)).inventory())
    assume(extra.location not in {item.location for item in store.definitions})
    # Whoever takes a slot from another one also takes away what that one said, which may have been "final".
    assume(not added or added[0].slot not in {slotted.slot for slotted in candidates})

    after = resolve("aws", placed_of(Store((*store.definitions, extra)).inventory()), path)

    assert after is not None
    if after.winner != before.winner:
        assert after.winner.definition == extra
        assert added[0].is_final or after.winner.slot.rank > before.winner.slot.rank


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_the_widest_final_definition_wins(store, path):
    candidates, resolution = resolved(store, path)
    finals = sorted((slotted for slotted in candidates if slotted.is_final), key=lambda slotted: slotted.slot.rank)

    if finals:
        assert resolution.winner == finals[0]
        assert all(slotted.slot.rank > finals[0].slot.rank for slotted in resolution.blocked)
    else:
        assert resolution.blocked == ()


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_merge_continues_while_each_definition_says_merge(store, path):
    _, resolution = resolved(store, path)
    *merging, last = resolution.contributors

    assert all(slotted.definition.override is Override.MERGE for slotted in merging)
    assert last.definition.override is Override.REPLACE or not resolution.shadowed
    expected: dict[str, str] = {}
    files = {entry.name: entry for slotted in reversed(resolution.contributors) for entry in slotted.definition.files}
    for slotted in reversed(resolution.contributors):
        location = slotted.definition.location
        expected |= {entry.name: location for entry in slotted.definition.env}
        expected |= {
            entry.env: location for entry in slotted.definition.files if entry.env and files[entry.name] is entry
        }
    found = {name: resolved.definition.location for name, resolved in resolution.variables().items()}
    assert found == expected


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_each_slot_has_one_owner(store, path):
    everything = placed_of(store.inventory())
    chosen = slot_owners(everything)

    assert {slotted.slot for slotted in chosen} == {slotted.slot for slotted in everything}
    for slotted in everything:
        holder = next(other for other in chosen if other.slot == slotted.slot)
        assert oracle.seniority(holder.definition) <= oracle.seniority(slotted.definition)
    for slotted in chosen:
        assert oracle.place_of_definition(slotted.definition) is not None


def test_slots_on_one_path_have_distinct_ranks():
    slots = [
        Slot("acme", Scope.ORGANIZATION, None, None, "aws"),
        Slot("acme", Scope.PROJECT, "web", None, "aws"),
        *(Slot("acme", Scope.ENVIRONMENT, "web", pattern, "aws") for pattern in PATTERNS),
    ]
    for a, b in product(slots, slots):
        assert (a.rank == b.rank) == (a == b)
        assert (a.rank < b.rank) == (not b.rank <= a.rank)


def test_scopes_rank_as_the_design_says_whatever_their_patterns_are():
    assert Scope.ORGANIZATION.narrowness < Scope.PROJECT.narrowness < Scope.ENVIRONMENT.narrowness
    assert len(set(PATTERNS)) == len(PATTERNS)
