"""The cluster that the tests share, and the guard that keeps them from any other."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.assets import existing_kubeconfig, find_assets
from tests.cluster.control_plane import ControlPlane, open_cluster
from tests.cluster.errors import ClusterError, NodeUnavailableError
from tests.cluster.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.cluster import Cluster

# The environment as the person set it, before the guard changes it.
ENVIRONMENT = dict(os.environ)

# HYPOTHESIS_PROFILE=quick is for the moments between two edits. Time limits per example would fail on a busy machine.
settings.register_profile("full", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("full"), max_examples=10)
settings.load_profile(ENVIRONMENT.get("HYPOTHESIS_PROFILE", "full"))


# Failed checks of this module tell what they compared, as those of tests do.
pytest.register_assert_rewrite("tests.integration.final_checks")

# Folders whose tests share a control plane that no other test uses: one worker of pytest-xdist runs all of them.
UNDIVIDED = ("tests/chart", "tests/controller")


class NamespaceFactory(Protocol):
    """Makes namespaces with unique names; they are deleted after the test."""

    def __call__(
        self,
        prefix: str = "test",
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Create a namespace and return its name, which begins with the prefix."""
        ...


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start.

    A shell ignores it in what it runs in the background, and children inherit that; tests press Ctrl-C themselves.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give a worker whole files, and whole folders where the tests share a control plane of their own."""
    if config.getoption("dist") != "loadfile":
        return None
    # pytest-xdist is imported here because pytest runs without it too.
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            folder = file.rpartition("/")[0]
            return folder if folder in UNDIVIDED else file

    return Scheduling(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the cluster's programs before the first test, whose timeout is shorter than a build."""
    if session.config.option.collectonly:
        return
    if not any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    visible = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    # The tests that need the cluster report the failure, the others run.
    with visible, contextlib.suppress(ClusterError):
        if existing_kubeconfig(ENVIRONMENT) is None:
            find_assets(ENVIRONMENT)


@pytest.fixture(scope="session", autouse=True)
def no_personal_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point every default way to a cluster at nothing, so that no test reaches a person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(tmp_path_factory.getbasetemp() / "no-kubeconfig"))
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        patch.delenv("KUBERNETES_SERVICE_PORT", raising=False)
        yield


@pytest.fixture(scope="session")
def control_plane(no_personal_cluster: None) -> Iterator[Cluster]:
    """The one cluster of this run; each test makes namespaces of its own in it."""
    with open_cluster(ENVIRONMENT, audit=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def own_control_plane(control_plane: Cluster) -> ControlPlane:
    """The same cluster for tests that stop its parts; skips on an existing cluster."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("an existing cluster is used, whose parts are not ours to stop")
    return control_plane


@pytest.fixture(scope="session")
def node(control_plane: Cluster) -> Iterator[Node]:
    """A node that runs job pods; skips where the machine has none, but fails under CI=true."""
    try:
        started = Node.start(control_plane, ENVIRONMENT)
    except NodeUnavailableError as reason:
        if ENVIRONMENT.get("CI") == "true":
            raise
        pytest.skip(str(reason))
    with started:
        yield started


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[NamespaceFactory]:
    """A factory of namespaces that nobody else uses."""
    created: list[str] = []

    def create(
        prefix: str = "test",
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        name = f"{prefix}-{secrets.token_hex(4)}"
        created.append(control_plane.create_namespace(name, labels, annotations))
        return name

    yield create
    for name in created:
        control_plane.delete_namespace(name)
