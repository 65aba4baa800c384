"""Native Secrets as others write them, and entries that take their values from there."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS

if TYPE_CHECKING:
    from tests.integration.console import Console


def native(namespace: str, name: str, kind: str = "Opaque", **data: str | bytes) -> dict[str, Any]:
    """Return a native Secret as a synchroniser writes it."""
    encoded = {key: base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for key, v in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": kind,
        "data": encoded,
    }


def key_of(secret: str, key: str, **fields: Any) -> dict[str, Any]:
    """Return the field of an entry that takes its value from there."""
    return {"valueFrom": {"secretKeyRef": {"name": secret, "key": key, **fields}}}


def wait_missing(console: Console, namespace: str, *words: str) -> None:
    """Wait until the definition says what it misses."""

    def says_so() -> bool:
        ready = console.conditions(console.cluster.get("ssec", "db", "-n", namespace)).get("Ready", {})
        return ready.get("reason") == "SourceMissing" and all(word in ready["message"] for word in words)

    wait_until(says_so, f"a condition with {words}", seconds=SECONDS)
