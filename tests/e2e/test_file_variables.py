"""Files whose paths are in variables, as CI systems know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.node_image import CI_USER
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import RESOLUTION_PATH, Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

IN_VOLUME = "/run/scoped-secrets/files/tools.KUBECONFIG"
READABLE = "/run/scoped-secrets/readable/tools.KUBECONFIG"
MAVEN = "/home/ci/.m2/settings.xml"


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    namespace = lab.organization().namespace("web")
    kubeconfig, settings = lab.value("kubeconfig\n"), lab.value("<settings/>")
    lab.define(
        definition(
            namespace,
            "tools",
            env={"TOKEN": lab.value()},
            files=[file(None, kubeconfig, env="KUBECONFIG"), file(MAVEN, settings, "0644", "MAVEN_SETTINGS")],
        )
    )

    def probe(path: str, mode: str) -> Probe:
        found = Probe().variable("KUBECONFIG", path).file(path, kubeconfig, mode)
        found = found.argument("expression", "--config=${secrets.tools.KUBECONFIG}", f"--config={path}")
        return found.variable("MAVEN_SETTINGS", MAVEN).file(MAVEN, settings, "644").document()

    user = {"runAsUser": CI_USER}
    runs = [
        pod_run(namespace, "root", "tools", probe(IN_VOLUME, "600"), securityContext={"runAsUser": 0}),
        pod_run(
            namespace,
            "user",
            "tools",
            probe(READABLE, "644"),
            # The mount point's folder was made for root: the reason for a file without a path.
            containers={"other": (Probe().write("/home/ci/.m2/beside", is_allowed=False), {})},
            securityContext=user,
        ),
        pod_run(
            namespace,
            "own",
            "tools",
            Probe().variable("KUBECONFIG", "/own").file(IN_VOLUME, kubeconfig, "600"),
            main={"env": [{"name": "KUBECONFIG", "value": "/own"}]},
        ),
        pod_run(
            namespace,
            "read-only-volume",
            "tools",
            probe(IN_VOLUME, "600"),
            main={"securityContext": {"readOnlyRootFilesystem": True}},
        ),
    ]
    lab.start(*runs)
    return {run.name: run for run in runs}


def test_variable_holds_the_path_of_a_file_in_the_volume(lab: Lab, runs: dict[str, Run]):
    resolution = lab.finish(runs["root"])[RESOLUTION_PATH]

    assert resolution["files"]["main"][IN_VOLUME]["env"] == "KUBECONFIG"
    mounts = lab.pod(runs["root"])["spec"]["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts] == ["/run/scoped-secrets", MAVEN]


def test_another_user_finds_the_copy_that_it_can_read(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["user"])


@pytest.mark.parametrize("name", ["own", "read-only-volume"])
def test_it_works_beside_own_variables_and_in_a_read_only_file_system(lab: Lab, runs: dict[str, Run], name: str):
    lab.finish(runs[name])
