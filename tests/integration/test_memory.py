"""What a core image of the processes would hold, and that none is ever written."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.support.memory import core_limit, occurrences

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.installed import InstalledOperator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of these processes"),
]

RENDERINGS = 16
EACH = 3
# A variable of a usual size, and a file that is too large for the parts of the heap that are not overwritten.
SMALL, REPEATED = 48, 200
MOST_SMALL_COPIES = 8
"""More than was ever seen, after one rendering or after many: it was one."""


class Marked:
    """A value that is looked for in memory as it is and as base64."""

    def __init__(self, repeated: int) -> None:
        """Make one that consists of a random text, so many times."""
        self._text = secrets.token_hex(SMALL // 2)
        self.value = self._text * repeated

    def copies_in(self, pid: int) -> int:
        """Return how many times the text stands there; divided by the repetitions it is the number of copies."""
        # The length is a multiple of 3: in base64 the text looks the same each time.
        encoded = base64.b64encode(self._text.encode())
        return occurrences(pid, self._text.encode(), encoded)


def wait_little_left(small: Marked, large: Marked, pid: int) -> None:
    """Wait until a process holds not one whole copy of what is larger than a kilobyte, and few of what is smaller.

    What is seen from outside, a bundle or an answer, is there before the process is through with its work.
    """
    wait_until(
        lambda: small.copies_in(pid) <= MOST_SMALL_COPIES and large.copies_in(pid) < REPEATED,
        "little to be left of the values",
        seconds=SECONDS,
    )


def test_rendering_leaves_few_copies_of_a_value_and_no_more_after_many(
    company: Company, console: Console, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    small, large = Marked(1), Marked(REPEATED)
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": small.value}, files={"/f": large.value}))
    company.settle(web)
    controller = operator.keep_one_controller()
    pid = controller.program.pid
    before = small.copies_in(pid), large.copies_in(pid)

    # Before a job asks for it the controller has never opened it.
    assert before == (0, 0)
    for number in range(RENDERINGS):
        console.create(pod(f"{web}/job-{number}", "aws"))
        console.seen(web, f"job-{number}")
        if number % EACH == 0:
            wait_little_left(small, large, pid)


def test_admission_process_never_holds_delivered_values(
    company: Company, console: Console, operator: InstalledOperator
):
    """It sees a value while it seals it, and only then: not when a job with it is admitted."""
    web = company.namespace("web", "web")
    small, large = Marked(1), Marked(REPEATED)
    assert operator.admission is not None
    pid = operator.admission.program.pid
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": small.value}, files={"/f": large.value}))
    company.settle(web)
    wait_little_left(small, large, pid)
    after_sealing = small.copies_in(pid), large.copies_in(pid)

    for number in range(RENDERINGS):
        console.create(pod(f"{web}/job-{number}", "aws"))
    after_jobs = small.copies_in(pid), large.copies_in(pid)

    assert after_jobs[0] <= after_sealing[0]
    assert after_jobs[1] <= after_sealing[1]


def test_repeated_apply_leaves_no_more_copies_of_a_value(
    company: Company, console: Console, operator: InstalledOperator
):
    web = company.namespace("web", "web")
    small, large = Marked(1), Marked(REPEATED)
    assert operator.admission is not None
    for number in range(RENDERINGS):
        env, files = {"K": small.value}, {"/f": large.value}
        console.apply(scoped_secret(f"{web}/aws", env=env, files=files, description=f"change {number}"))
        if number % EACH == 0:
            wait_little_left(small, large, operator.admission.program.pid)


def test_no_process_can_leave_a_core_file(operator: InstalledOperator):
    limits = {process.program.name: core_limit(process.program.pid) for process in operator.processes()}

    assert set(limits.values()) == {("0", "0")}
    assert len(limits) == 2
