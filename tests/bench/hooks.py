"""The webhook configurations: ours, and the floor's, which differ from it in address and selector only.

Both stay in place side by side; a label of the object decides whose it is. So floor and ours can be measured in turn
without a wait for the API server to notice another configuration.
"""

from __future__ import annotations

import base64
import copy
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.bench.objects import FLOOR_LABEL
from tests.cluster.processes import Program, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.control_plane import ControlPlane

LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).parents[2]
_MANIFEST = _ROOT / "manifests" / "40-webhooks.yaml"
_START_SECONDS = 30.0
_FLOOR_CONFIGURATION = "bench-floor"


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


def floor_configurations(port: int, authority: bytes) -> list[dict[str, Any]]:
    """Return the same configurations for the null webhook; each of its paths has a label value of its own."""
    configurations = _read()
    for configuration in configurations:
        configuration["metadata"]["name"] = _FLOOR_CONFIGURATION
        configuration["webhooks"] = [
            _floor_webhook(webhook, port, authority, path)
            for webhook in configuration["webhooks"]
            for path in ("null", "patch")
            # Nothing but pods is patched.
            if path == "null" or webhook["name"].startswith("pods.")
        ]
    return configurations


def _floor_webhook(webhook: dict[str, Any], port: int, authority: bytes, path: str) -> dict[str, Any]:
    floor = copy.deepcopy(webhook)
    floor["name"] = f"{path}.{webhook['name']}"
    floor["clientConfig"] = {
        "url": f"https://{LOOPBACK}:{port}/{path}",
        "caBundle": base64.b64encode(authority).decode(),
    }
    floor["objectSelector"] = {"matchLabels": {FLOOR_LABEL: path}}
    return floor


def _read() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(_MANIFEST.read_text()))


def _webhooks(configurations: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for configuration in configurations:
        yield from configuration["webhooks"]


def start_null_webhook(cluster: ControlPlane, patch: bytes) -> Program:
    """Start the floor's webhook in a process of its own, and let the API server ask it."""
    port = free_port()
    pair = cluster.authority.issue_server("bench-null", [LOOPBACK])
    folder = cluster.run_directory.folder("bench")
    (folder / "patch.json").write_bytes(patch)
    arguments = [sys.executable, "-m", "tests.bench.null_webhook", str(port)]
    arguments += [str(pair.certificate), str(pair.key), str(folder / "patch.json")]
    program = Program(
        "null webhook", arguments, folder / "null-webhook.log", cluster.run_directory.environment(), cwd=_ROOT
    )
    wait_until(lambda: _is_listening(port), "the null webhook listens", seconds=_START_SECONDS, programs=[program])
    apply_configurations(cluster, floor_configurations(port, cluster.certificate_authority.read_bytes()))
    return program


def apply_configurations(cluster: ControlPlane, configurations: Sequence[dict[str, Any]]) -> None:
    """Apply webhook configurations as their owner."""
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(configurations)})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=content)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
