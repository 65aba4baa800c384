"""Rule A by example (DESIGN section 4), beyond the worked cases."""

# ruff: noqa: S106 - `secret_name` is a name

import pytest
from tests.strategies import PATTERNS
from tests.support.builders import definition, home_and_project, inventory, plain_text

from scoped_secrets.core.resolution.definitions import Definition, Override, SlottedDefinition
from scoped_secrets.core.resolution.resolve import resolve
from scoped_secrets.core.scope.slot import Scope, ScopePath

PRODUCTION = ScopePath("acme", "web", "production")


def bundle(scope: str, *, namespace: str = "web", **given) -> Definition:
    """Return a definition of "aws" whose variables tell its scope; an environment's pattern is its scope."""
    place = {
        "organization": ("acme/org", Scope.ORGANIZATION, None),
        "project": (f"{namespace}/project", Scope.PROJECT, None),
    }
    location, kind, environment = place.get(scope) or (
        f"{namespace}/at-{PATTERNS.index(scope)}",
        Scope.ENVIRONMENT,
        scope,
    )
    if namespace == "acme" and kind is not Scope.ORGANIZATION:
        given["project"] = "web"
    env = {"SHARED": scope, f"ONLY_{kind.narrowness}": scope}
    return definition(location, secret_name="aws", scope=kind, environment=environment, env=env, **given)


def final(scope: str, **given) -> Definition:
    """Return a definition in the home that is final; elsewhere that says nothing."""
    return bundle(scope, namespace="acme", final=True, **given)


def merging(scope: str, **given) -> Definition:
    return bundle(scope, override=Override.MERGE, **given)


def scope_of(slotted: SlottedDefinition) -> str:
    return slotted.slot.environment or slotted.slot.scope.value.lower()


@pytest.mark.parametrize(
    ("sentence", "store", "used", "shadowed", "blocked"),
    [
        ("the narrowest wins", [bundle("organization"), bundle("project"), bundle("production")],
         ["production"], ["project", "organization"], []),
        ("the widest of two final ones wins", [final("organization"), final("project"), bundle("production")],
         ["organization"], [], ["production", "project"]),
        ("the widest of two final patterns wins", [bundle("organization"), final("*"), final("prod*")],
         ["*"], ["organization"], ["prod*"]),
        ("a final one in the middle wins over narrower and shadows wider",
         [bundle("organization"), final("project"), bundle("production")],
         ["project"], ["organization"], ["production"]),
        ("a final winner may merge what is wider", [bundle("organization"), final("project", override="Merge")],
         ["project", "organization"], [], []),
        ("a blocked one merges nothing", [final("organization"), merging("project")],
         ["organization"], [], ["project"]),
        ("merging goes through all that say so", [bundle("organization"), merging("project"), merging("production")],
         ["production", "project", "organization"], [], []),
        ("merging stops at the first that replaces", [bundle("organization"), bundle("project"), merging("production")],
         ["production", "project"], ["organization"], []),
        ("the widest may say merge and has nothing to merge", [merging("organization")], ["organization"], [], []),
        ("patterns merge in the order of their rank", [merging("*"), merging("prod*"), merging("production")],
         ["production", "prod*", "*"], [], []),
        ("a pattern that does not match is no candidate", [bundle("organization"), final("staging")],
         ["organization"], [], []),
    ],
)  # fmt: skip
def test_resolution_chooses_one_winner_per_name(sentence, store, used, shadowed, blocked):
    snapshot = inventory(home_and_project(), store)

    found = resolve("aws", snapshot.definitions("acme", "web", "aws"), PRODUCTION)

    assert found is not None
    assert [scope_of(slotted) for slotted in found.contributors] == used
    assert [scope_of(slotted) for slotted in found.shadowed] == shadowed
    assert [scope_of(slotted) for slotted in found.blocked] == blocked
    assert scope_of(found.winner) == used[0]
    values = {name: plain_text(contribution.entry.source) for name, contribution in found.variables().items()}
    assert values["SHARED"] == used[0]


def test_narrower_definition_wins_a_path_in_another_spelling():
    wide = definition("acme/org", secret_name="aws", files={".ssh/id": "wide", "a": "wide"})
    narrow = definition(
        "web/own", secret_name="aws", scope="Project", override="Merge", files={"a": "narrow", "b": "narrow"}
    )
    snapshot = inventory(home_and_project(), [wide, narrow])
    found = resolve("aws", snapshot.definitions("acme", "web", "aws"), PRODUCTION)
    assert found is not None
    assert [contribution.definition.location for contribution in found.files()] == [
        "acme/org", "web/own", "web/own",
    ]  # fmt: skip


def test_name_without_candidates_resolves_to_none():
    snapshot = inventory(home_and_project(), [bundle("staging")])
    assert resolve("aws", snapshot.definitions("acme", "web", "aws"), PRODUCTION) is None
    assert resolve("aws", [], PRODUCTION) is None
