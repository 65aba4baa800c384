"""What the commands say about jobs is what the cluster decides, from the cluster and from its objects in files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from scoped_secrets import names
from scoped_secrets.cli.main import cli
from scoped_secrets.names import Reason
from tests.integration.console import pod, scoped_secret, secret_policy
from tests.integration.people import kubeconfig as kubeconfig_of
from tests.integration.people import person

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Firm:
    """An organization with a project, its production, and bundles under every kind of rule."""

    company: Company
    files: Path
    reader: Path

    def place(self, suffix: str) -> str:
        return f"{self.company.organization}-{suffix}"


@dataclass(frozen=True)
class Case:
    """A job: where it runs, the bundle that it names, and the reason of its denial."""

    place: str
    bundle: str
    environment: str | None = None
    account: str = "default"
    denied: Reason | None = None


CASES = {
    "a deployer in production": Case("production", "aws", account="deployer"),
    "another account in production": Case("production", "aws", denied=Reason.POLICY_DENIED),
    "no environment": Case("web", "aws"),
    "an environment that the namespace allows": Case("web", "aws", "staging"),
    "an environment that it does not allow": Case("web", "aws", "qa", denied=Reason.ENVIRONMENT_NOT_ALLOWED),
    "an environment that a rule grants": Case("web", "aws", "canary", account="deployer"),
    "another environment's namespace": Case("production", "aws", "staging", denied=Reason.ENVIRONMENT_NOT_ALLOWED),
    "a pattern": Case("web", "aws", "review/42"),
    "a name without a definition": Case("web", "nothing", denied=Reason.NOT_FOUND),
    "a name of another scope": Case("web", "production-only", denied=Reason.NOT_FOUND),
    "a final definition": Case("web", "fixed"),
    "the home": Case("home", "aws"),
    "a ref that nothing states": Case("web", "release", denied=Reason.POLICY_DENIED),
    "a policy that denies": Case("web", "frozen", denied=Reason.POLICY_DENIED),
    "a namespace outside": Case("outside", "aws", denied=Reason.NAMESPACE_OUTSIDE),
    "a home that the bundle changes": Case("web", "homeless", denied=Reason.HOME_UNKNOWN),
}


@pytest.fixture(scope="module")
def firm(
    found: Founder,
    installed: InstalledOperator,
    console: Console,
    canary: Canary,
    tmp_path_factory: pytest.TempPathFactory,
) -> Firm:
    installed.start()
    company = found()
    home, organization = company.home, company.organization
    web = company.namespace("web", "web", allow_environments="staging, review/*")
    production = company.namespace("production", "web", "production")
    company.outside()
    for namespace in (web, production):
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "deployer", "namespace": namespace},
        }
        console.apply(account)

    def value(name: str) -> dict[str, str]:
        return {name: canary.value(f"ask {name}")}

    console.apply(
        scoped_secret(f"{home}/aws", "Organization", env=value("REGION") | value("KEY")),
        scoped_secret(f"{production}/aws", "Environment", environment="production", override="Merge", env=value("KEY")),
        scoped_secret(
            f"{web}/aws-staging", "Environment", environment="staging", secretName="aws", env=value("STAGING")
        ),
        scoped_secret(
            f"{web}/aws-review", "Environment", environment="review/*", secretName="aws", files=value(".aws/review")
        ),
        scoped_secret(f"{production}/production-only", "Environment", environment="production", env=value("ONLY")),
        scoped_secret(f"{home}/fixed", "Organization", final=True, env=value("FIXED")),
        scoped_secret(f"{web}/fixed", "Project", env=value("OWN")),
        scoped_secret(f"{web}/release", "Project", env=value("RELEASE")),
        scoped_secret(f"{web}/frozen", "Project", env=value("FROZEN")),
        scoped_secret(f"{web}/homeless", "Project", env=value("HOME"), files=value(".config")),
        secret_policy(
            f"{home}/production",
            "aws",
            secrets={"names": ["aws"], "scopes": ["Environment"]},
            rules=[
                {"name": "deployer", "environments": ["production", "canary"], "serviceAccounts": ["deployer"]},
                {"name": "others", "environments": ["staging", "review/*"]},
            ],
        ),
        secret_policy(f"{web}/release", "release", rules=[{"name": "main", "refs": ["refs/heads/main"]}]),
        secret_policy(f"{home}/frozen", "frozen", effect="Deny", interactive={"exec": "Deny"}),
    )
    company.settle(web)
    folder = tmp_path_factory.mktemp("files")
    _export(console, company, folder)
    return Firm(company, folder, _reader(console, organization))


def _export(console: Console, company: Company, folder: Path) -> None:
    """Write the objects of the cluster into files, as `kubectl get -o yaml` prints them."""
    kubectl = console.cluster.kubectl
    (folder / "namespaces.yaml").write_text(kubectl("get", "namespace", *company.namespaces, "-o", "yaml").stdout)
    for namespace in company.namespaces:
        listed = kubectl("get", "ssec,spol", "-n", namespace, "-o", "yaml").stdout
        (folder / f"{namespace}.yaml").write_text(listed)


def _reader(console: Console, user: str) -> Path:
    """Return the kubeconfig of a person who may read names everywhere, and no Secret."""
    kubectl = console.cluster.kubectl
    resources = f"namespaces,pods,{names.SCOPED_SECRET_PLURAL}.{names.GROUP},{names.SECRET_POLICY_PLURAL}.{names.GROUP}"
    kubectl("create", "clusterrole", f"{user}-reader", "--verb=get,list", f"--resource={resources}")
    kubectl("create", "clusterrolebinding", f"{user}-reader", f"--clusterrole={user}-reader", f"--user={user}-reader")
    return console.cluster.kubeconfig_for(f"{user}-reader")


def run(*arguments: str, kubeconfig: Path | None = None) -> CompletedProcess[str]:
    """Run our program as a person does."""
    program = [sys.executable, "-m", "scoped_secrets", *arguments]
    if kubeconfig is not None:
        program += ["--kubeconfig", str(kubeconfig)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)


def run_here(*arguments: str) -> CompletedProcess[str]:
    """Run our program in this process, which is as good for a command that only reads files."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def body_of(firm: Firm, case: Case, name: str) -> dict[str, Any]:
    """Return the pod of a case."""
    annotations = {} if case.environment is None else {names.ENVIRONMENT_ANNOTATION: case.environment}
    body = pod(f"{firm.place(case.place)}/{name}", case.bundle, serviceAccountName=case.account)
    body["metadata"]["annotations"] |= annotations
    return body


def dry_run(console: Console, body: dict[str, Any]) -> dict[str, Any]:
    """Return the pod as the cluster would store it."""
    created = console.cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(body))
    stored: dict[str, Any] = json.loads(created.stdout)
    return stored


def flags_of(firm: Firm, case: Case) -> list[str]:
    environment = [] if case.environment is None else ["--environment", case.environment]
    return ["--namespace", firm.place(case.place), "--service-account", case.account, *environment]


def injected(body: dict[str, Any]) -> Any:
    """Return what injection adds to a pod, without the name of the bundle Secret."""
    containers = [
        (
            [each["name"] for each in container.get("env", ())],
            sorted(
                (mount["mountPath"], mount.get("subPath"))
                for mount in container.get("volumeMounts", ())
                if mount["name"] == names.VOLUME_NAME
            ),
        )
        for container in body["spec"]["containers"]
    ]
    report = json.loads(body["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
    # Only a request has a creator.
    report.pop("claims", None)
    return containers, report


@pytest.mark.parametrize("source", ["cluster", "files"])
@pytest.mark.parametrize("sentence", CASES)
def test_every_answer_is_the_decision_of_the_cluster(
    sentence: str, source: str, firm: Firm, console: Console, canary: Canary, tmp_path: Path
):
    case = CASES[sentence]
    body = body_of(firm, case, "asked")
    is_offline = source == "files"
    where = ["-f", str(firm.files)] if is_offline else ["--kubeconfig", str(firm.reader)]
    command = run_here if is_offline else run

    refusal = console.cluster.refusal(body)
    asked = command("can-use", case.bundle, *flags_of(firm, case), *where, "-o", "json")
    explained = command("explain", case.bundle, *flags_of(firm, case), *where, "-o", "json")

    assert (case.denied is None) == (refusal == "")
    answer, (explanation,) = json.loads(asked.stdout), json.loads(explained.stdout)
    assert asked.returncode == explained.returncode == (0 if case.denied is None else 1), asked.stderr
    assert answer["granted"] is explanation["granted"] is (case.denied is None)
    if case.denied is None:
        report = json.loads(dry_run(console, body)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
        (bundle,) = report["bundles"]
        results = {each["definition"]: each["result"] for each in explanation["definitions"]}
        assert [location for location, result in results.items() if result == "winner"] == [bundle["definition"]]
        for key, result in (("shadowed", "shadowed"), ("blocked", "blocked")):
            assert sorted(loc for loc, each in results.items() if each == result) == sorted(bundle.get(key, ()))
        assert [loc for loc, each in results.items() if each == "merged"] == [
            merged["definition"] for merged in bundle.get("mergedFrom", ())
        ]
        for allowed in bundle.get("allowedBy", ()):
            assert f"policy '{allowed['policy']}', rule '{allowed['rule']}'" in answer["message"]
    else:
        assert answer["reason"] == explanation["reason"] == case.denied
        assert f"{case.denied}: {answer['message']}" in refusal
    for printed in (asked.stdout, asked.stderr, explained.stdout, explained.stderr):
        assert not canary.find("the answer", printed)


@pytest.mark.parametrize("sentence", CASES)
def test_render_makes_the_pod_that_the_cluster_makes(
    sentence: str, firm: Firm, console: Console, canary: Canary, tmp_path: Path
):
    case = CASES[sentence]
    body = body_of(firm, case, "rendered")
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(body))

    rendered = run_here("render", "-f", str(firm.files), "--pod", str(file))

    if case.denied is None:
        assert rendered.returncode == 0, rendered.stderr
        assert injected(yaml.safe_load(rendered.stdout)) == injected(dry_run(console, body))
    else:
        assert rendered.returncode == 1
        message = rendered.stderr.strip().rpartition(f"'{body['metadata']['name']}': ")[2]
        assert message.startswith(f"{case.denied}: ")
        assert message in console.cluster.refusal(body)
    assert not canary.find("the pod", rendered.stdout + rendered.stderr)


def test_lint_finds_nothing_to_reject_in_what_the_cluster_stores(firm: Firm, canary: Canary):
    linted = run("lint", "-f", str(firm.files), "-o", "json")

    findings = json.loads(linted.stdout)["findings"]
    assert [each for each in findings if each["severity"] == "error"] == []
    assert not canary.find("the findings", linted.stdout)


def test_explain_shows_what_is_not_delivered_and_which_sessions_are_denied(firm: Firm):
    case = CASES["an environment that the namespace allows"]
    shadowing = run("explain", "aws", *flags_of(firm, case), "--kubeconfig", str(firm.reader))
    frozen = run("explain", "frozen", *flags_of(firm, case), "--kubeconfig", str(firm.reader))

    assert "Not delivered, because only definitions without effect have them: REGION, KEY" in shadowing.stdout
    assert "exact match of environment 'staging'" in shadowing.stdout
    assert f"Sessions: exec denied by policy '{firm.company.home}/frozen'" in frozen.stdout


def test_stored_pod_is_told_by_what_gets_who_uses_and_explain(firm: Firm, console: Console, canary: Canary):
    case = CASES["a deployer in production"]
    namespace = firm.place(case.place)
    console.create(body_of(firm, case, "stored"))
    view = console.seen(namespace, "stored")

    gets = run("what-gets", "pod/stored", "-n", namespace, "-o", "json", kubeconfig=firm.reader)
    uses = run("who-uses", "aws", "--organization", firm.company.organization, "-o", "json", kubeconfig=firm.reader)
    explained = run("explain", "pod/stored", "-n", namespace, "-o", "json", kubeconfig=firm.reader)

    got = json.loads(gets.stdout)
    (variables,) = got["variables"].values()
    assert set(variables) == set(view.visible)
    assert [(each["name"], each["definition"]) for each in got["bundles"]] == [("aws", f"{namespace}/aws")]
    assert got["bundles"][0]["mergedFrom"] == [f"{firm.company.home}/aws"]
    assert got["bundles"][0]["allowedBy"] == [f"{firm.company.home}/production, rule deployer"]
    listed = json.loads(uses.stdout)["pods"]
    assert [(each["namespace"], each["pod"], each["definition"]) for each in listed] == [
        (namespace, "stored", f"{namespace}/aws")
    ]
    (explanation,) = json.loads(explained.stdout)
    assert (explanation["bundle"], explanation["granted"], explained.returncode) == ("aws", True, 0)
    for printed in (gets, uses, explained):
        assert not canary.find("the answer", printed.stdout + printed.stderr)


def test_person_who_may_not_read_everything_is_told_so_and_gets_no_yes(firm: Firm, console: Console):
    web = firm.place("web")
    user = f"{firm.company.organization}-viewer"
    kubectl = console.cluster.kubectl
    resources = f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP},{names.SECRET_POLICY_PLURAL}.{names.GROUP}"
    kubectl("create", "role", user, "-n", web, "--verb=get,list", f"--resource={resources}")
    kubectl("create", "rolebinding", user, "-n", web, f"--role={user}", f"--user={user}")
    kubectl("create", "clusterrole", f"{user}-web", "--verb=get", "--resource=namespaces", f"--resource-name={web}")
    kubectl("create", "clusterrolebinding", f"{user}-web", f"--clusterrole={user}-web", f"--user={user}")
    viewer = console.cluster.kubeconfig_for(user)

    asked = run("can-use", "fixed", "--namespace", web, kubeconfig=viewer)
    uses = run("who-uses", "fixed", kubeconfig=viewer)
    gets = run("what-gets", "pod/any", "-n", web, kubeconfig=viewer)

    assert (asked.returncode, asked.stdout.startswith("not known")) == (2, True)
    assert "not read: the labels of other namespaces" in asked.stderr
    assert (uses.returncode, gets.returncode) == (1, 1)
    assert "cannot be read with your rights" in uses.stderr


def test_person_who_may_read_the_pods_of_one_namespace_is_told_who_uses_a_bundle_there(firm: Firm, console: Console):
    case = CASES["a deployer in production"]
    namespace = firm.place(case.place)
    console.create(body_of(firm, case, "held"))
    user = person(firm.company, "one-namespace", "view", namespace)

    uses = run("who-uses", "aws", kubeconfig=kubeconfig_of(firm.company, user, namespace))

    assert (uses.returncode, uses.stderr) == (0, "Warning: not read: the pods of other namespaces\n")
    assert re.search(rf"^{namespace} +held ", uses.stdout, re.MULTILINE)


def test_person_with_the_rights_of_the_organization_alone_gets_an_answer(firm: Firm, console: Console):
    user = f"{firm.company.organization}-member"
    kubectl = console.cluster.kubectl
    kubectl("create", "clusterrole", f"{user}-namespaces", "--verb=list", "--resource=namespaces")
    kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}-namespaces", f"--user={user}")
    resources = f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP},{names.SECRET_POLICY_PLURAL}.{names.GROUP}"
    for suffix in ("home", "web", "production"):
        namespace = firm.place(suffix)
        kubectl("create", "role", user, "-n", namespace, "--verb=list", f"--resource={resources}")
        kubectl("create", "rolebinding", user, "-n", namespace, f"--role={user}", f"--user={user}")
    member = console.cluster.kubeconfig_for(user)

    # `outside` belongs to no organization, and other tests have organizations of their own.
    asked = run("can-use", "fixed", "-p", "web", "--organization", firm.company.organization, kubeconfig=member)

    assert (asked.returncode, asked.stdout.startswith("yes: ")) == (0, True), asked.stderr
    assert "not read" not in asked.stderr


def test_settings_of_the_operator_come_from_its_deployment(firm: Firm, console: Console):
    operator = firm.place("outside")
    labels = {"app.kubernetes.io/component": "admission"}
    container = {"name": "admission", "image": "x", "args": ["admission", "--default-access=Deny"]}
    console.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "admission", "namespace": operator, "labels": labels},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
    )
    flags = ("can-use", "fixed", "--namespace", firm.place("web"))

    read = run(*flags, "--operator-namespace", operator, kubeconfig=console.cluster.kubeconfig)
    stated = run(
        *flags,
        "--operator-namespace",
        operator,
        "--default-access",
        "AllowInScope",
        kubeconfig=console.cluster.kubeconfig,
    )
    assumed = run(*flags, kubeconfig=firm.reader)

    assert (read.returncode, "denied by the default access Deny" in read.stdout, read.stderr) == (1, True, "")
    assert (stated.returncode, stated.stderr) == (0, "")
    assert (assumed.returncode, "the defaults of --organization, --default-access" in assumed.stderr) == (0, True)
