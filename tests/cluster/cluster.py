"""What every test cluster offers, whether it was there before or is our own."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.errors import AssetsError, CommandError, NotOurClusterError
from tests.cluster.kubeconfig import impersonation, token_credential, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

COMMAND_SECONDS = 60.0
SERVICE_ACCOUNT_HOURS = 24


class Cluster(ABC):
    """A cluster that tests may write to."""

    # Whether the API server can be stopped and started again.
    owns_api_server: bool = False

    def __init__(
        self,
        *,
        kubectl: str,
        kubeconfig: Path,
        server: str,
        certificate_authority: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Describe a running cluster.

        Args:
            kubectl: Path of the kubectl program.
            kubeconfig: Credentials of an administrator.
            server: URL of the API server.
            certificate_authority: PEM file that the API server's certificate is checked with.
            environment: For kubectl, without anything of the person's.
        """
        self.kubeconfig = kubeconfig
        self.server = server
        self.certificate_authority = certificate_authority
        self._kubectl = kubectl
        self._environment = {**environment, "KUBECONFIG": str(kubeconfig)}

    def __enter__(self) -> Self:
        """Return the cluster, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cluster."""
        self.close()

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it.
        check: bool = True,
        user: str | None = None,
        groups: Sequence[str] = (),
        timeout: float = COMMAND_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> CompletedProcess[str]:
        """Run kubectl as an administrator.

        Args:
            arguments: The command, such as `"apply", "-f", "-"`.
            input: Its standard input.
            check: Raise when its code is not 0.
            user: Act as this user (impersonation), in `groups` only.
            groups: Groups of `user`; `system:authenticated` is always one of them.
            timeout: Seconds after which it is killed.
            environment: Variables beside those that it always gets, such as `EDITOR`.

        Raises:
            CommandError: The code is not 0; the message has what it wrote to standard error.
            subprocess.TimeoutExpired: It ran for longer than `timeout`.
        """
        impersonated = [] if user is None else [f"--as={user}"]
        impersonated += [f"--as-group={group}" for group in groups]
        result = subprocess.run(
            [self._kubectl, *impersonated, *arguments],
            input=input,
            # Without an input of its own it must not read the terminal or the test runner's.
            stdin=subprocess.DEVNULL if input is None else None,
            env={**self._environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and result.returncode != 0:
            command = " ".join(arguments[:3])
            raise CommandError(f"kubectl {command} ({result.returncode}): {result.stderr.strip()}")
        return result

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return the object or list that `kubectl get ARGUMENTS -o json` prints."""
        parsed: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)
        return parsed

    def refusal(self, body: Mapping[str, Any]) -> str:
        """Return why the creation of an object would be refused now, "" when it would not; nothing is stored."""
        command = ("create", "--dry-run=server", "-f", "-")
        result = self.kubectl(*command, input=json.dumps(body), check=False)
        return "" if result.returncode == 0 else result.stderr

    def create_namespace(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Create a namespace, wait until pods can be created in it, and return its name."""
        metadata = {
            "name": name,
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        }
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("create", "-f", "-", input=json.dumps(namespace))
        self._ensure_default_service_account(name)
        return name

    def delete_namespace(self, name: str) -> None:
        """Begin to delete a namespace, without waiting for the end; an absent one is fine."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    @abstractmethod
    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig with which a client is this user in these groups."""

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig with a fresh token of an existing ServiceAccount."""
        arguments = ("create", "token", name, "-n", namespace, f"--duration={SERVICE_ACCOUNT_HOURS}h")
        credential = token_credential(self.kubectl(*arguments).stdout.strip())
        user = f"system:serviceaccount:{namespace}:{name}"
        return self._write_kubeconfig(user, credential)

    def etcd_revision(self) -> int:
        """Return etcd's current revision, which every write to any object increments.

        Components write on their own too (Leases every few seconds, Events), so equal revisions
        prove that nothing was written, but different ones do not prove that somebody was busy.
        """
        listed = self.kubectl("get", "--raw", "/api/v1/namespaces?limit=1").stdout
        return int(json.loads(listed)["metadata"]["resourceVersion"])

    def stop_api_server(self) -> None:
        """Stop the API server; a cluster that is not ours refuses."""
        raise NotOurClusterError("the API server of an existing cluster is not stopped by tests")

    def start_api_server(self) -> None:
        """Start the API server again; a cluster that is not ours refuses."""
        raise NotOurClusterError("the API server of an existing cluster is not started by tests")

    def restart_api_server(self) -> None:
        """Stop the API server and start it again."""
        self.stop_api_server()
        self.start_api_server()

    @abstractmethod
    def logs(self) -> dict[str, Path]:
        """Return the log file of every program that we started, by the program's name."""

    @abstractmethod
    def close(self) -> None:
        """End everything that was started for the cluster."""

    def _ensure_default_service_account(self, namespace: str) -> None:
        """Wait for the ServiceAccount that pods need; a controller makes it after the namespace."""
        arguments = ("serviceaccount/default", "-n", namespace, "--for=create", "--timeout=30s")
        self.kubectl("wait", *arguments)

    @abstractmethod
    def _write_kubeconfig(self, user: str, credential: dict[str, object]) -> Path:
        """Write a kubeconfig for a user into the cluster's own folder."""


class ExistingCluster(Cluster):
    """A cluster that was there before; nothing is started and only our own files are removed."""

    def __init__(self, kubeconfig: Path, kubectl: str) -> None:
        """Read the server's address from the kubeconfig's current context.

        Raises:
            AssetsError: The kubeconfig has no usable current context.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="scoped-secrets-existing-"))
        environment = {"HOME": str(self._folder), "PATH": os.environ.get("PATH", os.defpath)}
        try:
            cluster, self._credential = _current_context(kubeconfig, kubectl, environment)
            authority = self._folder / "ca.crt"
            authority.write_bytes(base64.b64decode(cluster.get("certificate-authority-data", "")))
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        super().__init__(
            kubectl=kubectl,
            kubeconfig=kubeconfig,
            server=cluster["server"],
            certificate_authority=authority,
            environment=environment,
        )

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig that impersonates the user, which only kubectl and Go honour."""
        return self._write_kubeconfig(user, impersonation(self._credential, user, groups))

    def logs(self) -> dict[str, Path]:
        """Return nothing: we started no program."""
        return {}

    def close(self) -> None:
        """Remove our own files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_kubeconfig(self, user: str, credential: dict[str, object]) -> Path:
        path = self._folder / kubeconfig_name(user)
        return write_kubeconfig(path, self.server, self.certificate_authority, user, credential)


def kubeconfig_name(user: str) -> str:
    """Return a file name for a user's kubeconfig, since user names have colons and slashes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", user) + ".kubeconfig"


def _current_context(
    kubeconfig: Path, kubectl: str, environment: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, object]]:
    """Return cluster and credential of the current context, with contents instead of paths."""
    result = subprocess.run(
        [kubectl, "config", "view", "--raw", "--minify", "--flatten", "-o", "json"],
        env={**environment, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise AssetsError(f"{kubeconfig} has no usable context: {result.stderr.strip()}")
    content = json.loads(result.stdout)
    users = content.get("users") or [{"user": {}}]
    return content["clusters"][0]["cluster"], users[0]["user"]
