"""Prometheus' own checker of metrics and rules: from the machine, or from Debian's package."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.cluster.errors import NodeUnavailableError
from tests.cluster.packages import unpacked
from tests.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 60.0


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool and return what it printed; skip the test where there is none."""
    result = subprocess.run(
        [_find(), *arguments],
        input=given,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    printed = result.stdout + result.stderr
    assert result.returncode == 0, printed
    return printed


@cache
def _find() -> str:
    installed = shutil.which("promtool", path=ENVIRONMENT.get("PATH"))
    if installed is not None:
        return installed
    try:
        # 19 MB, once; it is unpacked into the cache folder, and nothing is installed on the machine.
        folder: Path = unpacked(["prometheus"], ENVIRONMENT)
    except NodeUnavailableError:
        pytest.skip("promtool is missing and may not be downloaded: install the package prometheus")
    return str(folder / "usr/bin/promtool")
