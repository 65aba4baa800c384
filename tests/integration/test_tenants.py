"""What a tenant tries beyond its own scope path: names that look alike, labels of its namespace, what it may read."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Final

import pytest

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

REGION: Final = "not a secret"
# Names of an environment that a person, or a program that normalizes, may take for `production`.
ALIKE: Final = {
    "case": "Production",
    "dot": "production.",
    "homoglyph": "pr\N{CYRILLIC SMALL LETTER O}duction",
    "fullwidth": "\N{FULLWIDTH LATIN SMALL LETTER P}roduction",
    "invisible": "production\N{ZERO WIDTH SPACE}",
    "decomposed": unicodedata.normalize("NFD", "pr\N{LATIN SMALL LETTER O WITH DIAERESIS}duction"),
    "composed": unicodedata.normalize("NFC", "pr\N{LATIN SMALL LETTER O WITH DIAERESIS}duction"),
}
ROLES: Final = ("view", "edit", "admin")


@pytest.fixture(scope="module")
def alike(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """A project whose jobs may ask for `production` and for every name that looks like it."""
    company = found()
    web = company.namespace("web", "web", allow_environments=",".join(["production", *ALIKE.values()]))
    value = canary.value("production only")
    console.apply(scoped_secret(f"{web}/aws", "Environment", environment="production", env={"KEY": value}))
    company.settle(web)
    return company, web


@pytest.mark.parametrize("difference", ALIKE)
def test_an_environment_whose_name_looks_like_another_is_another(
    difference: str, alike: tuple[Company, str], console: Console
):
    _, web = alike

    message = console.refusal(pod(f"{web}/intruder", "aws", annotations={"environment": ALIKE[difference]}))

    assert "NotFound: bundle 'aws' has no definition" in message


def test_an_organization_in_other_letters_is_another(alike: tuple[Company, str], console: Console, canary: Canary):
    company, web = alike
    console.apply(scoped_secret(f"{company.home}/wide", "Organization", env={"KEY": canary.value("wide")}))
    company.settle(web)
    other = f"{company.organization}-upper"
    labels = {names.ORGANIZATION_LABEL: company.organization.upper(), names.PROJECT_LABEL: "web"}
    company.namespaces.append(console.cluster.create_namespace(other, labels, {}))
    intruder = pod(f"{other}/intruder", "wide")

    wait_until(lambda: console.is_refused(intruder, "NotFound: bundle 'wide'"), "the refusal", seconds=SECONDS)


def test_a_namespace_that_is_created_again_is_outside_until_it_is_labeled(
    company: Company, console: Console, canary: Canary
):
    web = company.namespace("again", "web")
    console.apply(
        scoped_secret(f"{company.home}/wide", "Organization", env={"KEY": canary.value("of the home")}),
        scoped_secret(f"{web}/own", env={"KEY": canary.value("of the former owner")}),
    )
    company.settle(web)
    console.create(pod(f"{web}/job", "wide, own"))
    console.seen(web, "job")
    labels = console.cluster.get("namespace", web)["metadata"]["labels"]
    labels.pop("kubernetes.io/metadata.name")

    console.cluster.kubectl("delete", "namespace", web, "--timeout=60s", timeout=90)
    console.cluster.create_namespace(web, {}, {})
    intruder = pod(f"{web}/intruder", "wide")
    # For a moment, admission may still know the former namespace only.
    wait_until(lambda: console.is_refused(intruder, "NamespaceOutside"), "the refusal", seconds=SECONDS)
    console.cluster.kubectl("label", "namespace", web, *(f"{name}={text}" for name, text in labels.items()))
    company.settle(web)

    assert not console.bundles(web)
    assert "NotFound: bundle 'own'" in console.refusal(pod(f"{web}/next", "own"))


@pytest.mark.parametrize("role", ROLES)
def test_a_tenant_changes_no_label_or_annotation_of_its_namespace(role: str, company: Company, console: Console):
    web = company.namespace("web", "web")
    user = f"tenant-{role}"
    console.cluster.kubectl("create", "rolebinding", user, "-n", web, f"--clusterrole={role}", f"--user={user}")

    for command in (
        ("label", "namespace", web, f"{names.PROJECT_LABEL}=other", "--overwrite"),
        ("annotate", "namespace", web, f"{names.ALLOW_ENVIRONMENTS_ANNOTATION}=*"),
        ("create", "namespace", f"{web}-own"),
    ):
        result = console.cluster.kubectl(*command, user=user, check=False)
        assert "is forbidden" in result.stderr

    assert console.cluster.get("namespace", web)["metadata"]["labels"][names.PROJECT_LABEL] == "web"


@pytest.mark.parametrize("role", ROLES)
def test_who_may_view_definitions_sees_no_value(role: str, company: Company, console: Console, canary: Canary):
    web = company.namespace("web", "web")
    user = f"viewer-{role}"
    console.cluster.kubectl("create", "rolebinding", user, "-n", web, f"--clusterrole={role}", f"--user={user}")
    value = canary.value("viewed")
    console.apply(
        scoped_secret(
            f"{web}/aws", env={"KEY": value, "REGION": {"value": REGION, "sensitive": False}}, files={"/f": value}
        )
    )

    seen = console.cluster.kubectl("get", "ssec", "aws", "-n", web, "-o", "yaml", "--show-managed-fields", user=user)

    assert REGION in seen.stdout
    assert not canary.find("what the user sees", seen.stdout)


@pytest.mark.parametrize("role", ROLES)
def test_a_shipped_role_for_people_gives_nothing_on_secrets_and_pods(role: str, company: Company, console: Console):
    web = company.namespace("web", "web")
    user = f"shipped-{role}"
    shipped = f"--clusterrole=scoped-secrets-{role}"
    console.cluster.kubectl("create", "rolebinding", user, "-n", web, shipped, f"--user={user}")
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": web}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    command = ("create", f"--raw={path}", "-f", "-")

    answer = console.cluster.kubectl(*command, input=json.dumps(review), user=user).stdout

    rules = json.loads(answer)["status"]["resourceRules"]
    ours = {resource for rule in rules if names.GROUP in rule["apiGroups"] for resource in rule["resources"]}
    assert ours <= {names.SCOPED_SECRET_PLURAL, names.SECRET_POLICY_PLURAL}
    assert ours
    others = {group for rule in rules for group in rule["apiGroups"]} - {names.GROUP}
    # What every authenticated user may do: ask for its own rights, and read the roles of discovery.
    assert others <= {"authorization.k8s.io", "authentication.k8s.io", "certificates.k8s.io"}
    result = console.cluster.kubectl("get", "secrets", "-n", web, user=user, check=False)
    assert "is forbidden" in result.stderr
