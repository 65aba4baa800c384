"""The operator and the API server stop and start: nothing is written for it, and nothing is forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, resubmitted, scoped_secret, secret_policy
from tests.support.installed import ADMISSION_USER, CONTROLLER_USER, GARBAGE_COLLECTOR

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

RECOVERY_SECONDS = 60.0


def test_a_restart_of_the_operator_writes_nothing(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
):
    web = company.namespace("web", "web")
    console.apply(
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("restart")}),
        scoped_secret(f"{web}/db", env={"PASSWORD": canary.value("restart too")}),
        scoped_secret(f"{company.home}/aws", "Organization", env={"KEY": canary.value("restart wide")}),
        secret_policy(f"{web}/policy", "db", effect="Allow", rules=[{"name": "everybody"}]),
    )
    company.settle(web)
    pods = ["pending", "running", "finished"]
    console.create(*(pod(f"{web}/{name}", "aws, db") for name in pods))
    console.delivered(web, *pods)
    console.set_phase(web, "running", "Running", started=True)
    console.set_phase(web, "finished", "Running", started=True)
    console.set_phase(web, "finished", "Succeeded")
    console.wait_gone("secrets", web, *named_secrets(console.cluster.get("pod", "finished", "-n", web)))
    for name in ("aws", "db"):
        console.wait_condition(web, name, "Ready", "True")
    operator.wait_told_of_roles()
    operator.stop()
    before = {name: body["metadata"]["resourceVersion"] for name, body in console.bundles(web).items()}
    begin = audit.mark()

    operator.start()

    # A pod and a definition that come afterwards are served only after what was there has been looked at.
    probe = company.namespace("probe", "probe")
    console.apply(scoped_secret(f"{probe}/aws", env={"KEY": canary.value("after restart")}))
    console.wait_condition(probe, "aws", "Ready", "True")
    company.settle(probe)
    console.create(pod(f"{probe}/job", "aws"))
    console.seen(probe, "job")
    writes = [
        call
        for user in (CONTROLLER_USER, ADMISSION_USER)
        for call in audit.writes(user, begin)
        if call.namespace not in (probe, company.home)
    ]
    assert writes == []
    assert len(before) == 2
    assert {name: body["metadata"]["resourceVersion"] for name, body in console.bundles(web).items()} == before


def test_objects_deleted_while_the_operator_is_down_are_dropped(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(
        scoped_secret(f"{company.home}/aws", "Organization", env={"KEY": canary.value("wide remains")}),
        scoped_secret(f"{web}/aws", env={"KEY": canary.value("narrow goes")}),
        scoped_secret(f"{web}/gone", env={"GONE": canary.value("gone")}),
        scoped_secret(f"{web}/closed", env={"OPEN": canary.value("opened")}),
        secret_policy(f"{web}/close", "closed", effect="Deny"),
    )
    company.settle(web)
    assert "PolicyDenied" in console.refusal(pod(f"{web}/refused", "closed"))
    console.create(pod(f"{web}/deleted", "aws"), pod(f"{web}/waits", "aws"))
    console.delivered(web, "deleted", "waits")
    (orphan,) = named_secrets(console.cluster.get("pod", "deleted", "-n", web))
    (kept,) = named_secrets(console.cluster.get("pod", "waits", "-n", web))
    operator.stop()
    console.cluster.kubectl("delete", "ssec", "aws", "gone", "-n", web)
    console.cluster.kubectl("delete", "spol", "close", "-n", web)
    console.cluster.kubectl("delete", "pod", "deleted", "-n", web, "--grace-period=0", "--force")

    operator.start()

    console.create(pod(f"{web}/job", "aws, closed"))
    assert "NotFound: bundle 'gone'" in console.refusal(pod(f"{web}/refused", "gone"))
    seen = console.seen(web, "job").visible
    assert seen == {"KEY": canary.value("wide remains"), "OPEN": canary.value("opened")}
    console.wait_gone("secrets", web, orphan)
    assert console.exists("secret", web, kept)


def test_a_pod_that_was_created_while_the_controller_was_down_is_served_after_its_start(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("late controller")}))
    company.settle(web)
    operator.stop_controllers()
    console.create(pod(f"{web}/job", "aws"), pod(f"{web}/finished", "aws"))
    console.set_phase(web, "finished", "Failed")
    assert not console.bundles(web)

    operator.start()

    assert console.seen(web, "job").visible == {"KEY": canary.value("late controller")}
    assert console.bundles(web).keys() == named_secrets(console.cluster.get("pod", "job", "-n", web))


def test_a_pod_that_was_submitted_again_while_the_controller_was_down_gets_a_bundle_of_its_own(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator, audit: AuditLog
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("submitted again")}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")
    stored = console.cluster.get("pod", "job", "-n", web)
    (bundle,) = named_secrets(stored)
    operator.stop_controllers()
    # As a backup restores it: the same pod with the same references, and the old bundle is still there. A finalizer
    # keeps it until the new controller has looked.
    hold = json.dumps({"metadata": {"finalizers": [f"{names.GROUP}/test"]}})
    patch = ("patch", "secret", bundle, "-n", web, "--type=merge", "-p")
    # The guard lets nobody else change a bundle.
    console.cluster.kubectl(*patch, hold, user=GARBAGE_COLLECTOR)
    console.cluster.kubectl("delete", "pod", "job", "-n", web, "--grace-period=0", "--force")
    console.create(resubmitted(stored, "job"))
    uid = console.cluster.get("pod", "job", "-n", web)["metadata"]["uid"]
    begin = audit.mark()

    operator.start_controller("--resync-seconds", "10")

    wait_until(
        lambda: any(call.name == bundle and call.status == 409 for call in audit.calls(CONTROLLER_USER, begin)),
        "the controller finds the old bundle",
        seconds=SECONDS,
    )
    assert console.cluster.get("secret", bundle, "-n", web)["metadata"]["ownerReferences"][0]["uid"] != uid
    release = json.dumps({"metadata": {"finalizers": None}})
    console.cluster.kubectl(*patch, release, user=GARBAGE_COLLECTOR)
    wait_until(
        lambda: any(secret["metadata"]["ownerReferences"][0]["uid"] == uid for secret in console.bundles(web).values()),
        "the second pod's own bundle",
        seconds=RECOVERY_SECONDS,
    )
    assert console.seen(web, "job").visible == {"KEY": canary.value("submitted again")}
    operator.stop_controllers()


def test_deleted_bundle_is_recreated_while_its_pod_waits(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("comes back")}))
    company.settle(web)
    operator.stop_controllers()
    operator.start_controller("--resync-seconds", "10")
    console.create(pod(f"{web}/job", "aws"))
    console.seen(web, "job")

    console.cluster.kubectl("delete", "secret", *console.bundles(web), "-n", web, user=GARBAGE_COLLECTOR)

    wait_until(lambda: bool(console.bundles(web)), "the bundle is there again", seconds=RECOVERY_SECONDS)
    assert console.seen(web, "job").visible == {"KEY": canary.value("comes back")}
    operator.stop_controllers()


def test_changes_between_admission_and_rendering_are_decided_again(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    kept, entry = {"KEY": canary.value("kept entry")}, {"GOING": canary.value("going entry")}
    console.apply(
        scoped_secret(f"{web}/rotated", env={"KEY": canary.value("before rotation")}),
        scoped_secret(f"{web}/shrunk", env=kept | entry),
        scoped_secret(f"{web}/forbidden", env={"KEY": canary.value("forbidden")}),
    )
    company.settle(web)
    operator.stop_controllers()
    names_of_pods = ("rotated", "shrunk", "forbidden")
    console.create(*(pod(f"{web}/{name}", name) for name in names_of_pods))
    console.apply(
        scoped_secret(f"{web}/rotated", env={"KEY": canary.value("after rotation")}),
        scoped_secret(f"{web}/shrunk", env=kept),
        secret_policy(f"{web}/forbid", "forbidden", effect="Deny"),
    )

    operator.start()

    # Whole and new, or nothing: never a mix of two states.
    assert console.seen(web, "rotated").visible == {"KEY": canary.value("after rotation")}
    assert console.wait_event(web, "rotated", "DefinitionsChanged")["type"] == "Normal"
    assert console.wait_event(web, "shrunk", "DefinitionsChanged")["type"] == "Warning"
    assert f"policy '{web}/forbid'" in console.wait_event(web, "forbidden", "PolicyDenied")["message"]
    assert console.bundles(web).keys() == named_secrets(console.cluster.get("pod", "rotated", "-n", web))


def test_without_admission_no_job_starts_without_its_secrets(
    company: Company, console: Console, canary: Canary, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("late admission")}))
    company.settle(web)
    assert operator.admission is not None
    operator.admission.program.kill()
    opted_out = pod(f"{web}/opted-out")
    del opted_out["metadata"]["labels"]

    message = console.refusal(pod(f"{web}/job", "aws"))
    console.create(opted_out)
    operator.start()
    console.create(pod(f"{web}/job", "aws"))

    assert "failed calling webhook" in message
    assert console.seen(web, "job").visible == {"KEY": canary.value("late admission")}


def test_operator_continues_after_an_api_server_restart(
    company: Company,
    console: Console,
    canary: Canary,
    operator: InstalledOperator,
    audit: AuditLog,
    own_control_plane: ControlPlane,
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("before")}))
    console.wait_condition(web, "aws", "Ready", "True")
    company.settle(web)
    console.create(pod(f"{web}/before", "aws"))
    console.seen(web, "before")
    before = {name: body["metadata"]["resourceVersion"] for name, body in console.bundles(web).items()}
    processes = operator.processes()
    operator.wait_told_of_roles()
    begin = audit.mark()

    own_control_plane.restart_api_server()

    operator.wait_until_asked()
    console.apply(scoped_secret(f"{web}/new", env={"NEW": canary.value("after")}))
    # The watches come back with jittered back-off.
    later = pod(f"{web}/after", "aws, new")
    wait_until(lambda: not console.is_refused(later), "admission knows the new definition", seconds=RECOVERY_SECONDS)
    console.create(later)
    (bundle,) = named_secrets(console.cluster.get("pod", "after", "-n", web))
    wait_until(lambda: console.exists("secret", web, bundle), "the new pod's bundle", seconds=RECOVERY_SECONDS)
    seen = console.seen(web, "after").visible
    assert seen == {"KEY": canary.value("before"), "NEW": canary.value("after")}
    assert console.wait_condition(web, "new", "Ready", "True")
    assert [process.program.is_running for process in processes] == [True] * len(processes)
    wait_until(lambda: all(process.is_ready for process in processes), "all probes are ready", seconds=SECONDS)
    assert {name: console.bundles(web)[name]["metadata"]["resourceVersion"] for name in before} == before
    unexpected = [call for call in audit.writes(CONTROLLER_USER, begin) if call.resource == "secrets"]
    assert [call.name for call in unexpected] == [bundle]
