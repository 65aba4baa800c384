"""A control plane for the controller alone, with the operator's CRDs and roles and without webhooks."""

from __future__ import annotations

import pytest
from tests.cluster.control_plane import ControlPlane, open_cluster
from tests.conftest import ENVIRONMENT
from tests.controller.lab import Lab


@pytest.fixture(scope="package")
def plane(no_personal_cluster):
    """The control plane; another operator in it would see the same pods."""
    with open_cluster(ENVIRONMENT, purpose="tests of the controller", audit=True) as cluster:
        if not isinstance(cluster, ControlPlane):
            pytest.skip("an existing cluster is used, in which another controller may work")
        yield cluster


@pytest.fixture(scope="package")
def prepared(plane, tmp_path_factory):
    """The control plane with CRDs, roles and the operator's namespace."""
    lab = Lab(plane, tmp_path_factory.mktemp("controller"))
    try:
        lab.install()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(prepared):
    """The control plane with one running controller; all that a test started is ended."""
    prepared.ensure_running()
    yield prepared
    prepared.stop_others()
