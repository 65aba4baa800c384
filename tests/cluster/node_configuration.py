"""The configuration files of containerd and of the kubelet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cluster.node_image import PAUSE_IMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.pod_network import PodNetwork


def containerd_configuration(folder: Path, plugin_folder: str, snapshotter: str) -> str:
    """Return containerd's configuration, with everything that it writes below `folder`."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
# Only the runtime for Kubernetes is needed; the other plugins want file systems of their own.
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{folder}/containerd.sock"

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
stream_server_address = "127.0.0.1"
# A container may lack the right to make its processes less likely to be killed.
restrict_oom_score_adj = true
disable_apparmor = true

[{cri}.containerd]
snapshotter = "{snapshotter}"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
Root = "{folder}/runc"
SystemdCgroup = false

[{cri}.cni]
bin_dir = "{plugin_folder}"
conf_dir = "{folder}/network"
"""


def network_configuration(folder: Path, network: PodNetwork) -> dict[str, Any]:
    """Return the network of pods that do not use the machine's: a pair of interfaces for each, one end on the machine.

    There is no bridge and no rule of a firewall, so that all of it ends with the pods. The machine's end has the
    address at which pods find the API server.
    """
    addresses = {
        "type": "host-local",
        "dataDir": f"{folder}/addresses",
        "ranges": [[{"subnet": network.range, "rangeStart": network.first_pod, "gateway": network.gateway}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "0.4.0", "name": "pods", "type": "ptp", "ipMasq": False, "ipam": addresses}


def kubelet_configuration(folder: Path, *, address: str, port: int, authority: Path, cgroup: str) -> dict[str, Any]:
    """Return the kubelet's configuration.

    Args:
        folder: Everything that it writes is below.
        address: The machine's address; the kubelet listens there and nowhere else.
        port: The port for kubectl logs and exec.
        authority: Only clients with a certificate of this authority are served, because whoever may
            talk to a kubelet is root on the machine.
        cgroup: The cgroup that holds all containers of the node.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": port,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "tlsCertFile": f"{folder}/kubelet.crt",
        "tlsPrivateKeyFile": f"{folder}/kubelet.key",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "podLogsDir": f"{folder}/pod-logs",
        "volumePluginDir": f"{folder}/volume-plugins",
        "resolvConf": "/dev/null",
        # The machine may be a container, with cgroups of either version and few rights over them.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        # A nearly full disk of the machine must neither evict pods nor remove the images.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
    }
