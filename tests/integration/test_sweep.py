"""Pods that opted in and were not injected: reported, and with `--sweep Delete` deleted if that helps their owner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

ROLE: Final = "scoped-secrets-sweep"
LONG: Final = 90.0


def deployment(name: str, wanted: str, replicas: int = 1) -> dict[str, Any]:
    """Return a Deployment whose pods opt in."""
    template = pod("x/x", wanted)
    metadata = {field: template["metadata"][field] for field in ("labels", "annotations")}
    metadata["labels"] = {"app": name, **metadata["labels"]}
    spec = {**template["spec"], "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


class World:
    """A namespace with pods that were created while the webhooks were off."""

    def __init__(self, console: Console, web: str) -> None:
        self.console = console
        self.web = web

    def pods(self, app: str) -> dict[str, dict[str, Any]]:
        """Return the present pods of a Deployment, by UID."""
        listed = self.console.cluster.get("pods", "-n", self.web, "-l", f"app={app}")["items"]
        return {one["metadata"]["uid"]: one for one in listed if "deletionTimestamp" not in one["metadata"]}

    def injected(self, app: str) -> int:
        """Return how many of them have a bundle."""
        return sum(bool(named_secrets(one)) for one in self.pods(app).values())

    def create(self, body: Mapping[str, Any]) -> None:
        """Create an object in the namespace."""
        self.console.cluster.kubectl("create", "-n", self.web, "-f", "-", input=json.dumps(body))

    def wait_events(self, reason: str, *involved: str) -> None:
        """Wait until each of these pods has an event."""
        for name in involved:
            self.console.wait_event(self.web, name, reason)


@pytest.fixture
def world(found: Founder, console: Console, canary: Canary, operator: InstalledOperator) -> Iterator[World]:
    """Pods without secrets: of a Deployment, of one whose bundle does not exist, of no owner, and finished."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("sweep")}))
    company.settle(web)
    console.cluster.kubectl("create", "clusterrole", ROLE, "--verb=delete", "--resource=pods")
    account = f"--serviceaccount={names.DEFAULT_NAMESPACE}:{names.CONTROLLER_ACCOUNT}"
    console.cluster.kubectl("create", "clusterrolebinding", ROLE, f"--clusterrole={ROLE}", account)
    world = World(console, web)
    with operator.webhooks_off():
        world.create(deployment("served", "aws", replicas=2))
        world.create(deployment("denied", "no-such-bundle"))
        console.create(pod(f"{web}/alone", "aws"))
        wait_until(lambda: len(world.pods("served")) == 2, "the pods exist", seconds=SECONDS)
        wait_until(lambda: len(world.pods("denied")) == 1, "the pod exists", seconds=SECONDS)
    yield world
    console.cluster.kubectl("delete", "deployment", "served", "denied", "-n", web)
    console.cluster.kubectl("delete", "clusterrolebinding,clusterrole", ROLE)
    operator.stop_controllers()
    operator.start()


def test_by_default_a_pod_that_was_not_injected_is_reported_and_stays(world: World, operator: InstalledOperator):
    before = {**world.pods("served"), **world.pods("denied")}

    world.wait_events("NotInjected", *(one["metadata"]["name"] for one in before.values()), "alone")

    assert {**world.pods("served"), **world.pods("denied")}.keys() == before.keys()
    lines = [line for line in operator.audit_log() if line["event"] == "Bundle"]
    assert {"alone"} <= {line["pod"]["name"] for line in lines if line["reason"] == "NotInjected"}
    (controller,) = operator.controllers
    assert 'reason="NotInjected"' in controller.metrics()


def test_with_delete_the_owner_creates_the_pod_again_with_secrets_and_no_other_pod_is_deleted(
    world: World, operator: InstalledOperator
):
    before, denied = world.pods("served"), world.pods("denied")
    operator.stop_controllers()
    operator.start_controller("--sweep", "Delete")

    wait_until(lambda: world.injected("served") == 2, "both pods have secrets", seconds=LONG)

    assert not world.pods("served").keys() & before.keys()
    world.wait_events("Swept", *(one["metadata"]["name"] for one in before.values()))
    # A pod that could not be created again stays, and one that no owner creates again.
    assert world.pods("denied").keys() == denied.keys()
    assert world.console.exists("pod", world.web, "alone")


def test_an_owner_whose_new_pod_is_not_injected_either_loses_no_second_pod(world: World, operator: InstalledOperator):
    operator.stop_controllers()
    with operator.webhooks_off():
        world.console.cluster.kubectl("scale", "deployment", "served", "-n", world.web, "--replicas=1")
        wait_until(lambda: len(world.pods("served")) == 1, "one pod is left", seconds=SECONDS)
        (old,) = world.pods("served")
        controller = operator.start_controller("--sweep", "Delete")
        wait_until(
            lambda: "was not injected; the webhooks do not see it" in controller.program.log.read_text(),
            "the new pod is kept",
            seconds=LONG,
        )

    (new,) = world.pods("served").values()
    assert new["metadata"]["uid"] != old
    assert not named_secrets(new)
