"""Job pods run on the node, with Secrets as variables and as files."""

from __future__ import annotations

import json
import ssl
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.processes import wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.control_plane import ControlPlane
    from tests.cluster.node import Node
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.e2e

COMPLETE = ("--for=condition=Complete", "--timeout=60s")
SCRIPT = """
echo "variable: $PASSWORD"
echo "file: $(cat /etc/app/deploy.key)"
echo "mode: $(stat -L -c %a /etc/app/deploy.key)"
echo "beside: $(cat /etc/app/existing.conf)"
"""


def job(namespace: str, image: str, script: str, **pod: Any) -> str:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-ec", script],
        **pod.pop("container", {}),
    }
    spec = {"restartPolicy": "Never", "hostNetwork": True, "containers": [container], **pod}
    metadata = {"name": "work", "namespace": namespace}
    job_spec = {"backoffLimit": 0, "template": {"spec": spec}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job_spec}
    return json.dumps(body)


def test_a_job_reads_a_secret_as_variable_and_as_file(control_plane: Cluster, node: Node, namespace: NamespaceFactory):
    name = namespace()
    literals = ("--from-literal=password=p4ss", "--from-literal=key=k3y")
    control_plane.kubectl("create", "secret", "generic", "deploy", "-n", name, *literals)
    reference = {"secretKeyRef": {"name": "deploy", "key": "password"}}
    items = [{"key": "key", "path": "deploy.key", "mode": 0o600}]
    source = {"secret": {"name": "deploy", "items": items}}
    mount = {"name": "files", "mountPath": "/etc/app/deploy.key", "subPath": "deploy.key"}

    body = job(
        name,
        node.image,
        SCRIPT,
        container={
            "env": [{"name": "PASSWORD", "valueFrom": reference}],
            "volumeMounts": [mount],
        },
        volumes=[{"name": "files", "projected": {"sources": [source]}}],
    )
    control_plane.kubectl("apply", "-f", "-", input=body)
    control_plane.kubectl("wait", "job/work", "-n", name, *COMPLETE, timeout=90)

    pods = control_plane.get("pods", "-n", name)["items"]
    assert node.pod_log(name, pods[0]["metadata"]["name"], "main").splitlines() == [
        "variable: p4ss",
        "file: k3y",
        "mode: 600",
        "beside: this file comes with the image",
    ]


def test_a_job_of_the_ci_user_can_use_its_home_and_ssh_keygen(
    control_plane: Cluster, node: Node, namespace: NamespaceFactory
):
    name = namespace()
    script = "whoami; cd ~; pwd; ssh-keygen -q -t ed25519 -N '' -f key; ssh-keygen -y -f key"

    body = job(name, node.image, script, securityContext={"runAsUser": 1000})
    control_plane.kubectl("apply", "-f", "-", input=body)
    control_plane.kubectl("wait", "job/work", "-n", name, *COMPLETE, timeout=90)

    user, home, public_key = control_plane.kubectl("logs", "job/work", "-n", name).stdout.split("\n", 2)
    assert (user, home) == ("ci", "/home/ci")
    assert public_key.startswith("ssh-ed25519 ")


def test_a_job_runs_at_once_after_an_outage_of_the_api_server(
    own_control_plane: ControlPlane, node: Node, namespace: NamespaceFactory
):
    name = namespace()

    own_control_plane.restart_api_server()
    own_control_plane.kubectl("apply", "-f", "-", input=job(name, node.image, "echo back"))
    own_control_plane.kubectl("wait", "job/work", "-n", name, *COMPLETE, timeout=90)

    assert own_control_plane.kubectl("logs", "job/work", "-n", name).stdout == "back\n"


def test_exec_opens_a_shell_in_a_pod(control_plane: Cluster, node: Node, namespace: NamespaceFactory):
    name = namespace()
    image = f"--image={node.image}"
    overrides = '--overrides={"spec": {"hostNetwork": true, "terminationGracePeriodSeconds": 0}}'
    run = ("run", "shell", "-n", name, image, "--image-pull-policy=Never", overrides)
    control_plane.kubectl(*run, "--", "sleep", "1000")
    control_plane.kubectl("wait", "pod/shell", "-n", name, "--for=condition=Ready")

    executed = control_plane.kubectl("exec", "shell", "-n", name, "--", "cat", "/etc/group")

    assert "ci:x:1000:" in executed.stdout


def test_a_pod_with_an_address_of_its_own_reaches_the_api_server_and_leaves_nothing(
    control_plane: Cluster, node: Node, namespace: NamespaceFactory
):
    name = namespace()
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwarding.read_text()
    script = "nc $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && echo reached"

    control_plane.kubectl("apply", "-f", "-", input=job(name, node.image, script, hostNetwork=False))
    control_plane.kubectl("wait", "job/work", "-n", name, *COMPLETE, timeout=90)

    (pod,) = control_plane.get("pods", "-n", name)["items"]
    assert node.pod_log(name, pod["metadata"]["name"], "main") == "reached\n"
    assert pod["status"]["podIP"] != pod["status"]["hostIP"]
    assert forwarding.read_text() == before
    control_plane.kubectl("delete", "job/work", "-n", name, "--cascade=foreground", timeout=60)
    routes = Path("/proc/net/fib_trie")
    wait_until(lambda: pod["status"]["podIP"] not in routes.read_text(), "its route is gone", seconds=30)


def test_invalid_image_archive_is_rejected(node: Node, tmp_path: Path):
    archive = tmp_path / "empty.tar"
    tarfile.open(archive, "w").close()

    with pytest.raises(ClusterError, match="ctr images import"):
        node.load_image(archive)


def test_node_mounts_are_invisible_on_the_machine(own_control_plane: ControlPlane, node: Node):
    mounts = Path("/proc/self/mountinfo").read_text()

    assert str(own_control_plane.run_directory.path) not in mounts


def test_kubelet_rejects_clients_without_a_certificate(control_plane: Cluster, node: Node):
    status = control_plane.get("node", node.name)["status"]
    address = next(one["address"] for one in status["addresses"] if one["type"] == "InternalIP")
    port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    context = ssl._create_unverified_context()  # noqa: S323 - we only want to be refused.

    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(f"https://{address}:{port}/pods", context=context, timeout=10)

    refused.value.close()
