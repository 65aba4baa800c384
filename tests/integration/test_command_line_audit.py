"""What an API server that logs every body of requests and responses sees of the values of our command line: nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.cluster.assets import find_assets
from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import wait_until
from tests.conftest import ENVIRONMENT
from tests.integration.console import SECONDS, Console, scoped_secret
from tests.support.builders import scope_labels
from tests.support.canary import Canary
from tests.support.installed import InstalledOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}


@pytest.fixture(scope="module")
def plane(no_personal_cluster: None) -> Iterator[ControlPlane]:
    """A control plane whose audit log holds every body."""
    with ControlPlane.start(find_assets(ENVIRONMENT), audit=True, audit_policy=POLICY) as plane:
        yield plane


@pytest.fixture
def console(plane: ControlPlane, tmp_path: Path) -> Iterator[Console]:
    """A cluster with the operator."""
    operator = InstalledOperator(plane, tmp_path)
    try:
        operator.install()
        operator.start()
        get = ("get", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE, "--ignore-not-found")
        wait_until(lambda: bool(plane.kubectl(*get).stdout), "the certificate is published", seconds=SECONDS)
        yield Console(plane)
    finally:
        operator.uninstall()


def test_no_value_of_the_command_line_is_in_an_audit_log_of_whole_bodies(
    plane: ControlPlane, console: Console, tmp_path: Path
):
    canary, seen = Canary(), Canary()
    web = plane.create_namespace("web", scope_labels("acme", "web"))
    key = tmp_path / "key"
    key.write_text(canary.awkward("file"))
    lines = tmp_path / "env"
    lines.write_text(f"B={canary.value('b')}\n")
    place = ("-p", "web", "--organization", "acme", "--kubeconfig", str(plane.kubeconfig))

    def run(*arguments: str, stdin: str = "") -> str:
        program = [sys.executable, "-m", "scoped_secrets", *arguments, *place]
        result = subprocess.run(program, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    create = ("create", "aws", "-e", "A=@-", "--env-file", str(lines), "-f", f"{key}:/data/key")
    shown = [
        run(*create, "--dry-run=server", stdin=canary.value("a")),
        run(*create, stdin=canary.value("a")),
        run("set", "aws", "A=@-", stdin=canary.value("changed")),
        run("set", "aws", "-f", f"{key}:/data/key"),
        run("unset", "aws", "B"),
        run("get", "aws", "-o", "yaml"),
        run("describe", "aws"),
    ]
    # What a person applies in plain text is there, so that the search is known to look at these bodies.
    console.apply(scoped_secret(f"{web}/plain", env={"KEY": seen.value("seen")}))
    log = plane.logs()["audit"]

    assert seen.find_in_log(log)
    assert [str(finding) for finding in canary.find_in_log(log)] == []
    assert canary.find("output", "".join(shown)) == []
    verbs = {
        entry["verb"]
        for entry in plane.audit_entries()
        if entry.get("userAgent") == names.DISTRIBUTION and entry["objectRef"].get("name") == "aws"
    }
    assert {"create", "patch"} <= verbs
