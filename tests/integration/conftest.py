"""One installed operator for all tests here, with the mark of the canary on every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.integration.company import Company
from tests.integration.console import Console
from tests.integration.final_checks import (
    check_no_value_is_anywhere_but_in_bundles,
    check_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name,
    check_the_operator_was_never_refused_by_its_roles,
)
from tests.integration.people import administrator_of, kubeconfig, person, wait_for_certificate
from tests.support.audit_log import AuditLog
from tests.support.canary import Canary
from tests.support.installed import ROOT, InstalledOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

VALUE_FROM_ROLE = ROOT / "manifests" / "optional" / "value-from.yaml"


class Founder(Protocol):
    """Founds organizations; their namespaces stay until the last test, so that the canary is looked for in them."""

    def __call__(self) -> Company:
        """Found one more organization."""
        ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the sweep behind all other tests of this folder, whose traces it looks for."""
    here = [item for item in items if item.path.parent.name == "integration"]
    in_order = sorted(here, key=lambda item: item.path.name == "test_canary.py")
    places = [index for index, item in enumerate(items) if item in here]
    for place, item in zip(places, in_order, strict=True):
        items[place] = item


@pytest.fixture(scope="package")
def canary() -> Canary:
    """The maker of every value in these tests."""
    return Canary()


@pytest.fixture(scope="package")
def installed(own_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledOperator]:
    """The operator, installed once; a test that stops it need not start it again."""
    operator = InstalledOperator(own_control_plane, tmp_path_factory.mktemp("operator"))
    try:
        operator.install()
        operator.start()
        yield operator
    finally:
        operator.uninstall()


@pytest.fixture
def operator(installed: InstalledOperator) -> InstalledOperator:
    """The running operator."""
    installed.start()
    return installed


@pytest.fixture(scope="package")
def console(own_control_plane: ControlPlane) -> Console:
    """An administrator's kubectl."""
    return Console(own_control_plane)


@pytest.fixture(scope="package")
def audit(own_control_plane: ControlPlane) -> AuditLog:
    """What the API server saw."""
    return AuditLog(own_control_plane)


@pytest.fixture(scope="package")
def companies() -> list[Company]:
    """The organizations that were founded so far."""
    return []


@pytest.fixture(scope="package")
def found(installed: InstalledOperator, console: Console, companies: list[Company]) -> Iterator[Founder]:
    """A founder of organizations."""

    def found_one() -> Company:
        company = Company(console)
        companies.append(company)
        return company

    yield found_one
    namespaces = [namespace for company in companies for namespace in company.namespaces]
    if namespaces:
        console.cluster.kubectl("delete", "namespace", "--wait=false", *namespaces)


@pytest.fixture(scope="package")
def final_checks(
    request: pytest.FixtureRequest,
    installed: InstalledOperator,
    found: Founder,
    companies: list[Company],
    canary: Canary,
    console: Console,
    audit: AuditLog,
) -> Iterator[None]:
    """Check the traces of all tests of this process after the last of them.

    Each worker of pytest-xdist has its own control plane, operator and canary, and this fixture of its own. A failed
    check is an error of the last test that the worker ran.
    """
    yield
    if request.session.exitstatus == pytest.ExitCode.INTERRUPTED:
        return
    installed.start()
    before = list(companies)
    check_no_value_is_anywhere_but_in_bundles(canary, console, found(), before, installed)
    check_the_operator_was_never_refused_by_its_roles(audit)
    check_the_operator_read_no_secret_but_its_own_and_those_that_definitions_name(audit)


@pytest.fixture(autouse=True)
def checked_finally(request: pytest.FixtureRequest) -> None:
    """Have the final checks after every test that uses the operator."""
    if "installed" in request.fixturenames:
        request.getfixturevalue("final_checks")


@pytest.fixture
def company(found: Founder, operator: InstalledOperator) -> Company:
    """An organization for one test."""
    return found()


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console) -> Company:
    """An organization with the namespace of project `web`, once the certificate is published; modules add to it."""
    company = found()
    company.namespace("web", "web")
    wait_for_certificate(console)
    return company


@pytest.fixture(scope="module")
def web(firm: Company) -> str:
    """The namespace of the firm's project `web`."""
    return firm.web


@pytest.fixture(scope="module")
def developer(firm: Company) -> Path:
    """A person with the role `edit` in the project's namespace, where the context is, and nothing elsewhere."""
    return kubeconfig(firm, person(firm, "developer", "edit", firm.web), namespace=firm.web)


@pytest.fixture(scope="module")
def governor(firm: Company) -> Path:
    """A person with the role `admin` in the project's namespace, where the context is, and nothing elsewhere."""
    return kubeconfig(firm, person(firm, "governor", "admin", firm.web), namespace=firm.web)


@pytest.fixture(scope="module")
def viewer(firm: Company) -> Path:
    """A person with the role `view` in the project's namespace, where the context is, and nothing elsewhere."""
    return kubeconfig(firm, person(firm, "viewer", "view", firm.web), namespace=firm.web)


@pytest.fixture(scope="module")
def administrator(firm: Company) -> Path:
    """A person with every right on definitions and policies of the firm, who may list those of the cluster."""
    return administrator_of(firm)


@pytest.fixture
def role(console: Console) -> Iterator[None]:
    """The optional role to read native Secrets, for one test."""
    console.cluster.kubectl("apply", "-f", str(VALUE_FROM_ROLE))
    yield
    console.cluster.kubectl("delete", "--ignore-not-found", "-f", str(VALUE_FROM_ROLE))
