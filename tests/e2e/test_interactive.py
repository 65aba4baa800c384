"""kubectl exec, cp, attach, port-forward and debug on running pods, as policies allow them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.e2e.lab import definition, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

# What a session is, and how one begins and ends by itself.
SESSIONS: dict[str, tuple[str, ...]] = {
    "exec": ("exec", "POD", "--", "true"),
    "cp": ("cp", "POD:/etc/passwd", "/dev/null"),
    "attach": ("attach", "POD", "-c", "main"),
    "portForward": ("port-forward", "POD", ":65000"),
    "ephemeralContainers": ("debug", "POD", "--image=IMAGE", "--attach=false", "--", "true"),
}
SECONDS = 8.0


def session(lab: Lab, run: Run, kind: str) -> tuple[bool, str]:
    """Open a session, and return whether it was not refused and what was printed; some only end when they are ended."""
    image = run.pod_body["spec"]["containers"][0]["image"]
    words = [word.replace("POD", run.name).replace("IMAGE", image) for word in SESSIONS[kind]]
    try:
        answer = lab.cluster.kubectl(words[0], "-n", run.namespace, *words[1:], check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return True, ""
    return answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def runs(lab: Lab) -> Iterator[dict[str, Run]]:
    """Two running pods, of which one holds a bundle that a policy guards."""
    namespace = lab.organization().namespace("web")
    guarded, free = lab.value(), lab.value()
    policy: dict[str, Any] = {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": "sessions", "namespace": namespace},
        "spec": {
            "secrets": {"names": ["guarded"]},
            "rules": [{"name": "everybody"}],
            "interactive": dict.fromkeys(("exec", "attach", "portForward", "ephemeralContainers"), "Deny"),
        },
    }
    lab.define(
        definition(namespace, "guarded", env={"TOKEN": guarded}), definition(namespace, "free", env={"TOKEN": free})
    )
    lab.apply(policy)
    runs = {
        name: pod_run(namespace, name, name, Probe().variable("TOKEN", value).hold())
        for name, value in (("guarded", guarded), ("free", free))
    }
    lab.start(*runs.values())
    for run in runs.values():
        lab.wait_until_held(run)
    yield runs
    lab.cluster.kubectl("delete", "secretpolicy", "sessions", "-n", namespace)
    wait_until(lambda: session(lab, runs["guarded"], "exec")[0], "admission to know of the deletion", seconds=SECONDS)
    for run in runs.values():
        lab.release(run)
        lab.finish(run)


@pytest.mark.parametrize("kind", SESSIONS)
def test_session_is_denied_in_the_pod_with_the_guarded_bundle_only(kind: str, lab: Lab, runs: dict[str, Run]):
    opened, printed = session(lab, runs["guarded"], kind)

    assert not opened
    assert f"denied by policy '{runs['guarded'].namespace}/sessions'" in printed
    assert "holds bundle 'guarded'" in printed

    opened, printed = session(lab, runs["free"], kind)

    assert opened, printed
