"""The webhook configurations and policies: ours, and the floors'.

All stay in place side by side; a label of the object decides whose it is. So floors and ours can be measured in turn
without a wait for the API server to notice another configuration.
"""

from __future__ import annotations

import base64
import copy
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.bench.kopf_webhook import HANDLER
from tests.bench.mutating_policy import mutating_policy
from tests.bench.objects import BARE, FLOOR_LABEL
from tests.cluster.processes import Program, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.control_plane import ControlPlane

LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).parents[2]
_MANIFESTS = _ROOT / "manifests"
_START_SECONDS = 30.0
_FLOOR_CONFIGURATION = "bench-floor"
# A floor has one webhook for pods, and for definitions as many as ours, which must mutate and validate them.
_PODS_WEBHOOK = "pods.mutate."
_DEFINITIONS_WEBHOOKS = "scopedsecrets."


@dataclass(frozen=True, slots=True)
class Floors:
    """The processes of the floors."""

    null: Program
    """Allows everything under one path, and answers with the ready patch under another."""
    kopf: Program
    """kopf's own admission server, which makes the changes of the ready patch."""

    def stop(self) -> None:
        """Stop them."""
        self.null.stop()
        self.kopf.stop()


def our_configurations(port: int) -> list[dict[str, Any]]:
    """Return the project's own configurations for an admission server on loopback."""
    configurations = _read()
    for webhook in _webhooks(configurations):
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://{LOOPBACK}:{port}{path}"}
        if "objectSelector" not in webhook:
            # What carries the floor's label goes there only.
            webhook["objectSelector"] = {"matchExpressions": [{"key": FLOOR_LABEL, "operator": "DoesNotExist"}]}
    return configurations


def our_policies() -> list[dict[str, Any]]:
    """Return the project's own policies, which see every object but those with the label of the bare floor."""
    documents: list[dict[str, Any]] = []
    for manifest in sorted(_MANIFESTS.glob("*.yaml")):
        documents += (
            document
            for document in yaml.safe_load_all(manifest.read_text())
            if document and document["kind"].startswith("ValidatingAdmissionPolicy")
        )
    for document in documents:
        if "matchConstraints" in document["spec"]:
            expression = {"key": FLOOR_LABEL, "operator": "NotIn", "values": [BARE]}
            selector = document["spec"]["matchConstraints"].setdefault("objectSelector", {})
            selector.setdefault("matchExpressions", []).append(expression)
    return documents


def start_floors(cluster: ControlPlane, patch: bytes) -> Floors:
    """Start the floors' webhooks with a ready patch, and let the API server ask them."""
    pair = cluster.authority.issue_server("bench-floors", [LOOPBACK])
    folder = cluster.run_directory.folder("bench")
    file = folder / "patch.json"
    file.write_bytes(patch)

    def start(module: str, *arguments: str) -> tuple[Program, int]:
        port = free_port()
        command = [sys.executable, "-m", f"tests.bench.{module}", *arguments, str(port)]
        command += [str(pair.certificate), str(pair.key), str(file)]
        environment = cluster.run_directory.environment()
        program = Program(module, command, folder / f"{module}.log", environment, cwd=_ROOT)
        wait_until(lambda: _is_listening(port), f"{module} listens", seconds=_START_SECONDS, programs=[program])
        return program, port

    null, null_port = start("null_webhook")
    kopf, kopf_port = start("kopf_webhook", str(cluster.kubeconfig))
    urls = {
        "null": f"https://{LOOPBACK}:{null_port}/null",
        "patch": f"https://{LOOPBACK}:{null_port}/patch",
        "kopf": f"https://{LOOPBACK}:{kopf_port}/{HANDLER}",
    }
    apply(cluster, _floor_configurations(urls, cluster.certificate_authority.read_bytes()))
    apply(cluster, mutating_policy(_FLOOR_CONFIGURATION, json.loads(patch)))
    return Floors(null, kopf)


def apply(cluster: ControlPlane, documents: Sequence[dict[str, Any]]) -> None:
    """Apply objects as their owner."""
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=content)


def _floor_configurations(urls: dict[str, str], authority: bytes) -> list[dict[str, Any]]:
    """Return the project's configurations with a webhook for each floor, which has a label value of its own."""
    configurations = _read()
    for configuration in configurations:
        configuration["metadata"]["name"] = _FLOOR_CONFIGURATION
        configuration["webhooks"] = [
            _floor_webhook(webhook, floor, url, authority)
            for webhook in configuration["webhooks"]
            for floor, url in urls.items()
            if webhook["name"].startswith(_PODS_WEBHOOK)
            or (webhook["name"].startswith(_DEFINITIONS_WEBHOOKS) and floor == "null")
        ]
    return configurations


def _floor_webhook(webhook: dict[str, Any], floor: str, url: str, authority: bytes) -> dict[str, Any]:
    copied = copy.deepcopy(webhook)
    copied["name"] = f"{floor}.{webhook['name']}"
    copied["clientConfig"] = {"url": url, "caBundle": base64.b64encode(authority).decode()}
    copied["objectSelector"] = {"matchLabels": {FLOOR_LABEL: floor}}
    return copied


def _read() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_MANIFESTS / "40-webhooks.yaml").read_text()))


def _webhooks(configurations: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for configuration in configurations:
        yield from configuration["webhooks"]


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
