"""Which definition's value reaches a job, and what ``resolution.json`` says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import RESOLUTION_PATH, Probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.lab import Lab, Organization, Run

pytestmark = pytest.mark.e2e

CONFIG = "/etc/app/service.conf"


class World:
    """Three scopes of one project: each definition of ``aws`` merges the wider one and overwrites a part of it."""

    def __init__(self, lab: Lab, organization: Organization) -> None:
        """Create the namespaces and the definitions."""
        self.lab = lab
        self.organization = organization
        self.home = organization.home
        self.project = organization.namespace("web", allow_environments="review/*")
        self.production = organization.namespace("web", "production")
        # By (definition, variable or path).
        self.values: dict[tuple[str, str], str] = {}
        lab.define(
            self._definition(self.home, "aws", "Organization", "WIDE", "MIDDLE", "NARROW"),
            self._definition(self.project, "aws", "Project", "MIDDLE", "NARROW", override="Merge"),
            self._definition(
                self.production, "aws", "Environment", "NARROW", override="Merge", environment="production"
            ),
            self._definition(
                self.project, "aws-review", "Environment", "NARROW", secretName="aws", environment="review/*"
            ),
            self._definition(self.home, "registry", "Organization", "REGISTRY", "SHARED", attach="Always"),
            self._definition(self.project, "tools", "Project", "TOOLS", "SHARED"),
            self._definition(self.production, "last", "Environment", "LAST", attach="Always", environment="production"),
        )

    def probe(self, *expected: tuple[str, str]) -> Probe:
        """Expect these definitions' values, each of which stands in a variable."""
        probe = Probe()
        for location, variable in expected:
            probe.variable(variable, self.values[location, variable])
        return probe

    def pin(self, namespace: str, name: str) -> str:
        """Return what a resolution pins of a definition."""
        metadata = self.lab.cluster.get("scopedsecret", name, "-n", namespace)["metadata"]
        return f"{metadata['uid']}@{metadata['generation']}"

    def described(self, namespace: str, name: str) -> dict[str, str]:
        """Return how a resolution describes a definition."""
        return {"definition": f"{namespace}/{name}", "pin": self.pin(namespace, name)}

    def _definition(self, namespace: str, name: str, scope: str, *variables: str, **spec: Any) -> Mapping[str, Any]:
        values = {variable: self.lab.value() for variable in variables}
        self.values |= {(f"{namespace}/{name}", variable): value for variable, value in values.items()}
        content = self.values[f"{namespace}/{name}", CONFIG] = self.lab.value("config\n")
        files = [file(CONFIG, content, "0640")] if spec.get("secretName", name) == "aws" else []
        return definition(namespace, name, scope, env=values, files=files, **spec)


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    return World(lab, lab.organization())


@pytest.fixture(scope="module")
def runs(lab: Lab, world: World) -> dict[str, Run]:
    """One pod in each place, all started at once."""
    home, project, production = (f"{one}/aws" for one in (world.home, world.project, world.production))
    review = f"{world.project}/aws-review"
    registry, tools, last = f"{world.home}/registry", f"{world.project}/tools", f"{world.production}/last"
    in_production = world.probe(
        (home, "WIDE"), (project, "MIDDLE"), (production, "NARROW"), (registry, "REGISTRY"), (last, "LAST")
    )
    in_project = world.probe((home, "WIDE"), (project, "MIDDLE"), (project, "NARROW"), (registry, "REGISTRY"))
    # The pattern's definition replaces what is wider.
    in_review = world.probe((review, "NARROW")).no_variable("WIDE").no_variable("MIDDLE").no_variable("LAST")
    in_home = world.probe((home, "WIDE"), (home, "MIDDLE"), (home, "NARROW"), (registry, "SHARED"))
    runs = [
        pod_run(
            world.production,
            "production",
            "aws, tools, absent?",
            in_production.variable("SHARED", world.values[tools, "SHARED"])
            .file(CONFIG, world.values[production, CONFIG], "640")
            .document(),
        ),
        pod_run(world.project, "project", "aws", in_project.file(CONFIG, world.values[project, CONFIG], "640")),
        pod_run(
            world.project,
            "review",
            "aws",
            in_review.file(CONFIG, world.values[review, CONFIG], "640"),
            annotations={"environment": "review/42"},
        ),
        pod_run(world.home, "home", "aws", in_home.file(CONFIG, world.values[home, CONFIG], "640")),
        pod_run(
            world.project,
            "attached",
            "",
            world.probe((registry, "REGISTRY"), (registry, "SHARED")).no_variable("WIDE").no_file(CONFIG),
        ),
    ]
    lab.start(*runs)
    return {run.name: run for run in runs}


def test_the_narrowest_definition_wins_and_merges_the_wider_ones(lab: Lab, world: World, runs: dict[str, Run]):
    printed = lab.finish(runs["production"])[RESOLUTION_PATH]

    winner, *merged = (world.described(namespace, "aws") for namespace in (world.production, world.project, world.home))
    bundles = printed["bundles"]
    assert [bundle["name"] for bundle in bundles] == ["registry", "aws", "tools", "last"]
    assert bundles[0] == {
        "name": "registry",
        **world.described(world.home, "registry"),
        "scope": "Organization",
        "attached": True,
    }
    assert bundles[1] == {"name": "aws", **winner, "scope": "Environment", "mergedFrom": merged}
    assert (printed["organization"], printed["project"], printed["environment"]) == (
        world.organization.name,
        "web",
        "production",
    )


def test_resolution_in_the_job_lists_overrides_and_omissions(lab: Lab, world: World, runs: dict[str, Run]):
    printed = lab.finish(runs["production"])[RESOLUTION_PATH]

    assert printed["overridden"] == {"SHARED": {"bundle": "tools", "over": ["registry"]}}
    assert printed["leftOut"] == [{"name": "absent", "reason": names.Reason.NOT_FOUND}]
    assert {name: origin["definition"] for name, origin in printed["env"].items()} == {
        "WIDE": f"{world.home}/aws",
        "MIDDLE": f"{world.project}/aws",
        "NARROW": f"{world.production}/aws",
        "REGISTRY": f"{world.home}/registry",
        "SHARED": f"{world.project}/tools",
        "TOOLS": f"{world.project}/tools",
        "LAST": f"{world.production}/last",
    }
    assert printed["files"] == {
        "main": {CONFIG: {"bundle": "aws", "definition": f"{world.production}/aws", "mode": "0640"}}
    }


def test_the_pod_s_annotation_is_the_resolution_without_the_single_entries(lab: Lab, runs: dict[str, Run]):
    printed = lab.finish(runs["production"])[RESOLUTION_PATH]
    annotation = lab.annotated_resolution(runs["production"])

    assert annotation == {key: value for key, value in printed.items() if key not in ("env", "files")}


@pytest.mark.parametrize("name", ["project", "review", "home", "attached"])
def test_job_gets_the_values_of_its_own_scope(lab: Lab, runs: dict[str, Run], name: str):
    lab.finish(runs[name])
