"""Properties of rule A (DESIGN section 4): one name, several definitions."""

from itertools import product

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.core import oracle
from tests.strategies import ENVIRONMENTS, PATTERNS, SEATS, Store, definitions, examples, stores

from scoped_secrets.core.definitions import Override, Placed
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolve import Resolution, holders, resolve
from scoped_secrets.core.scope import Scope, ScopePath, Slot

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


def placed_of(inventory: Inventory) -> list[Placed]:
    entries = (inventory.get(location) for location in inventory.locations())
    return [entry for entry in entries if isinstance(entry, Placed)]


def resolved(store: Store, path: ScopePath, name: str = "aws") -> tuple[list[Placed], Resolution]:
    """Return the candidates and the resolution of a store that has any."""
    everything = placed_of(store.inventory())
    resolution = resolve(name, everything, path)
    assume(resolution is not None)
    candidates = [
        placed for placed in holders(everything) if placed.slot.secret_name == name and placed.slot.applies_to(path)
    ]
    return candidates, resolution


@examples(4)
@given(store=CROWDED, path=PATHS)
def test_every_candidate_is_used_shadowed_or_blocked_and_nothing_else_is(store, path):
    candidates, resolution = resolved(store, path)

    parts = (*resolution.blocked, *resolution.contributors, *resolution.shadowed)

    assert list(parts) == sorted(candidates, key=lambda placed: placed.slot.rank, reverse=True)
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
    assume(not added or added[0].slot not in {placed.slot for placed in candidates})

    after = resolve("aws", placed_of(Store((*store.definitions, extra)).inventory()), path)

    assert after is not None
    if after.winner != before.winner:
        assert after.winner.definition == extra
        assert extra.final or after.winner.slot.rank > before.winner.slot.rank


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_the_widest_final_definition_wins(store, path):
    candidates, resolution = resolved(store, path)
    finals = sorted((placed for placed in candidates if placed.definition.final), key=lambda placed: placed.slot.rank)

    if finals:
        assert resolution.winner == finals[0]
        assert all(placed.slot.rank > finals[0].slot.rank for placed in resolution.blocked)
    else:
        assert resolution.blocked == ()


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_merging_goes_on_while_each_definition_says_merge(store, path):
    _, resolution = resolved(store, path)
    *merging, last = resolution.contributors

    assert all(placed.definition.override is Override.MERGE for placed in merging)
    assert last.definition.override is Override.REPLACE or not resolution.shadowed
    for name, contribution in resolution.env().items():
        owners = [
            placed.definition
            for placed in resolution.contributors
            if name in {entry.name for entry in placed.definition.env}
        ]
        assert contribution.definition == owners[0]
    names = {entry.name for placed in resolution.contributors for entry in placed.definition.env}
    assert resolution.env().keys() == names


@examples(5)
@given(store=CROWDED, path=PATHS)
def test_one_definition_holds_each_slot(store, path):
    everything = placed_of(store.inventory())
    chosen = holders(everything)

    assert {placed.slot for placed in chosen} == {placed.slot for placed in everything}
    for placed in everything:
        holder = next(other for other in chosen if other.slot == placed.slot)
        assert holder.definition.seniority <= placed.definition.seniority
    for placed in chosen:
        assert oracle.place_of_definition(placed.definition) is not None


def test_two_slots_on_one_path_never_have_one_rank():
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
