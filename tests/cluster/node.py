"""A node that runs job pods on top of a control plane of our own.

containerd and the kubelet live in process and mount namespaces of their own (`node_init`), so that
ending one process ends everything, and no mount of the node ever appears on the machine. Pods may use the
machine's network (`hostNetwork: true`), and so reach the API server on loopback; others have an address of
their own and reach it at that of its Service.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.cgroups import create_cgroup, remove_cgroup
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError, NodeUnavailableError
from tests.cluster.kubeconfig import certificate_credential, write_kubeconfig
from tests.cluster.node_configuration import (
    containerd_configuration,
    kubelet_configuration,
    network_configuration,
)
from tests.cluster.node_image import IMAGE, write_image_archive
from tests.cluster.node_init import HIDDEN_FOLDERS
from tests.cluster.node_tools import find_node_tools
from tests.cluster.processes import Program, free_port, wait_until
from tests.cluster.run_directory import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.cluster import Cluster
    from tests.cluster.node_tools import NodeTools

NAME = "node"
# The programs in the namespaces, and the one that made these.
INSIDE = ("kubelet", "containerd", "node-init")
SCHEDULER = "system:kube-scheduler"
START_SECONDS = 30.0
READY_SECONDS = 60.0
IMPORT_SECONDS = 120.0


class Node:
    """A running node; `start` makes one, `close` removes every trace of it."""

    # The image that is there without a registry; use it with `imagePullPolicy: Never`.
    image = IMAGE
    name = NAME

    def __init__(self, control_plane: ControlPlane, tools: NodeTools, address: str) -> None:
        """Prepare the files of a node; `start` starts its programs."""
        self._control_plane = control_plane
        self._tools = tools
        self._address = address
        self._run_directory = control_plane.run_directory
        self._folder = self._run_directory.folder("node")
        self._cgroup = self._run_directory.path.name
        self._programs: dict[str, Program] = {}
        self._init_pid = 0

    @classmethod
    def start(cls, cluster: Cluster, environment: Mapping[str, str] = os.environ) -> Self:
        """Start a node and wait until pods can be scheduled on it.

        Args:
            cluster: The control plane, which must be our own.
            environment: SCOPED_SECRETS_INSTALL=never forbids to download packages.

        Raises:
            NodeUnavailableError: This machine cannot run job pods.
            StartError: A program ended early or the node was not ready in time.
        """
        if not isinstance(cluster, ControlPlane):
            raise NodeUnavailableError("an existing cluster has nodes without our image: unset USE_EXISTING_CLUSTER")
        for program in ("kubelet", "kube-scheduler"):
            if not cluster.assets.has(program):
                raise NodeUnavailableError(
                    f"{cluster.assets.folder} has no {program}: add it, or unset KUBEBUILDER_ASSETS"
                )
        _require_visible(cluster.run_directory.path)
        tools = find_node_tools(environment)
        node = cls(cluster, tools, _machine_address())
        try:
            node._start()
        except BaseException:
            node.close()
            raise
        return node

    def __enter__(self) -> Self:
        """Return the node, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the node."""
        self.close()

    def pod_log(self, namespace: str, pod: str, container: str | None = None) -> str:
        """Return what a container of a pod has written so far."""
        selected = [] if container is None else ["-c", container]
        return self._control_plane.kubectl("logs", pod, "-n", namespace, *selected).stdout

    def load_image(self, archive: Path) -> None:
        """Load the images of an archive in the layout of `docker save`.

        Raises:
            ClusterError: containerd refuses the archive.
        """
        self._images("import", str(archive.resolve()))

    def tag_image(self, name: str, other: str) -> None:
        """Give an image that was loaded another name.

        Raises:
            ClusterError: There is no such image.
        """
        self._images("tag", "--force", _full_name(name), _full_name(other))

    def logs(self) -> dict[str, Path]:
        """Return the log file of every program of the node, by the program's name."""
        return {name: program.log for name, program in self._programs.items()}

    def close(self) -> None:
        """End containers and daemons, and remove the node's files, cgroups and Node object."""
        if self._restart_components in self._control_plane.followers:
            self._control_plane.followers.remove(self._restart_components)
        if self._init_pid:
            # The kernel ends everything in the namespaces with their first process.
            _kill(self._init_pid)
            for name in INSIDE:
                if name in self._programs:
                    self._programs[name].wait_for_end()
        for program in self._programs.values():
            program.kill()
        self._init_pid = 0
        remove_cgroup(self._cgroup)
        shutil.rmtree(self._folder)
        arguments = ("delete", "node", NAME, "--ignore-not-found", "--wait=false")
        # The API server may be down already, and then nobody sees the object any more.
        self._control_plane.kubectl(*arguments, check=False)

    def _start(self) -> None:
        self._start_init()
        self._start_containerd()
        archive = self._folder / "image.tar"
        write_image_archive(archive, self._tools.programs)
        self.load_image(archive)
        create_cgroup(self._cgroup)
        self._write_kubelet_configuration()
        self._start_scheduler()
        self._start_forwarder()
        self._start_kubelet()
        self._wait_until_ready()
        self._control_plane.followers.append(self._restart_components)

    def _restart_components(self) -> None:
        """Restart what waits long before it tries the API server again; containers go on."""
        self._programs["kube-scheduler"].kill()
        self._start_scheduler()
        for pid in self._programs["kubelet"].children():
            _kill(pid)
        # The kubelet's end is the end of the program with which we started it in the namespaces.
        self._programs["kubelet"].wait_for_end()
        self._start_kubelet()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        programs = self._programs.values()
        wait_until(self._is_ready, "the node is ready", seconds=READY_SECONDS, programs=programs)

    def _start_init(self) -> None:
        arguments = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        arguments += ["--propagation", "slave"]
        init = [sys.executable, "-m", "tests.cluster.node_init", str(self._folder)]
        self._run("node-init", [*arguments, *init], cwd=REPOSITORY)
        findings = self._folder / "init.json"
        programs = [self._programs["node-init"]]
        what = "the node's namespaces are made"
        wait_until(findings.exists, what, seconds=START_SECONDS, programs=programs)
        self._init_pid = self._findings()["pid"]

    def _findings(self) -> dict[str, Any]:
        findings: dict[str, Any] = json.loads((self._folder / "init.json").read_text())
        return findings

    def _start_containerd(self) -> None:
        network = self._folder / "network"
        network.mkdir()
        content = network_configuration(self._folder, self._control_plane.network)
        (network / "10-pods.conf").write_text(json.dumps(content))
        configuration = self._folder / "containerd.toml"
        snapshotter = self._findings()["snapshotter"]
        plugins = self._tools.plugin_folder
        configuration.write_text(containerd_configuration(self._folder, plugins, snapshotter))
        containerd = self._tools.programs["containerd"]
        self._run_inside("containerd", [containerd, "--config", str(configuration)])
        wait_until(
            self._containerd_answers,
            "containerd answers",
            seconds=START_SECONDS,
            programs=self._programs.values(),
        )

    def _containerd_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._folder / "containerd.sock")) == 0

    def _start_scheduler(self) -> None:
        kubeconfig = self._control_plane.component_kubeconfig(SCHEDULER)
        scheduler = self._control_plane.assets.program("kube-scheduler")
        options = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        self._run("kube-scheduler", [scheduler, *options])

    def _start_forwarder(self) -> None:
        """Let pods reach the API server at its Service's address, as kube-proxy would."""
        forwarder = [sys.executable, "-m", "tests.cluster.forwarder", self._control_plane.network.gateway]
        self._run("forwarder", [*forwarder, str(self._control_plane.port)], cwd=REPOSITORY)

    def _start_kubelet(self) -> None:
        options = [
            f"--config={self._folder / 'kubelet.json'}",
            f"--kubeconfig={self._folder / 'kubeconfig'}",
            f"--root-dir={self._folder / 'kubelet'}",
            f"--cert-dir={self._folder / 'kubelet-certificates'}",
            f"--hostname-override={NAME}",
            f"--node-ip={self._address}",
        ]
        self._run_inside("kubelet", [self._control_plane.assets.program("kubelet"), *options])

    def _write_kubelet_configuration(self) -> None:
        content = kubelet_configuration(
            self._folder,
            address=self._address,
            port=free_port(),
            authority=self._control_plane.certificate_authority,
            cgroup=self._cgroup,
        )
        (self._folder / "kubelet.json").write_text(json.dumps(content))
        serving = self._control_plane.authority.issue_server("kubelet", [NAME, self._address])
        shutil.copy(serving.certificate, self._folder / "kubelet.crt")
        shutil.copy(serving.key, self._folder / "kubelet.key")
        self._write_kubelet_kubeconfig()

    def _write_kubelet_kubeconfig(self) -> None:
        """Write the kubelet's credentials; the Node authorizer knows it by user and group."""
        user = f"system:node:{NAME}"
        pair = self._control_plane.authority.issue_client("node", user, ["system:nodes"])
        write_kubeconfig(
            self._folder / "kubeconfig",
            self._control_plane.server,
            self._control_plane.certificate_authority,
            user,
            certificate_credential(pair),
        )

    def _is_ready(self) -> bool:
        result = self._control_plane.kubectl("get", "node", NAME, "-o", "json", check=False)
        if result.returncode != 0:
            return False
        node = json.loads(result.stdout)
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def _images(self, *arguments: str) -> None:
        # The socket is an ordinary file, so the client need not be inside the namespaces.
        address = str(self._folder / "containerd.sock")
        ctr = [self._tools.programs["ctr"], "--address", address, "--namespace", "k8s.io"]
        action, *rest = arguments
        snapshotter = ["--snapshotter", self._findings()["snapshotter"]] if action == "import" else []
        result = subprocess.run(
            [*ctr, "images", action, *snapshotter, *rest],
            env=self._run_directory.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=IMPORT_SECONDS,
        )
        if result.returncode != 0:
            raise ClusterError(f"ctr images {action}: {result.stderr.strip()}")

    def _run_inside(self, name: str, command: Sequence[str]) -> None:
        """Start a program in the node's namespaces."""
        enter = ["nsenter", f"--target={self._init_pid}", "--mount", "--pid", "--"]
        self._run(name, [*enter, *command])

    def _run(self, name: str, command: Sequence[str], cwd: Path | None = None) -> None:
        log = self._run_directory.folder("logs") / f"{name}.log"
        environment = {**self._run_directory.environment(), "PATH": self._tools.search_path}
        self._programs[name] = Program(name, command, log, environment, cwd)


def _full_name(image: str) -> str:
    """Return the name that containerd knows an image by when its own has no registry."""
    return image if image.startswith("localhost/") else f"docker.io/library/{image}"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _machine_address() -> str:
    """Return the machine's own address, since a kubelet refuses to be on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # This sends nothing: it only asks which address a packet would leave from.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            raise NodeUnavailableError(
                "this machine has no address but loopback: give it one for the kubelet"
            ) from None
        return str(probe.getsockname()[0])


def _require_visible(path: Path) -> None:
    """Refuse a temporary folder that the node's namespaces would hide from themselves."""
    for hidden in HIDDEN_FOLDERS:
        if path.is_relative_to(hidden):
            raise NodeUnavailableError(f"the temporary folder is below {hidden}: set TMPDIR to /tmp")
