"""The benches' definitions as the processes know them, without a cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scoped_secrets.core.decide import DecisionSettings, Granted, decide
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.kube.decoding import Decoder
from tests.bench.objects import ORGANIZATION, PODS, definitions, needed_namespaces, pod
from tests.cluster.errors import StartError

if TYPE_CHECKING:
    from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
    from scoped_secrets.core.pod import Pod

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_BASE = "bench-abcdefghijklmnop0123"
_RULES = DecisionSettings()


def snapshot(size: int, sealed: str) -> Inventory:
    """Return an inventory of so many definitions, all with the same sealed text."""
    decoder, inventory = Decoder(ORGANIZATION, keep_sealed=True), Inventory()
    for _, body in needed_namespaces(0, size):
        inventory.put_binding(body["metadata"]["name"], decoder.binding(body), 0.0)
    for number, (_, body) in enumerate(definitions(0, size, sealed=sealed)):
        definition, invalid = decoder.definition(_stored(body, number))
        if definition is None or invalid is not None:
            raise RuntimeError("the bench's definitions break the schema")
        inventory.put_definition(definition, 0.0)
    return inventory


def typical_pod() -> Pod:
    """Return the pod that is decided about."""
    return parse_pod(pod("typical"), PODS)


def decide_about(subject: Pod, inventory: ClusterSnapshot) -> Granted:
    """Decide as admission does."""
    decision = decide(subject, inventory, _BASE, _RULES, NOW)
    if not isinstance(decision, Granted):
        raise StartError(f"the bench's pod is refused: {decision.reason}")
    return decision


def _stored(body: dict[str, Any], number: int) -> dict[str, Any]:
    metadata = {
        "uid": f"00000000-0000-0000-0000-{number:012}",
        "generation": 1,
        "resourceVersion": str(number + 1),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {**body, "metadata": {**body["metadata"], **metadata}}
