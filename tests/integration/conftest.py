"""One installed operator for all tests here, with the mark of the canary on every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.integration.company import Company
from tests.integration.console import Console
from tests.support.audit_log import AuditLog
from tests.support.canary import Canary
from tests.support.installed import ROOT, InstalledOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def found(installed: InstalledOperator, console: Console) -> Iterator[Founder]:
    """A founder of organizations."""
    companies: list[Company] = []

    def found_one() -> Company:
        company = Company(console)
        companies.append(company)
        return company

    yield found_one
    namespaces = [namespace for company in companies for namespace in company.namespaces]
    if namespaces:
        console.cluster.kubectl("delete", "namespace", "--wait=false", *namespaces)


@pytest.fixture
def company(found: Founder, operator: InstalledOperator) -> Company:
    """An organization for one test."""
    return found()


@pytest.fixture
def role(console: Console) -> Iterator[None]:
    """The optional role to read native Secrets, for one test."""
    console.cluster.kubectl("apply", "-f", str(VALUE_FROM_ROLE))
    yield
    console.cluster.kubectl("delete", "--ignore-not-found", "-f", str(VALUE_FROM_ROLE))
