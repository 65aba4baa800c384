"""Runs the program of a kubeconfig that prints credentials (`users[].user.exec`), as kubectl does.

Sources: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ConfigurationError

__all__ = ["Printed", "run_plugin"]

_INFORMATION: Final = "KUBERNETES_EXEC_INFO"
_KIND: Final = "ExecCredential"
_CONFIG_EXTENSION: Final = "client.authentication.k8s.io/exec"
_CLUSTER: Final = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_NEVER, _ALWAYS = "Never", "Always"


@dataclass(frozen=True, slots=True)
class Printed:
    """What the program printed: a token, a certificate with its key, or both."""

    token: SecretValue | None
    certificate: tuple[SecretValue, SecretValue] | None


def run_plugin(plugin: Mapping[str, Any], cluster: Mapping[str, Any], folder: str) -> Printed:
    """Run the program and return what it printed. What it writes on standard error is for the person.

    Args:
        plugin: The member `exec` of the user.
        cluster: The cluster, of which the program is told if it wants to know.
        folder: The folder of the kubeconfig, from which a relative path of the program begins.

    Raises:
        ConfigurationError: The program cannot be started, fails, or prints something else. The message has no output.
    """
    command = str(plugin["command"])
    program = os.path.join(folder, command) if os.sep in command else command  # noqa: PTH118 - the kubeconfig has text.
    mode = plugin.get("interactiveMode")
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    if mode == _ALWAYS and not is_terminal:
        raise ConfigurationError(f"the program '{command}' of the kubeconfig asks for credentials; use a terminal")
    is_interactive = is_terminal and mode != _NEVER
    spec: dict[str, Any] = {"interactive": is_interactive}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _described(cluster)
    information = {"apiVersion": plugin["apiVersion"], "kind": _KIND, "spec": spec}
    environment = {
        **os.environ,
        **{each["name"]: each["value"] for each in plugin.get("env") or ()},
        _INFORMATION: json.dumps(information),
    }
    try:
        ended = subprocess.run(  # noqa: S603 - the person's kubeconfig names the program.
            [program, *map(str, plugin.get("args") or ())],
            env=environment,
            stdin=None if is_interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
    except OSError:
        ended = None
    if ended is None:
        hint = " ".join(str(plugin.get("installHint") or "install it, or correct `exec.command`").split())
        raise ConfigurationError(f"the program '{command}' of the kubeconfig cannot be started; {hint}")
    if ended.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    printed = _printed(ended.stdout, plugin["apiVersion"]) if ended.returncode == 0 else None
    if printed is None:
        raise ConfigurationError(
            f"the program '{command}' of the kubeconfig prints no credentials (exit code {ended.returncode}); run it "
            "with its arguments to see why"
        )
    return printed


def _described(cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    described = {name: cluster[name] for name in _CLUSTER if name in cluster}
    for extension in cluster.get("extensions") or ():
        if extension["name"] == _CONFIG_EXTENSION:
            described["config"] = extension["extension"]
    return described


def _printed(output: bytes, version: str) -> Printed | None:
    """Return the credentials in an output, ``None`` when it has none."""
    try:
        document = json.loads(output)
        if (document["apiVersion"], document["kind"]) != (version, _KIND):
            return None
        status = document["status"]
        token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
        pair = None if not certificate or not key else (_secret(certificate), _secret(key))
        return None if not token and pair is None else Printed(_secret(token) if token else None, pair)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _secret(text: str) -> SecretValue:
    return SecretValue(text.encode())
