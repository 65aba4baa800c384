"""A pod with secrets is otherwise the pod that its author wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.node_image import CI_USER
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

KEY, TOOL = "/opt/secrets/key", "/opt/secrets/tool"
SCRIPT = "#!/bin/sh\necho ran\n"


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    namespace = lab.organization().namespace("web")
    value = lab.value()
    lab.define(definition(namespace, "app", files=[file(KEY, value), file(TOOL, SCRIPT, "0700")]))
    volumes: dict[str, Any] = {"volumes": [{"name": "work", "emptyDir": {}}]}
    mounts = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}

    def probe(mode: str, tool: str) -> Probe:
        # The folder of the volume shows what an fsGroup does to it: its group, and the set-group-ID bit.
        found = Probe().file(KEY, value, mode).file(TOOL, SCRIPT, tool).run(TOOL, "ran")
        return found.owner("/work", "777 0:0")

    user = {"securityContext": {"runAsUser": CI_USER}}
    runs = [
        pod_run(
            namespace,
            "mixed",
            "app",
            probe("600", "700"),
            containers={
                "user": (probe("644", "755"), {**mounts, **user}),
                "init": (probe("644", "755"), {**mounts, "securityContext": {"runAsUser": CI_USER + 1}}),
            },
            main={**mounts, "securityContext": {"runAsUser": 0}},
            **volumes,
        ),
        pod_run(
            namespace,
            "group-zero",
            "app",
            probe("644", "755"),
            main=mounts,
            securityContext={"runAsUser": CI_USER, "runAsGroup": 0, "runAsNonRoot": True},
            **volumes,
        ),
    ]
    lab.start(*runs)
    return {run.name: run for run in runs}


def test_each_user_reads_the_same_files_and_no_other_volume_changes(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["mixed"])

    assert "fsGroup" not in lab.pod(runs["mixed"])["spec"].get("securityContext", {})


def test_user_in_the_group_of_root_reads_and_executes(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["group-zero"])


def test_windows_pod_is_accepted_with_variables_and_files_in_the_volume(lab: Lab):
    namespace = lab.organization().namespace("web")
    lab.define(
        definition(namespace, "app", env={"TOKEN": lab.value()}, files=[file(None, lab.value(), env="KUBECONFIG")]),
        definition(namespace, "mounted", files=[file(KEY, lab.value())]),
    )
    spec: dict[str, Any] = {"hostNetwork": False, "os": {"name": "windows"}}

    run = pod_run(namespace, "windows", "app", Probe(), **spec)
    lab.wait_until_known(run)
    accepted, said = lab.try_create(run)
    assert accepted, said

    accepted, said = lab.try_create(pod_run(namespace, "windows", "mounted", Probe(), **spec))
    assert not accepted
    assert "Windows" in said
    assert "`env`" in said
