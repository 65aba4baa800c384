"""helm is built before the first test here, whose timeout is shorter than a build."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.assets import helm_binary
from tests.cluster.errors import ClusterError
from tests.conftest import ENVIRONMENT

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).parent


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build helm when a test of this folder is about to run."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    visible = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    # The tests report the failure.
    with visible, contextlib.suppress(ClusterError):
        helm_binary(ENVIRONMENT)
