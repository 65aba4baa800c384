"""What a ScopedSecret's status says (DESIGN sections 4 and 5)."""

# ruff: noqa: S106 - `secret_name` is a name

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PATTERNS, SEATS, Store, definitions, examples, stores
from tests.support.builders import NOW, definition, definition_at, home_and_project, inventory, scope_labels, slot_at

from scoped_secrets.core.inventory import RejectedDefinition
from scoped_secrets.core.resolution.definitions import SlottedDefinition
from scoped_secrets.core.resolution.resolve import resolve
from scoped_secrets.core.scope.slot import Scope, ScopePath
from scoped_secrets.core.status import MAX_LISTED, status_of
from scoped_secrets.names import ConditionType, Reason

NAMESPACES = home_and_project() | {
    "api": {"labels": scope_labels("acme", "api")},
    "rival": {"labels": scope_labels("rival")},
}
ORG = definition("acme/aws")
FINAL = definition("acme/aws", final=True)
PROJECT = definition("web/aws", scope="Project")
PRODUCTION = definition("web/aws-production", secret_name="aws", scope="Environment", environment="production")
PREFIX = definition("web/aws-prod", secret_name="aws", scope="Environment", environment="prod*")
FINAL_PREFIX = definition(
    "acme/aws-prod", secret_name="aws", scope="Environment", project="web", environment="prod*", final=True
)
SUFFIX = definition("web/aws-tion", secret_name="aws", scope="Environment", environment="*tion")
YOUNGER = definition("web/aws-again", secret_name="aws", scope="Project", created="2026-02-01T00:00:00Z")
YOUNGER_FINAL = definition("acme/again", secret_name="aws", final=True, created="2026-02-01T00:00:00Z")


def status(about, *others):
    snapshot = inventory(NAMESPACES, [about, *others])
    return status_of(definition_at(snapshot, about.location), snapshot, NOW)


def condition(found, kind):
    (only,) = [item for item in found.conditions if item.type is kind]
    return only.is_true, only.reason


@pytest.mark.parametrize(
    ("sentence", "about", "others", "shadows", "shadowed_by"),
    [
        ("alone", ORG, [], (), ()),
        ("other names do not meet", ORG, [definition("web/db", scope="Project")], (), ()),
        ("other organizations do not meet", ORG, [definition("rival/aws")], (), ()),
        ("other projects do not meet", PROJECT, [definition("api/aws", scope="Project")], (), ()),
        ("a project shadows the organization", PROJECT, [ORG], ("acme/aws",), ()),
        ("the organization is shadowed", ORG, [PROJECT], (), ("web/aws",)),
        ("an environment shadows both", PRODUCTION, [ORG, PROJECT], ("acme/aws", "web/aws"), ()),
        ("an exact name shadows a pattern", PRODUCTION, [PREFIX], ("web/aws-prod",), ()),
        ("patterns that overlap meet", SUFFIX, [PREFIX], (), ("web/aws-prod",)),
        ("patterns that do not overlap do not", definition("web/x", secret_name="aws", scope="Environment",
         environment="review/*"), [PREFIX], (), ()),
        ("a final one is not shadowed", FINAL, [PROJECT, PRODUCTION], (), ()),
        ("a blocked one shadows nobody", PRODUCTION, [FINAL, PROJECT], (), ()),
        ("nor is it shadowed by a blocked one", PROJECT, [FINAL, PRODUCTION], (), ()),
        ("a blocked one shadows not even what is not final", PROJECT, [FINAL_PREFIX, PRODUCTION], (),
         ("acme/aws-prod",)),
        ("a final pattern that meets it in part is not shadowed by it", PREFIX, [definition("acme/aws-tion",
         secret_name="aws", scope="Environment", project="web", environment="*tion", final=True)], (), ()),
        ("final outside of the home says nothing", PRODUCTION, [definition("web/aws-prod", secret_name="aws",
         scope="Environment", environment="prod*", final=True)], ("web/aws-prod",), ()),
        ("the loser of a conflict shadows nobody", YOUNGER, [PROJECT, ORG], (), ()),
        ("the loser of a conflict is not what shadows", ORG, [PROJECT, YOUNGER], (), ("web/aws",)),
    ],
)  # fmt: skip
def test_shadows_are_who_loses_and_wins_where_both_are_candidates(sentence, about, others, shadows, shadowed_by):
    found = status(about, *others)
    assert (found.shadows, found.shadowed_by) == (shadows, shadowed_by)


@pytest.mark.parametrize(
    ("sentence", "about", "others", "expected"),
    [
        ("nothing is final", PROJECT, [ORG], (False, Reason.NOT_BLOCKED)),
        ("a wider one is final", PROJECT, [FINAL], (True, Reason.SHADOWED_BY_FINAL)),
        ("a narrower one is final", ORG, [FINAL_PREFIX], (False, Reason.NOT_BLOCKED)),
        ("a final pattern covers it", PRODUCTION, [FINAL_PREFIX], (True, Reason.SHADOWED_BY_FINAL)),
        ("a final pattern meets it in part", definition("web/p", secret_name="aws", scope="Environment",
         environment="produ*"), [definition("acme/f", secret_name="aws", scope="Environment", project="web",
         environment="*tion", final=True)], (False, Reason.NOT_BLOCKED)),
        ("final outside of the home says nothing", PRODUCTION, [definition("web/aws-prod", secret_name="aws",
         scope="Environment", environment="prod*", final=True)], (False, Reason.NOT_BLOCKED)),
        ("the final one is another project's", PROJECT, [definition("api/aws", scope="Project", final=True)],
         (False, Reason.NOT_BLOCKED)),
        ("the final one lost its slot", PROJECT, [ORG, YOUNGER_FINAL], (False, Reason.NOT_BLOCKED)),
        ("it is final itself", FINAL_PREFIX, [FINAL], (True, Reason.SHADOWED_BY_FINAL)),
    ],
)  # fmt: skip
def test_definitions_that_a_final_one_covers_are_blocked(sentence, about, others, expected):
    assert condition(status(about, *others), ConditionType.BLOCKED) == expected


def test_message_names_the_widest_final_definition():
    found = status(PRODUCTION, FINAL_PREFIX, FINAL)
    (blocked,) = [item for item in found.conditions if item.type is ConditionType.BLOCKED]
    assert "'acme/aws'" in blocked.message


def test_younger_definition_of_a_slot_is_conflicted_and_not_ready():
    loser, holder = status(YOUNGER, PROJECT), status(PROJECT, YOUNGER)
    assert condition(loser, ConditionType.CONFLICTED) == (True, Reason.SLOT_TAKEN)
    assert condition(loser, ConditionType.READY) == (False, Reason.SLOT_TAKEN)
    assert condition(holder, ConditionType.CONFLICTED) == (False, Reason.UNIQUE)
    assert condition(holder, ConditionType.READY) == (True, Reason.AVAILABLE)


def test_first_name_owns_the_slot_among_definitions_of_one_second():
    twin = definition("web/zzz", secret_name="aws", scope="Project")
    assert condition(status(twin, PROJECT), ConditionType.CONFLICTED) == (True, Reason.SLOT_TAKEN)


def test_rejected_definition_is_only_not_ready():
    refused = definition("web/wide", env={"A": "a"}, files={"/x": "x"})
    snapshot = inventory(NAMESPACES, [refused])
    assert isinstance(snapshot.get("web/wide"), RejectedDefinition)
    found = status_of(definition_at(snapshot, "web/wide"), snapshot, NOW)
    (only,) = found.conditions
    assert (only.type, only.is_true, only.reason) == (ConditionType.READY, False, Reason.SCOPE_NOT_ALLOWED)
    assert (found.env_count, found.file_count) == (1, 1)


@pytest.mark.parametrize(
    "reason",
    [
        Reason.EXPIRED,
        Reason.INVALID,
        Reason.KEY_LOST,
        Reason.PLAINTEXT_REFUSED,
        Reason.SEALED_FOR_ANOTHER,
        Reason.SOURCE_MISSING,
    ],
)
def test_unusable_definition_states_reason_and_remedy(reason):
    found = status(definition("acme/aws", not_ready=reason, generation=5))
    (ready,) = [item for item in found.conditions if item.type is ConditionType.READY]
    assert (ready.is_true, ready.reason) == (False, reason)
    assert ";" in ready.message
    assert found.observed_generation == 5


def test_lists_of_names_are_bounded():
    namespaces = NAMESPACES | {f"p{n}": {"labels": scope_labels("acme", f"p{n}")} for n in range(30)}
    narrower = [definition(f"p{n}/aws", scope="Project") for n in range(30)]
    snapshot = inventory(namespaces, [ORG, *narrower])
    found = status_of(definition_at(snapshot, "acme/aws"), snapshot, NOW)
    assert len(found.shadowed_by) == MAX_LISTED
    assert list(found.shadowed_by) == sorted(found.shadowed_by)


JOBS = [ScopePath("acme", "web")] + [
    ScopePath("acme", "web", environment)
    for environment in (
        "production",
        "staging",
        "prod",
        "x",
        "p/n",
        "review/42",
        "review/7",
        "7/42",
        "protion",
        "prodtion",
        "pn",
    )
]
OF_WEB = definitions(seats=[seat for seat in SEATS if seat[0] in {"acme", "web"} and seat[2] != "api"], bundles=["aws"])


def outcomes(store: Store):
    """Return the placed definitions and what resolution says for each of the jobs."""
    snapshot = store.inventory()
    entries = [snapshot.get(location) for location in snapshot.locations()]
    slotted = [entry for entry in entries if isinstance(entry, SlottedDefinition)]
    found = (resolve("aws", slotted, path, snapshot.territory(path)) for path in JOBS)
    return snapshot, slotted, [resolution for resolution in found if resolution is not None]


@examples(5)
@given(store=stores(definition=OF_WEB, max_definitions=5, max_policies=0))
def test_status_lists_every_shadow_that_a_job_sees(store):
    snapshot, slotted, resolutions = outcomes(store)
    for found in resolutions:
        winner = found.winner.definition.location
        for loser in (*found.contributors[1:], *found.shadowed):
            location = loser.definition.location
            assert location in status_of(found.winner, snapshot, NOW).shadows
            assert winner in status_of(loser, snapshot, NOW).shadowed_by
    for entry in slotted:
        if condition(status_of(entry, snapshot, NOW), ConditionType.BLOCKED)[0]:
            assert all(found.winner != entry for found in resolutions)


@examples(5)
@given(pair=st.lists(OF_WEB, min_size=2, max_size=2, unique_by=lambda item: item.location))
def test_status_of_two_definitions_lists_exactly_the_shadows_that_jobs_see(pair):
    snapshot, slotted, resolutions = outcomes(Store(tuple(pair)))
    for entry in slotted:
        location = entry.definition.location
        overridden_bundles = {
            loser.definition.location
            for found in resolutions
            if found.winner == entry
            for loser in (*found.contributors[1:], *found.shadowed)
        }
        winners = {
            found.winner.definition.location
            for found in resolutions
            if entry in (*found.contributors[1:], *found.shadowed)
        }
        known = status_of(entry, snapshot, NOW)
        assert (set(known.shadows), set(known.shadowed_by)) == (overridden_bundles, winners), location


def test_generated_jobs_match_every_pattern():
    for pattern in PATTERNS:
        slot = slot_at(
            inventory(NAMESPACES, [definition("web/x", scope=Scope.ENVIRONMENT, environment=pattern)]), "web/x"
        )
        assert any(slot.applies_to(path) for path in JOBS), pattern
