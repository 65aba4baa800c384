"""The scheduling gate of a pod whose bundle does not exist yet (DESIGN section 8).

A kubelet that looks for a bundle before it exists tries again with a delay that doubles. The gate keeps the pod from
every node until the controller has created the bundle and removes the gate.
"""

from collections.abc import Sequence

from scoped_secrets import names
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.pod import Pod

__all__ = ["add_gate", "is_gated", "remove_gate"]


def add_gate(pod: Pod) -> list[PatchOperation]:
    """Return the operations that gate a pod which is being created.

    The API server accepts no gate on a pod whose author chose the node; such a pod waits on its node.
    """
    if pod.node or is_gated(pod.gates):
        return []
    gate = {"name": names.BUNDLE_GATE}
    if not pod.gates:
        return [{"op": "add", "path": "/spec/schedulingGates", "value": [gate]}]
    return [{"op": "add", "path": "/spec/schedulingGates/-", "value": gate}]


def is_gated(gates: Sequence[str]) -> bool:
    """Tell whether the bundle's gate is among a pod's gates."""
    return names.BUNDLE_GATE in gates


def remove_gate(gates: Sequence[str]) -> list[PatchOperation]:
    """Return the operations that remove the bundle's gate, and fail if the pod has other gates by then."""
    path = f"/spec/schedulingGates/{gates.index(names.BUNDLE_GATE)}"
    return [{"op": "test", "path": f"{path}/name", "value": names.BUNDLE_GATE}, {"op": "remove", "path": path}]
