"""kopf's own admission server, with a handler that makes the changes of a ready patch.

Run in a process of its own, as ours is, with the same TLS. kopf decodes the review, calls the handler with the pod, and
computes the patch from what the handler changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import kopf

from tests.bench.null_webhook import tls_context

HANDLER = "pods"
"""The handler's id, which is the path of its webhook."""


def apply_additions(body: Any, operations: list[dict[str, Any]]) -> None:
    """Apply operations of a JSON patch that only add."""
    for operation in operations:
        if operation["op"] != "add":
            raise ValueError(f"the patch does more than add: {operation['op']}")
        *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:])
        target = body
        for step in steps:
            target = target[int(step)] if isinstance(target, list) else target[step]
        if isinstance(target, list):
            target.insert(len(target) if last == "-" else int(last), operation["value"])
        else:
            target[last] = operation["value"]


def main() -> None:
    """Serve on loopback: kubeconfig, port, certificate, key and a file with the patch are the arguments."""
    kubeconfig, port, certificate, key, patch_file = sys.argv[1:]
    operations = json.loads(Path(patch_file).read_bytes())
    content = json.loads(Path(kubeconfig).read_text())
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]

    @kopf.on.login()
    async def log_in(**_: object) -> kopf.ConnectionInfo:
        authority = cluster["certificate-authority-data"]
        return kopf.ConnectionInfo(server=cluster["server"], ca_data=authority, scheme="Bearer", token=user["token"])

    @kopf.on.startup()
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.admission.server = kopf.WebhookServer(
            addr="127.0.0.1", port=int(port), context=tls_context(certificate, key), certfile=certificate, pkeyfile=key
        )

    @kopf.on.mutate("pods", id=HANDLER)
    async def mutate(spec: kopf.Spec, patch: kopf.Patch, **_: object) -> None:
        if not spec.get("volumes"):
            patch.fns.append(lambda body: apply_additions(body, operations))

    kopf.run(standalone=True, clusterwide=True)


if __name__ == "__main__":
    main()
