"""Claims of trusted issuers on a real API server: pods as CI engines create them, by the accounts of these engines."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.names import Reason
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret, secret_policy
from tests.support.engines import engines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from subprocess import CompletedProcess

    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.engines import Engine
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

ENGINES = engines()
OWNER_KINDS = {
    (owner["apiVersion"], owner["kind"], owner["plural"]) for engine in ENGINES.values() for owner in engine.owners
}
MALLORY = "mallory"
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
ROLE = "engines-of-issuers"
BY_REF = [name for name, engine in ENGINES.items() if "ref" in engine.states]


@pytest.fixture(scope="module")
def kinds(console: Console, installed: InstalledOperator) -> None:
    """The kinds of the engines that own pods, and the right of admission to get them, as the chart renders it."""
    for version, kind, plural in sorted(OWNER_KINDS):
        console.apply(crd(version, kind, plural))
    console.cluster.kubectl("wait", "crd", "-l", "test=issuers", "--for=condition=Established", "--timeout=60s")
    groups = {version.split("/")[0] for version, _, _ in OWNER_KINDS}
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["get"]}
        for group in sorted(groups)
        for version, _, plural in sorted(OWNER_KINDS)
        if version.startswith(group)
    ]
    console.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": ROLE},
            "rules": rules,
        }
    )
    account = f"--serviceaccount={names.DEFAULT_NAMESPACE}:{names.ADMISSION_ACCOUNT}"
    console.cluster.kubectl("create", "clusterrolebinding", ROLE, f"--clusterrole={ROLE}", account)
    for version, _, plural in sorted(OWNER_KINDS):
        asked = ("get", f"{plural}.{version.partition('/')[0]}", "none", "-n", "default")

        def is_served(asked: tuple[str, ...] = asked) -> bool:
            return '"none" not found' in installed.with_token_of(names.ADMISSION_ACCOUNT, *asked).stderr

        wait_until(is_served, f"admission may get {plural}", seconds=SECONDS)


@pytest.fixture(scope="module")
def web(found: Founder, console: Console, canary: Canary, kinds: None) -> str:
    """A project's namespace: its bundle is for main alone, and for the accounts that state nothing about refs."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/by-ref", env={"KEY": canary.value("refs")}))
    console.apply(scoped_secret(f"{web}/open", env={"KEY": canary.value("open")}))
    rule = {"name": "main", "refs": ["refs/heads/main", "refs/tags/*"]}
    console.apply(secret_policy(f"{web}/main", "by-ref", rules=[rule]))
    company.settle(web)
    users = [*(engine.creator for engine in ENGINES.values()), MALLORY]
    for number, user in enumerate(users):
        console.cluster.kubectl(
            "create", "rolebinding", f"u{number}", "-n", web, "--clusterrole=admin", f"--user={user}"
        )
    return web


@pytest.fixture
def trusted(operator: InstalledOperator, web: str) -> Iterator[str]:
    """The namespace, with all engines trusted."""
    operator.trust(*(engine.configuration() for engine in ENGINES.values()))
    yield web
    operator.trust()


def crd(version: str, kind: str, plural: str) -> dict[str, Any]:
    """Return a definition of a kind with any content."""
    group, _, number = version.partition("/")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": {"test": "issuers"}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": number, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def act(console: Console, user: str, body: Mapping[str, Any]) -> CompletedProcess[str]:
    """Create an object as a user."""
    command = ("create", "-o", "json", "-f", "-")
    return console.cluster.kubectl(*command, input=json.dumps(body), user=user, check=False)


def own(console: Console, engine: Engine, body: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return the pod with the UIDs of the objects that own it, which are created once."""
    uids: dict[str, str] = {}
    for owner in reversed(engine.owners):
        name = owner["metadata"]["name"]
        if not console.exists(owner["plural"], namespace, name):
            metadata = {**copy.deepcopy(owner["metadata"]), "namespace": namespace}
            del metadata["uid"]
            given = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "metadata": metadata}
            _refer(given, uids)
            console.create(given)
        uids[owner["kind"]] = console.cluster.get(owner["plural"], name, "-n", namespace)["metadata"]["uid"]
    _refer(body, uids)
    return body


def _refer(body: dict[str, Any], uids: Mapping[str, str]) -> None:
    for reference in body["metadata"].get("ownerReferences", ()):
        reference["uid"] = uids.get(reference["kind"], reference["uid"])


def as_job(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a Job whose template is the pod; the controller of Jobs leaves it and the pods of the test alone."""
    metadata = {key: body["metadata"][key] for key in ("labels", "annotations")}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": body["metadata"]["namespace"]},
        "spec": {"managedBy": "example.com/test", "template": {"metadata": metadata, "spec": body["spec"]}},
    }


def submit(console: Console, engine: Engine, namespace: str, user: str, secrets: str) -> Any:
    """Create the engine's pod as a user; return the pod, or why it is denied."""
    body = own(console, engine, engine.pod(namespace, secrets), namespace)
    body["metadata"].pop("generateName", None)
    name = f"{engine.name}-{secrets}-{'own' if user == engine.creator else 'other'}"
    body["metadata"]["name"] = name
    if engine.through is None:
        result = act(console, user, body)
        if result.returncode != 0:
            return result.stderr
        return json.loads(result.stdout)
    result = act(console, user, as_job(body, name))
    assert result.returncode == 0, result.stderr
    # As the controller of Jobs does.
    owner = json.loads(result.stdout)
    metadata = {
        **owner["spec"]["template"]["metadata"],
        "name": name,
        "namespace": namespace,
        "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner["metadata"]["uid"], "controller": True}
        ],
    }
    made = act(console, JOB_CONTROLLER, {**body, "metadata": metadata})
    return json.loads(made.stdout) if made.returncode == 0 else made.stderr


@pytest.mark.parametrize("name", BY_REF)
def test_a_bundle_for_main_reaches_the_pod_of_the_engine_and_no_copy_of_a_person(
    name: str, trusted: str, console: Console
):
    engine = ENGINES[name]

    stored = submit(console, engine, trusted, engine.creator, "by-ref")
    denial = submit(console, engine, trusted, MALLORY, "by-ref")

    assert isinstance(stored, dict), stored
    claims = json.loads(stored["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    assert (claims["creator"], claims["issuer"], claims["ref"]) == (engine.creator, name, engine.states["ref"])
    console.seen(trusted, stored["metadata"]["name"])
    assert isinstance(denial, str), denial
    assert "`refs` is stated by no trusted issuer" in denial


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in BY_REF])
def test_an_engine_that_states_no_ref_gets_what_asks_for_none(name: str, trusted: str, console: Console):
    engine = ENGINES[name]

    stored = submit(console, engine, trusted, engine.creator, "open")
    denial = submit(console, engine, trusted, engine.creator, "by-ref")

    assert isinstance(stored, dict), stored
    assert json.loads(stored["metadata"]["annotations"][names.CLAIMS_ANNOTATION])["issuer"] == name
    assert isinstance(denial, str), denial
    assert Reason.POLICY_DENIED in denial


def test_an_owner_reference_with_another_uid_names_no_owner(trusted: str, console: Console):
    engine = ENGINES["tekton-pipelines-as-code"]
    body = own(console, engine, engine.pod(trusted, "by-ref"), trusted)
    body["metadata"]["name"] = "forged-uid"
    body["metadata"]["ownerReferences"][0]["uid"] = "00000000-0000-4000-8000-000000000000"

    result = act(console, engine.creator, body)

    assert result.returncode != 0
    assert "`refs` is stated by no trusted issuer" in result.stderr


def test_labels_that_change_after_admission_change_no_claim(trusted: str, console: Console):
    engine = ENGINES["gitlab-runner"]
    body = engine.pod(trusted, "open")
    body["metadata"] = {**body["metadata"], "name": "relabeled"}
    body["metadata"].pop("generateName")
    assert act(console, engine.creator, body).returncode == 0

    console.cluster.kubectl(
        "annotate", "pod", "relabeled", "-n", trusted, "--overwrite", "job.runner.gitlab.com/ref=release"
    )

    stored = console.cluster.get("pod", "relabeled", "-n", trusted)
    assert json.loads(stored["metadata"]["annotations"][names.CLAIMS_ANNOTATION])["ref"] == engine.states["ref"]
    console.seen(trusted, "relabeled")


def test_a_record_that_is_written_into_a_stored_pod_gives_it_nothing(
    trusted: str, console: Console, operator: InstalledOperator
):
    body = pod(f"{trusted}/planted", "by-ref")
    body["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = json.dumps(
        {"creator": ENGINES["job"].creator, "issuer": "job", "ref": "refs/heads/main"}
    )
    before = console.bundles(trusted).keys()
    with operator.webhooks_off():
        console.apply(body)

    console.wait_event(trusted, "planted", Reason.NOT_INJECTED)
    assert console.bundles(trusted).keys() == before


def test_a_change_of_the_issuers_counts_without_a_restart_and_an_invalid_one_does_not(
    operator: InstalledOperator, web: str, console: Console
):
    engine = ENGINES["job"]
    admission = operator.admission
    assert admission is not None
    operator.trust()
    assert isinstance(submit_pod(console, engine, web, "reload-none"), str)

    operator.trust(engine.configuration())
    assert isinstance(submit_pod(console, engine, web, "reload-one"), dict)

    operator.write_issuers('{"trustedIssuers": [{"preset": "none"}]}', "trusted issuers rejected")
    assert isinstance(submit_pod(console, engine, web, "reload-invalid"), dict)
    assert "scoped_secrets_admission_trusted_issuers_valid 0.0" in admission.metrics()

    operator.trust()
    assert "scoped_secrets_admission_trusted_issuers_valid 1.0" in admission.metrics()


def submit_pod(console: Console, engine: Engine, namespace: str, name: str) -> dict[str, Any] | str:
    """Create the pod directly, without a Job."""
    body = engine.pod(namespace, "by-ref")
    body["metadata"]["name"] = name
    result = act(console, engine.creator, body)
    stored: dict[str, Any] | str = json.loads(result.stdout) if result.returncode == 0 else result.stderr
    return stored
