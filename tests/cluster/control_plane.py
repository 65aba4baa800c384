"""A control plane of our own: etcd, kube-apiserver and kube-controller-manager on loopback."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.api_client import ApiClient
from tests.cluster.assets import Assets, existing_kubeconfig, find_assets, find_kubectl
from tests.cluster.certificates import CertificateAuthority, new_key, write_key
from tests.cluster.cluster import Cluster, ExistingCluster, kubeconfig_name
from tests.cluster.errors import StartError
from tests.cluster.kubeconfig import certificate_credential, token_credential, write_kubeconfig
from tests.cluster.pod_network import PodNetwork
from tests.cluster.processes import Program, free_port, wait_until
from tests.cluster.run_directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.cluster.certificates import KeyPair

SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "localhost",
    "127.0.0.1",
)
ADMINISTRATOR = "administrator"
CONTROLLER_MANAGER = "system:kube-controller-manager"
# User and groups of every line of the token file.
TOKEN_USERS: Mapping[str, tuple[str, ...]] = {
    ADMINISTRATOR: ("system:masters",),
    CONTROLLER_MANAGER: (),
    "system:kube-scheduler": (),
}
START_SECONDS = 60.0
START_ATTEMPTS = 3
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def open_cluster(
    environment: Mapping[str, str] = os.environ, *, purpose: str = "tests", audit: bool = False
) -> Cluster:
    """Return the existing cluster that the person chose, otherwise a control plane of our own.

    Raises:
        AssetsError: There are no programs and they cannot be built.
        StartError: A program did not start.
    """
    kubeconfig = existing_kubeconfig(environment)
    if kubeconfig is not None:
        return ExistingCluster(kubeconfig, find_kubectl(environment))
    return ControlPlane.start(find_assets(environment), purpose=purpose, audit=audit)


class ControlPlane(Cluster):
    """A running control plane; `start` makes one, `close` removes every trace of it."""

    owns_api_server = True

    def __init__(
        self,
        assets: Assets,
        run_directory: RunDirectory,
        *,
        audit: bool,
        audit_policy: Mapping[str, Any] | None = None,
        webhook_clients: Mapping[str, KeyPair] | None = None,
    ) -> None:
        """Prepare the files of a control plane; `start` starts its programs."""
        self.assets = assets
        self.run_directory = run_directory
        self._audit = audit
        self._webhook_clients = webhook_clients or {}
        self._audit_policy = audit_policy or AUDIT_POLICY
        self._certificates = run_directory.folder("certificates")
        self.authority = CertificateAuthority.create(self._certificates)
        self._tokens = {user: secrets.token_urlsafe(32) for user in TOKEN_USERS}
        self.port = free_port()
        self.network = PodNetwork.choose(run_directory.reserve)
        self._etcd_port = free_port()
        self._programs: dict[str, Program] = {}
        # What to call when the API server is back; a node restarts its own components then.
        self.followers: list[Callable[[], None]] = []
        server = f"https://127.0.0.1:{self.port}"
        self._kubeconfigs = run_directory.folder("kubeconfigs")
        super().__init__(
            kubectl=assets.program("kubectl"),
            kubeconfig=run_directory.path / "kubeconfig",
            server=server,
            certificate_authority=self.authority.path,
            environment=run_directory.environment(),
        )
        self._api = ApiClient(server, self.certificate_authority, self._tokens[ADMINISTRATOR])
        self._write_files()

    @classmethod
    def start(
        cls,
        assets: Assets,
        *,
        purpose: str = "tests",
        audit: bool = False,
        webhook_clients: Mapping[str, KeyPair] | None = None,
        audit_policy: Mapping[str, Any] | None = None,
    ) -> Self:
        """Start a control plane and wait until it is ready.

        Args:
            assets: The programs.
            purpose: What `python -m tests.cluster status` says that the cluster is for.
            audit: Write every request's metadata to the audit log (`audit_entries`).
            webhook_clients: The certificates that the API server presents to webhook servers, by host and port.
            audit_policy: What the audit log holds instead.

        Raises:
            StartError: A program ended early or was not ready within a minute.
        """
        for attempt in range(1, START_ATTEMPTS + 1):
            run_directory = RunDirectory.create(purpose)
            try:
                control_plane = cls(
                    assets,
                    run_directory,
                    audit=audit,
                    audit_policy=audit_policy,
                    webhook_clients=webhook_clients,
                )
                control_plane._start()
            except StartError as failure:
                run_directory.close()
                # Another process can take a port between our look at it and the server's.
                if "address already in use" not in str(failure) or attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                run_directory.close()
                raise
            else:
                return control_plane
        raise AssertionError("the last attempt returns or raises")

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return the object or list that `kubectl get ARGUMENTS -o json` prints, without a process where possible."""
        found = self._api.get(*arguments)
        return super().get(*arguments) if found is None else found

    def refusal(self, body: Mapping[str, Any]) -> str:
        """Return why the creation of an object would be refused now, "" when it would not; nothing is stored."""
        return self._api.refusal(body)

    def create_namespace(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Create a namespace, wait until pods can be created in it, and return its name."""
        self._api.create(_namespace(name, labels=dict(labels or {}), annotations=dict(annotations or {})))
        self._ensure_default_service_account(name)
        return name

    def delete_namespace(self, name: str) -> None:
        """Begin to delete a namespace, without waiting for the end; an absent one is fine."""
        self._api.delete(_namespace(name))

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig with a client certificate of this user, good for every client."""
        pair = self.authority.issue_client(f"client-{secrets.token_hex(4)}", user, groups)
        return self._write_kubeconfig(user, certificate_credential(pair))

    def component_kubeconfig(self, user: str) -> Path:
        """Return a kubeconfig with the token of a user of the token file, for a component."""
        return self._write_kubeconfig(user, token_credential(self._tokens[user]))

    def program(self, name: str) -> Program:
        """Return a program of the control plane by its name."""
        return self._programs[name]

    def stop_api_server(self) -> None:
        """Stop the API server and wait for its end; etcd and its data stay."""
        self._programs["kube-apiserver"].stop()

    def start_api_server(self) -> None:
        """Start the API server at the same address as before, and wait until it is ready.

        Kubernetes' own components are restarted too, the node's included: after an outage of seconds
        they would wait for up to a minute before they try again, and tests with them.
        """
        self._run("kube-apiserver", self._api_server_arguments())
        self._wait_for_api_server()
        self._start_controller_manager()
        for follower in self.followers:
            follower()

    def audit_entries(self) -> Iterator[dict[str, Any]]:
        """Yield what the audit log holds by now, oldest first; nothing without `audit=True`."""
        if self._audit_log.exists():
            with self._audit_log.open() as lines:
                for line in lines:
                    # The last one may still be written.
                    if line.endswith("\n"):
                        yield json.loads(line)

    def logs(self) -> dict[str, Path]:
        """Return the programs' log files, and the audit log under `audit`."""
        logs = {name: program.log for name, program in self._programs.items()}
        return {**logs, "audit": self._audit_log} if self._audit else logs

    def close(self) -> None:
        """Kill the programs and remove the data; nobody reads it any more."""
        self._api.close()
        for program in self._programs.values():
            program.kill()
        self.run_directory.close()

    def _start(self) -> None:
        self._run("etcd", self._etcd_arguments())
        self._run("kube-apiserver", self._api_server_arguments())
        self._wait_for_api_server()
        self._start_controller_manager()
        self._ensure_default_service_account("default")

    def _run(self, name: str, arguments: Sequence[str]) -> None:
        log = self.run_directory.folder("logs") / f"{name}.log"
        environment = self.run_directory.environment()
        command = [self.assets.program(name), *arguments]
        self._programs[name] = Program(name, command, log, environment)

    def _start_controller_manager(self) -> None:
        """Start the controllers, unless the assets have none, as those of envtest."""
        if not self.assets.has("kube-controller-manager"):
            return
        if "kube-controller-manager" in self._programs:
            self._programs["kube-controller-manager"].kill()
        self._run("kube-controller-manager", self._controller_manager_arguments())

    def _wait_for_api_server(self) -> None:
        needed = [self._programs["etcd"], self._programs["kube-apiserver"]]
        what = f"kube-apiserver ready at {self.server}"
        wait_until(self._is_ready, what, seconds=START_SECONDS, programs=needed)

    def _is_ready(self) -> bool:
        token = self._tokens[ADMINISTRATOR]
        request = urllib.request.Request(  # noqa: S310 - the address is our own.
            f"{self.server}/readyz", headers={"Authorization": f"Bearer {token}"}
        )
        context = ssl.create_default_context(cafile=self.certificate_authority)
        unsealer = urllib.request.build_opener(
            # A proxy of the person's environment must not see the loopback.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
        )
        try:
            with unsealer.open(request, timeout=5) as response:
                return bool(response.status == http.HTTPStatus.OK)
        except (OSError, urllib.error.HTTPError, http.client.HTTPException):
            return False

    def _ensure_default_service_account(self, namespace: str) -> None:
        if self.assets.has("kube-controller-manager"):
            wait_until(
                lambda: any(
                    account["metadata"]["name"] == "default"
                    for account in self.get("serviceaccounts", "-n", namespace)["items"]
                ),
                f"the ServiceAccount default of {namespace}",
                seconds=START_SECONDS,
            )
        else:
            self.kubectl("create", "serviceaccount", "default", "-n", namespace)

    @property
    def _audit_log(self) -> Path:
        return self.run_directory.path / "logs" / "audit.log"

    def _write_kubeconfig(self, user: str, credential: dict[str, object]) -> Path:
        path = self._kubeconfigs / kubeconfig_name(user)
        return write_kubeconfig(path, self.server, self.certificate_authority, user, credential)

    def _write_files(self) -> None:
        write_key(self._certificates / "service-accounts.key", new_key())
        self.authority.issue_server("api-server", [*SERVER_NAMES, self.network.gateway])
        self.authority.issue_client("kubelet-client", "kube-apiserver", ["system:masters"])
        lines = [f'{token},{user},{user},"{",".join(TOKEN_USERS[user])}"' for user, token in self._tokens.items()]
        token_file = self._certificates / "tokens.csv"
        token_file.touch(0o600)
        token_file.write_text("\n".join(lines) + "\n")
        (self.run_directory.path / "audit-policy.json").write_text(json.dumps(self._audit_policy))
        self._write_admission_configuration()
        credential = token_credential(self._tokens[ADMINISTRATOR])
        write_kubeconfig(self.kubeconfig, self.server, self.certificate_authority, ADMINISTRATOR, credential)

    def _write_admission_configuration(self) -> None:
        """Write what the API server presents to webhook servers, as the chart's README shows it."""
        users = [
            {"name": host, "user": {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}}
            for host, pair in self._webhook_clients.items()
        ]
        kubeconfig = self.run_directory.path / "webhooks.kubeconfig"
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": users}))
        webhooks = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": str(kubeconfig),
        }
        plugins = [
            {"name": name, "configuration": webhooks}
            for name in ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
        ]
        configuration = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": plugins,
        }
        self._admission_configuration.write_text(json.dumps(configuration))

    @property
    def _admission_configuration(self) -> Path:
        return self.run_directory.path / "admission-configuration.json"

    def _etcd_arguments(self) -> list[str]:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{free_port()}"
        return [
            f"--data-dir={self.run_directory.folder('etcd')}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # The data is thrown away in the end, so it need not survive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_server_arguments(self) -> list[str]:
        certificates = self._certificates
        arguments = [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            # A loopback address is refused in the Endpoints of the `kubernetes` Service.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={certificates}",
            f"--tls-cert-file={certificates / 'api-server.crt'}",
            f"--tls-private-key-file={certificates / 'api-server.key'}",
            f"--client-ca-file={self.certificate_authority}",
            f"--token-auth-file={certificates / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates / 'service-accounts.key'}",
            f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
            f"--service-cluster-ip-range={self.network.services}",
            "--allow-privileged=true",
            # Webhooks behind a Service are called at its endpoints, without a kube-proxy.
            "--enable-aggregator-routing=true",
            # kubectl logs and exec reach the kubelet at the node's address, as a known client.
            "--kubelet-preferred-address-types=InternalIP",
            # Watches would otherwise hold up the end of the API server for a minute.
            "--shutdown-watch-termination-grace-period=1s",
            f"--kubelet-certificate-authority={self.certificate_authority}",
            f"--kubelet-client-certificate={certificates / 'kubelet-client.crt'}",
            f"--kubelet-client-key={certificates / 'kubelet-client.key'}",
        ]
        if self._webhook_clients:
            arguments.append(f"--admission-control-config-file={self._admission_configuration}")
        if self._audit:
            policy = self.run_directory.path / "audit-policy.json"
            arguments.append(f"--audit-policy-file={policy}")
            arguments.append(f"--audit-log-path={self._audit_log}")
        return arguments

    def _controller_manager_arguments(self) -> list[str]:
        return [
            f"--kubeconfig={self.component_kubeconfig(CONTROLLER_MANAGER)}",
            "--use-service-account-credentials",
            # It makes 30 ServiceAccounts for itself when it starts; the default is 20 a second.
            "--kube-api-qps=500",
            "--kube-api-burst=500",
            f"--service-account-private-key-file={self._certificates / 'service-accounts.key'}",
            f"--root-ca-file={self.certificate_authority}",
            # There is one of it, and nobody reads its port.
            "--leader-elect=false",
            "--secure-port=0",
        ]


def _namespace(name: str, **metadata: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}
