"""Write kubeconfig files that need nothing beside them."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cluster.certificates import KeyPair

# A credential is what a kubeconfig has under users[].user.
Credential = dict[str, object]


def token_credential(token: str) -> Credential:
    """Return the credential of a bearer token."""
    return {"token": token}


def certificate_credential(pair: KeyPair) -> Credential:
    """Return the credential of a client certificate, with its contents instead of paths."""
    return {
        "client-certificate-data": _base64(pair.certificate),
        "client-key-data": _base64(pair.key),
    }


def impersonation(credential: Credential, user: str, groups: Sequence[str]) -> Credential:
    """Return the credential of an administrator who acts as somebody else.

    kubectl, Go clients and our own program honour it; other Python clients do not.
    """
    return {**credential, "as": user, "as-groups": list(groups)}


def write_kubeconfig(path: Path, server: str, authority: Path, user: str, credential: Credential) -> Path:
    """Write a kubeconfig with one context, readable by its owner only, and return its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "test",
                "cluster": {"server": server, "certificate-authority-data": _base64(authority)},
            }
        ],
        "users": [{"name": user, "user": credential}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        "current-context": "test",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        # JSON is YAML, and needs no library.
        json.dump(content, file, indent=1)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
