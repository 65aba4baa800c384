"""Which end-to-end tests run one after the other, and which side by side: ``pytest -p tests.e2e.groups -n 3``.

Most of these tests wait. A group is what shares a cluster or an installed release. Each worker of pytest-xdist runs
whole groups, and has clusters of its own.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.workermanage import WorkerController

# These files have clusters of their own or none. All others share one control plane and one node, and the files of
# this folder one operator too.
OWN_CLUSTER = re.compile(r"^test_(installed|clean_up|image|sbom)")
# Half of the minutes of the operator's operation as a release: another worker may take them, with its own release.
OUTAGES = re.compile(r"api_server|authority")
OPERATION = "test_installed_operation"
# The groups that take longest begin first, then the others in the order of their files.
LONGEST = (OPERATION, "node", "outages", "test_image", "test_installed_upgrade")


class GroupScheduling(LoadScopeScheduling):
    """Gives a worker the next group when it has at most one test left."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # The last test of a worker waits until pytest-xdist names the next one; two at a time are minutes of a group.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


def group(nodeid: str) -> str:
    """Return the name of a test's group."""
    path, _, name = nodeid.partition("::")
    file = PurePosixPath(path).stem
    if file == OPERATION and OUTAGES.search(name):
        return "outages"
    return file if OWN_CLUSTER.match(file) else "node"


def rank(item: pytest.Item) -> int:
    """Return where a test's group stands among the longest ones."""
    name = group(item.nodeid)
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by groups."""
    items.sort(key=rank)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Schedule whole groups."""
    return GroupScheduling(config, log)
