"""One operator and one canary for all end-to-end tests; in the end, a look at everything that they left."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.cluster.errors import NodeUnavailableError
from tests.cluster.processes import wait_until
from tests.conftest import ENVIRONMENT
from tests.e2e.lab import Lab
from tests.e2e.machine import Machine
from tests.support.canary import Canary
from tests.support.installed import InstalledOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

GONE_SECONDS = 60.0


@pytest.fixture(scope="package")
def lab(control_plane: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The running operator with its node.

    What ran under it is looked at once more in the end: no container had missing or wrong values, no bundle is left,
    and no value stands anywhere else.
    """
    operator = InstalledOperator(control_plane, tmp_path_factory.mktemp("operator"))
    lab = Lab(control_plane, node, operator, Canary())
    try:
        operator.install()
        operator.start()
        yield lab
        lab.check_everything()
        assert lab.sweep() == []
        wait_until(lambda: not lab.bundle_secrets(), "the bundle Secrets to go", seconds=GONE_SECONDS)
    finally:
        lab.close()
        operator.uninstall()


@pytest.fixture(scope="session")
def machine(no_personal_cluster: None) -> Iterator[Machine]:
    """A cluster of its own for what is installed as a release; skips where the machine cannot run its pods."""
    with ExitStack() as stack:
        try:
            unsealed = stack.enter_context(Machine.open(ENVIRONMENT))
        except NodeUnavailableError as reason:
            if ENVIRONMENT.get("CI") == "true":
                raise
            pytest.skip(str(reason))
        yield unsealed
