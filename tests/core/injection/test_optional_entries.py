"""Entries that a job can go without: decided once, and then read from the pod itself."""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples
from tests.support.builders import (
    container,
    decide_about,
    definition,
    denied,
    granted,
    home_and_project,
    inventory,
    pod_body,
)
from tests.support.container_view import patched, view, views

from scoped_secrets import names
from scoped_secrets.core.decide import Denied, Granted
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.resolution.definitions import Entry, SecretKeySource
from scoped_secrets.names import Reason

VARIABLES = ("A", "B")
FILES = ("/data/x", "/data/y")


def source(*, optional: bool = True, missing: bool | None = False) -> SecretKeySource:
    return SecretKeySource("db", "password", 100, optional, missing)


def snapshot(missing: bool | None, **more: str | SecretKeySource) -> Inventory:
    """Return a cluster whose project has one optional variable and one optional file, beside what is given."""
    env = {"A": source(missing=missing), **more}
    files = (Entry.file("/data/x", 0o600, source(missing=missing)),)
    return inventory(home_and_project(), [definition("web/db", scope="Project", env=env, files=files)])


def missing_in(body: dict[str, Any]) -> list[str]:
    missing: list[str] = json.loads(body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]).get("missing", [])
    return missing


def test_present_sources_are_delivered_and_missing_ones_reported():
    body = pod_body("db")

    there, gone = granted(body, snapshot(missing=False, B="b")), granted(body, snapshot(missing=True, B="b"))

    assert view(body, there).visible.keys() == {"A", "B"}
    assert "/data/x" in view(body, there).files
    assert view(body, gone).visible == {"B": "b"}
    assert "/data/x" not in view(body, gone).files
    assert missing_in(patched(body, there)) == []
    assert missing_in(patched(body, gone)) == ["/data/x", "A"]
    assert json.loads(gone.injection.resolution)["missing"] == ["/data/x", "A"]


def test_unknown_optional_source_denies_the_pod():
    refusal = denied(pod_body("db"), snapshot(missing=None))

    assert refusal.reason is Reason.NOT_READY
    assert "the Secret of its optional" in refusal.message
    assert "again in a moment" in refusal.message


def test_required_source_is_never_left_out():
    required = definition("web/db", scope="Project", env={"A": source(optional=False, missing=True)})

    body = pod_body("db")

    assert "A" in view(body, granted(body, inventory(home_and_project(), [required]))).visible


@pytest.mark.parametrize("narrow", ["Merge", "Replace"])
def test_no_fallback_is_used_for_a_missing_entry(narrow: str):
    wide = definition("acme/db", env={"A": "the organization's"})
    project = definition("web/db", scope="Project", override=narrow, env={"A": source(missing=True), "B": "b"})
    other = definition("acme/other", env={"A": "another bundle's"})
    body = pod_body("other, db")

    seen = view(body, granted(body, inventory(home_and_project(), [wide, project, other])))

    assert seen.visible == {"B": "b"}


def test_own_variable_stays_when_an_optional_one_is_missing():
    containers = [container("one", env=[{"name": "A", "value": "own"}]), container("two")]
    body = pod_body("db", containers=containers)
    decision = granted(body, snapshot(missing=True, B="b"))

    seen = views(body, decision)

    assert seen["one"].visible == {"A": "own", "B": "b"}
    assert seen["two"].visible == {"B": "b"}
    assert granted(patched(body, decision), snapshot(missing=False, B="b")).injection.operations == ()


def test_an_expression_with_a_missing_variable_is_refused_by_name():
    body = pod_body("db", containers=[container(args=["--password=${secrets.db.A}"])])

    refusal = denied(body, snapshot(missing=True))

    assert refusal.reason is Reason.SOURCE_MISSING
    assert "variable 'A' of bundle 'db'" in refusal.message
    assert view(body, granted(body, snapshot(missing=False))).args[0].startswith("--password=Secret")


@dataclass(frozen=True)
class GeneratedEntry:
    """One entry of a generated definition."""

    bundle: str
    key: str
    optional: bool


ENTRIES = tuple(
    GeneratedEntry(bundle, key, optional)
    for bundle in ("db", "aws")
    for key in (*VARIABLES, *FILES)
    for optional in (True, True, False)
)


def cluster(entries: list[GeneratedEntry], missing: set[tuple[str, str]], *, is_known: bool = True) -> Inventory:
    """Return a cluster with the last of equal entries, of which some sources are missing."""
    definitions = []
    for bundle in ("db", "aws"):
        chosen = {entry.key: entry for entry in entries if entry.bundle == bundle}.values()
        sources = {
            entry.key: source(optional=entry.optional, missing=((bundle, entry.key) in missing) if is_known else None)
            for entry in chosen
        }
        definitions.append(
            definition(
                f"web/{bundle}",
                scope="Project",
                env=tuple(Entry.variable(key, found) for key, found in sources.items() if key in VARIABLES),
                files=tuple(Entry.file(key, 0o644, found) for key, found in sources.items() if key in FILES),
            )
        )
    return inventory(home_and_project(), definitions)


Place: TypeAlias = tuple[str, str]
PLACES = st.sets(st.tuples(st.sampled_from(("db", "aws")), st.sampled_from((*VARIABLES, *FILES))))
CONTAINERS = st.lists(
    st.builds(
        lambda own, argument: {
            **({"env": [{"name": name, "value": "own"} for name in own]} if own else {}),
            **({"args": [argument]} if argument else {}),
        },
        own=st.lists(st.sampled_from(VARIABLES), unique=True),
        argument=st.sampled_from(("", "", "${secrets.db.A}", "${secrets.aws.B}")),
    ),
    min_size=1,
    max_size=2,
)


@examples(5)
@given(entries=st.lists(st.sampled_from(ENTRIES)), then=PLACES, later=PLACES, containers=CONTAINERS)
def test_controller_reuses_admissions_plan_when_optional_source_vanishes(
    entries: list[GeneratedEntry], then: set[Place], later: set[Place], containers: list[dict[str, Any]]
):
    body = pod_body("db, aws", containers=[container(f"c{n}", **given) for n, given in enumerate(containers)])
    first = decide_about(body, cluster(entries, then))
    if isinstance(first, Denied):
        assert first.reason in {Reason.SOURCE_MISSING, Reason.KEY_NOT_FOUND}
        return
    stored = patched(body, first)

    for state in (cluster(entries, later), cluster(entries, set(), is_known=False), cluster(entries, then)):
        again = decide_about(stored, state)

        assert isinstance(again, Granted), again
        assert again.injection.operations == ()
        assert [part.name for part in again.injection.layout.parts] == [
            part.name for part in first.injection.layout.parts
        ]
        assert again.injection.layout.locations() == first.injection.layout.locations()
        assert again.injection.resolution == first.injection.resolution


@examples(5)
@given(entries=st.lists(st.sampled_from(ENTRIES)), missing=PLACES)
def test_exactly_the_missing_optional_winners_are_left_out(entries: list[GeneratedEntry], missing: set[Place]):
    body = pod_body("db, aws")
    winners = {entry.key: entry for bundle in ("db", "aws") for entry in entries if entry.bundle == bundle}
    expected = {key for key, entry in winners.items() if entry.optional and (entry.bundle, key) in missing}

    decision = granted(body, cluster(entries, missing))

    seen = view(body, decision)
    assert {*seen.visible, *(path for path in seen.files if path in FILES)} == winners.keys() - expected
    assert set(missing_in(patched(body, decision))) == expected
