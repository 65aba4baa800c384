"""``scoped-secrets run --install``: both processes for a person, with one command and one kubeconfig."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.integration.console import pod, scoped_secret
from tests.support.memory import core_limit
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

ALL_BUT_DELETE = "all-but-delete"
PARTS = ("references", "accounts", "secrets", "statuses", "pods")


def test_run_installs_serves_and_removes_its_webhooks(
    company: Company,
    console: Console,
    canary: Canary,
    installed: InstalledOperator,
    own_control_plane: ControlPlane,
    tmp_path: Path,
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/before", env={"BEFORE": canary.value("before run")}))
    installed.stop()
    installed.remove_guard()
    log = tmp_path / "run.log"
    try:
        with RunningOperator.start(own_control_plane, log, "--log-level", "debug") as running:
            pids = [running.program.pid, *running.program.children()]
            assert {core_limit(pid) for pid in pids} == {("0", "0")}
            assert len(pids) == 3
            console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("run")}))
            company.settle(web)
            console.create(pod(f"{web}/job", "aws, before"))
            seen = console.seen(web, "job").visible
            assert webhook_configurations(console) == {names.WEBHOOK_CONFIGURATION}
            others = {f"{names.WEBHOOK_CONFIGURATION}-{part}" for part in (*PARTS, "injected", "workloads")}
            assert policies(console) == {names.WEBHOOK_CONFIGURATION, *others}

        assert webhook_configurations(console) == set()
        assert policies(console) == set()
    finally:
        installed.install()
        installed.start()
        installed.logs.append(log)

    # Both ways of installation share the keys: what one sealed, the other opens.
    assert seen == {"KEY": canary.value("run"), "BEFORE": canary.value("before run")}
    console.create(pod(f"{web}/next", "aws, before"))
    assert console.seen(web, "next").visible == seen


def test_run_says_what_it_leaves_when_its_user_may_not_delete(
    console: Console, installed: InstalledOperator, own_control_plane: ControlPlane, tmp_path: Path
):
    installed.start()
    installed.stop()
    kubeconfig, log = may_all_but_delete(own_control_plane), tmp_path / "run.log"
    try:
        installed.remove_guard()
        with RunningOperator.start(own_control_plane, log, "--kubeconfig", str(kubeconfig)):
            pass

        last = log.read_text().splitlines()[-1]
        assert "your role does not allow the verb 'delete' on " in last
        (remedy,) = re.findall(r"remove them with: kubectl (.*)", last)
        assert webhook_configurations(console) == {names.WEBHOOK_CONFIGURATION}
        own_control_plane.kubectl(*remedy.split())
        assert webhook_configurations(console) == policies(console) == set()
    finally:
        own_control_plane.kubectl("delete", "clusterrolebinding,clusterrole", ALL_BUT_DELETE, "--ignore-not-found")
        installed.install()
        installed.start()
        installed.logs.append(log)


def may_all_but_delete(plane: ControlPlane) -> Path:
    """Return the kubeconfig of a user who may do everything except delete."""
    verbs = ["get", "list", "watch", "create", "update", "patch", "bind", "escalate"]
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": verbs},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    version = "rbac.authorization.k8s.io/v1"
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": ALL_BUT_DELETE}, "rules": rules}
    plane.kubectl("apply", "-f", "-", input=json.dumps(role))
    to_user = (f"--clusterrole={ALL_BUT_DELETE}", f"--user={ALL_BUT_DELETE}")
    plane.kubectl("create", "clusterrolebinding", ALL_BUT_DELETE, *to_user)
    return plane.kubeconfig_for(ALL_BUT_DELETE)


def policies(console: Console) -> set[str]:
    """Return the names of all policies and bindings."""
    kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    return {item["metadata"]["name"] for item in console.cluster.get(kinds)["items"]}


def webhook_configurations(console: Console) -> set[str]:
    """Return the names of all webhook configurations of either kind."""
    kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations"
    return {item["metadata"]["name"] for item in console.cluster.get(kinds)["items"]}
