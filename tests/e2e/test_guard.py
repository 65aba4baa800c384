"""What people try with kubectl to get another job's secrets on a real node, and how the API server answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scoped_secrets import names
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def victim(lab: Lab) -> Iterator[Run]:
    """A running pod with a bundle."""
    namespace = lab.organization().namespace("web")
    token = lab.value()
    lab.define(definition(namespace, "guarded", env={"TOKEN": token}))
    run = pod_run(namespace, "victim", "guarded", Probe().variable("TOKEN", token).hold())
    lab.start(run)
    lab.wait_until_held(run)
    yield run
    lab.release(run)
    lab.finish(run)


def bundle_of(lab: Lab, run: Run) -> str:
    """Return the name of the bundle Secret of a run's pod."""
    variables = lab.pod(run)["spec"]["containers"][0]["env"]
    found: str = next(v["valueFrom"]["secretKeyRef"]["name"] for v in variables if "valueFrom" in v)
    return found


def test_an_unlabelled_pod_that_names_the_bundle_is_denied(lab: Lab, victim: Run):
    thief = pod_run(victim.namespace, "thief", "", Probe(), main={"envFrom": [{"secretRef": {"name": "x"}}]})
    thief.body["metadata"]["labels"].pop(names.INJECT_LABEL)
    thief.body["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"] = bundle_of(lab, victim)

    succeeded, message = lab.try_create(thief)

    assert not succeeded
    assert "ValidatingAdmissionPolicy" in message


@pytest.mark.parametrize("options", [(), ("--share-processes",)], ids=["plain", "shared processes"])
def test_a_copy_of_the_pod_for_debugging_is_denied(options: tuple[str, ...], lab: Lab, victim: Run):
    image = victim.pod_body["spec"]["containers"][0]["image"]
    answer = lab.cluster.kubectl(
        *("debug", "victim", "-n", victim.namespace, "--copy-to=copy", f"--image={image}", "--attach=false"),
        *options,
        "--",
        "true",
        check=False,
    )

    assert answer.returncode != 0
    assert "denied" in answer.stderr


def test_a_copy_of_the_pod_under_a_generated_name_is_denied(lab: Lab, victim: Run):
    body = lab.pod(victim)
    metadata = {key: body["metadata"][key] for key in ("labels", "annotations", "namespace")}
    copied = {**body, "metadata": {**metadata, "generateName": victim.name}}
    copied.pop("status")

    answer = lab.cluster.kubectl("create", "-f", "-", input=json.dumps(copied), check=False)

    assert answer.returncode != 0
    assert names.Reason.RESERVED_NAME in answer.stderr


@pytest.mark.parametrize("verb", ["delete", "patch"])
def test_an_administrator_neither_deletes_nor_changes_the_bundle(verb: str, lab: Lab, victim: Run):
    bundle = ("secret", bundle_of(lab, victim), "-n", victim.namespace)
    change = {"delete": (), "patch": ("--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')}[verb]

    answer = lab.cluster.kubectl(verb, *bundle, *change, check=False)

    assert answer.returncode != 0
    assert "ValidatingAdmissionPolicy" in answer.stderr


def test_an_attached_bundle_replaces_no_program_of_a_container(lab: Lab):
    organization = lab.organization()
    namespace = organization.namespace("web")
    lab.define(
        definition(organization.home, "tools", "Organization", attach="Always", files=[file("/bin/sh", lab.value())])
    )
    run = pod_run(namespace, "taken-over", "", Probe())

    succeeded, message = lab.try_create(run)

    assert not succeeded
    assert names.Reason.PATH_NOT_ALLOWED in message
