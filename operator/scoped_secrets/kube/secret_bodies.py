"""Bodies of the operator's own Secrets: from bytes, and back."""

import base64
import binascii
from collections.abc import Mapping

from scoped_secrets import names
from scoped_secrets.kube.client import Body
from scoped_secrets.redaction import RedactedDict

__all__ = ["secret_body", "secret_data"]


def secret_body(
    namespace: str,
    name: str,
    data: Mapping[str, bytes],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    immutable: bool = False,
) -> Body:
    """Return a Secret of the operator, with its label `managed-by` besides the given ones."""
    metadata: Body = {
        "namespace": namespace,
        "name": name,
        "labels": {names.MANAGED_BY_LABEL: names.DISTRIBUTION, **(labels or {})},
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    body: Body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode("ascii") for key, value in data.items()},
    }
    if immutable:
        body["immutable"] = True
    return RedactedDict.of(body)


def secret_data(secret: Body) -> dict[str, bytes]:
    """Return the data of a Secret; a value that is not base64 counts as empty."""
    decoded: dict[str, bytes] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            decoded[key] = b""
    return decoded
