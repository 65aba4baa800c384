"""The operator as ``manifests/`` install it: each process with its own ServiceAccount, and so with no right too many.

Only what a node would do is done here instead: the processes are started as children, the admission material is written
into a folder as the kubelet mounts it, and the webhook configurations name a loopback address and not a Service.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scoped_secrets import names
from scoped_secrets.logs import AUDIT_LOGGER
from scoped_secrets.shipped_manifests import INJECTED_MANIFEST, OPT_IN_MANIFEST
from tests.cluster.errors import StartError
from tests.cluster.processes import Program, free_port, wait_until
from tests.support.running import RunningOperator
from tests.support.webhook_recorder import WebhookRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from subprocess import CompletedProcess

    from tests.cluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
CONTROLLER_USER = f"system:serviceaccount:{names.DEFAULT_NAMESPACE}:{names.CONTROLLER_ACCOUNT}"
ADMISSION_USER = f"system:serviceaccount:{names.DEFAULT_NAMESPACE}:{names.ADMISSION_ACCOUNT}"

_LOOPBACK = "127.0.0.1"
_READY_SECONDS = 60.0
_WEBHOOK_SECONDS = 30.0
_ROLE_SECONDS = 90.0
_WEBHOOKS = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
_POLICIES = ("validatingadmissionpolicybinding", "validatingadmissionpolicy")
_INJECTED = ROOT / "manifests" / INJECTED_MANIFEST
_NAMESPACED = ("-n", names.DEFAULT_NAMESPACE)
GUARD_MANIFEST = ROOT / "manifests" / "70-guard.yaml"
INJECTED_POLICY = f"{names.WEBHOOK_CONFIGURATION}-injected"
_PROBE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe", "labels": {names.INJECT_LABEL: names.INJECT_VALUE}},
    "spec": {"containers": [{"name": "main", "image": "none"}]},
}
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"


class Process:
    """One process of the operator, with the ports of its probes and its metrics."""

    def __init__(self, program: Program, probe_port: int, metrics_port: int = 0) -> None:
        """Hold the running program."""
        self.program = program
        self.probe_port = probe_port
        self.metrics_port = metrics_port

    def probe(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a probe; 0 while nobody listens."""
        return self._ask(self.probe_port, path)

    def metrics(self) -> str:
        """Return what Prometheus would scrape.

        Raises:
            StartError: Nobody answers.
        """
        status, body = self._ask(self.metrics_port, "/metrics")
        if status != HTTPStatus.OK:
            raise StartError(f"{self.program.name} answers a scrape with {status}")
        return body.decode()

    def _ask(self, port: int, path: str) -> tuple[int, bytes]:
        unsealer = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with unsealer.open(f"http://{_LOOPBACK}:{port}{path}", timeout=5) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    @property
    def is_ready(self) -> bool:
        """Whether it says so itself."""
        return self.probe("/readyz")[0] == HTTPStatus.OK

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        what = f"{self.program.name} is ready"
        wait_until(lambda: self.is_ready, what, seconds=_READY_SECONDS, programs=[self.program])


class InstalledOperator:
    """Controllers, one admission server, and what is installed in the cluster for them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """Take the cluster, and a folder for logs and for the admission material."""
        self.cluster = cluster
        self.controllers: list[Process] = []
        self.admission: Process | None = None
        self.logs: list[Path] = []
        self.admission_port = free_port()
        self.recorder = WebhookRecorder(self.admission_port)
        self._folder = folder
        self._material = folder / "material"
        self._material.mkdir()
        self._issuers = folder / "trusted-issuers.yaml"
        self._issuers.write_text(json.dumps({"trustedIssuers": []}))
        self._kubeconfigs: dict[str, Path] = {}

    def install(self) -> None:
        """Apply CRDs, namespace, roles, policies and webhook configurations, as the documentation says."""
        kubectl = self.cluster.kubectl
        kubectl("apply", "-f", str(ROOT / "crds"))
        plurals = (names.SCOPED_SECRET_PLURAL, names.SECRET_POLICY_PLURAL)
        kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{p}.{names.GROUP}" for p in plurals))
        for manifest in ("00-namespace.yaml", "10-roles.yaml", OPT_IN_MANIFEST):
            kubectl("apply", "-f", str(ROOT / "manifests" / manifest))
        self._apply_guard()
        kubectl("apply", "-f", "-", input=json.dumps(_list(self._webhooks())))
        kubectl("apply", "-f", str(_INJECTED))
        for account in (names.CONTROLLER_ACCOUNT, names.ADMISSION_ACCOUNT):
            self._kubeconfigs[account] = self.cluster.service_account_kubeconfig(names.DEFAULT_NAMESPACE, account)

    def audit_log(self) -> list[dict[str, Any]]:
        """Return the decisions that the processes wrote, those of each process in their order."""
        lines = (line for log in self.logs for line in log.read_text().splitlines())
        return [json.loads(line) for line in lines if line.startswith(f'{{"logger":"{AUDIT_LOGGER}"')]

    def start(self) -> None:
        """Start what does not run, and wait until the API server asks us about pods."""
        self.controllers = [controller for controller in self.controllers if controller.program.is_running]
        is_complete = self.controllers and self.admission is not None and self.admission.program.is_running
        if is_complete:
            return
        if not self.controllers:
            self.start_controller()
        if self.admission is None or not self.admission.program.is_running:
            self.start_admission()
        self.wait_until_asked()

    def start_controller(self, *flags: str) -> Process:
        """Start one more controller and wait until it is ready; the first one leads, later ones stand by."""
        given = ("--namespace", names.DEFAULT_NAMESPACE, "--admission-name", _LOOPBACK, *flags)
        controller = self._start("controller", names.CONTROLLER_ACCOUNT, given)
        self.controllers.append(controller)
        controller.wait_ready()
        return controller

    def start_admission(self) -> Process:
        """Start the admission server with what the controller has written for it, and wait until it is ready."""
        what = f"Secret {names.ADMISSION_SECRET} is there"
        wait_until(self._mount_material, what, seconds=_READY_SECONDS)
        self.recorder.serve(self._material)
        flags = ["--material", str(self._material), "--host", _LOOPBACK, "--port", str(self.admission_port), "--gate"]
        flags += ["--trusted-issuers-file", str(self._issuers)]
        self.admission = self._start("admission", names.ADMISSION_ACCOUNT, flags)
        self.admission.wait_ready()
        return self.admission

    def mount_material(self) -> None:
        """Bring the admission material up to date, as the kubelet does within a minute, and wait until it is used."""
        before, loads = self._mounted, self._loads()
        self._mount_material()
        if self.admission is not None and self.admission.program.is_running and self._mounted != before:
            wait_until(
                lambda: self._loads() > loads,
                "the admission material is used",
                seconds=_READY_SECONDS,
                programs=[self.admission.program],
            )

    def trust(self, *issuers: Mapping[str, Any]) -> None:
        """Write the file of trusted issuers, as the kubelet does after a change of the ConfigMap."""
        self.write_issuers(json.dumps({"trustedIssuers": issuers}), "trusted issuers loaded")

    def write_issuers(self, text: str, event: str) -> None:
        """Write the file of trusted issuers, and wait until admission logs what it makes of it."""
        admission = self.admission
        assert admission is not None
        if self._issuers.read_text() == text:
            return
        before = admission.program.log.read_text().count(event)
        following = self._issuers.with_suffix(".following")
        following.write_text(text)
        following.replace(self._issuers)
        wait_until(
            lambda: admission.program.log.read_text().count(event) > before,
            f"admission logs: {event}",
            seconds=_READY_SECONDS,
            programs=[admission.program],
        )

    @property
    def _mounted(self) -> str:
        link = self._material / "..data"
        return str(link.readlink()) if link.is_symlink() else ""

    def _loads(self) -> int:
        """Return how often the admission server has taken over material."""
        return (
            self.admission.program.log.read_text().count("admission credentials loaded")
            if self.admission is not None
            else 0
        )

    def keep_one_controller(self) -> Process:
        """Have exactly one controller, which leads: what it counts and holds is then all there is."""
        if sum(controller.program.is_running for controller in self.controllers) > 1:
            self.stop_controllers()
        self.start()
        (controller,) = self.controllers
        what = f"{controller.program.name} leads"
        leads = "scoped_secrets_leader 1.0"
        wait_until(lambda: leads in controller.metrics(), what, seconds=_READY_SECONDS, programs=[controller.program])
        return controller

    def wait_told_of_roles(self) -> None:
        """Wait until the admission material tells of the present roles: the controller asks once a minute."""
        asked = ("auth", "can-i", "get", "secrets", "--all-namespaces")
        may = self.cluster.kubectl(*asked, user=CONTROLLER_USER, check=False).returncode == 0
        expected = base64.b64encode(b"true" if may else b"false").decode()

        def is_told() -> bool:
            data = self.cluster.get("secret", names.ADMISSION_SECRET, *_NAMESPACED)["data"]
            return bool(data.get(names.ADMISSION_SOURCES) == expected)

        wait_until(is_told, "the admission material tells of the roles", seconds=_ROLE_SECONDS)

    def processes(self) -> list[Process]:
        """Return the running processes."""
        started = [*self.controllers, *([self.admission] if self.admission else [])]
        return [process for process in started if process.program.is_running]

    def stop(self) -> None:
        """Stop all processes as SIGTERM does; the webhook configurations stay."""
        running = self.processes()
        for process in running:
            os.kill(process.program.pid, signal.SIGTERM)
        for process in running:
            process.program.wait_for_end(grace_seconds=30)
        self.controllers, self.admission = [], None

    def stop_controllers(self) -> None:
        """Stop the controllers as SIGTERM does; admission goes on."""
        running = [controller for controller in self.controllers if controller.program.is_running]
        for controller in running:
            os.kill(controller.program.pid, signal.SIGTERM)
        for controller in running:
            controller.program.wait_for_end(grace_seconds=30)
        self.controllers = []

    def uninstall(self) -> None:
        """Take the webhook configurations and the policies away and end everything at once: nobody asks any more."""
        self.cluster.kubectl("delete", "--ignore-not-found", "-f", str(_INJECTED))
        for kind in (*_WEBHOOKS, *_POLICIES):
            self.cluster.kubectl("delete", kind, names.WEBHOOK_CONFIGURATION, "--ignore-not-found")
        self.remove_guard()
        for process in self.processes():
            process.program.kill()
        self.recorder.close()

    @contextmanager
    def webhooks_off(self, *given: str) -> Iterator[None]:
        """Take the webhook configurations away for a while, so that anything is stored as it is written.

        Args:
            given: The kinds that are taken away, while the policy that requires injection stays; by default both kinds
                and the policy.
        """
        taken = [kind in (given or _WEBHOOKS) for kind in _WEBHOOKS]
        kinds = ",".join(kind for kind, is_taken in zip(_WEBHOOKS, taken, strict=True) if is_taken)
        saved = self.cluster.get(kinds, "--field-selector", f"metadata.name={names.WEBHOOK_CONFIGURATION}")["items"]
        for configuration in saved:
            # The labels stay, as the documentation deletes by label what `run` may have left.
            kept = {key: configuration["metadata"].get(key) for key in ("name", "labels")}
            configuration["metadata"] = kept
        if not given:
            self.cluster.kubectl("delete", "-f", str(_INJECTED))
        self.cluster.kubectl("delete", kinds, names.WEBHOOK_CONFIGURATION)
        try:
            if not given:
                wait_until(lambda: not self.requires_injection(), "no policy is left", seconds=_WEBHOOK_SECONDS)
            left = tuple(not is_taken for is_taken in taken)
            wait_until(lambda: self._refusals() == left, "the webhooks are off", seconds=_WEBHOOK_SECONDS)
            yield
        finally:
            self.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(_list(saved)))
            self.cluster.kubectl("apply", "-f", str(_INJECTED))
            self.wait_until_asked()

    def with_token_of(
        self, account: str, *command: str, body: Mapping[str, Any] | None = None
    ) -> CompletedProcess[str]:
        """Run kubectl as whoever has stolen the token of one of the operator's processes."""
        flags = ("--kubeconfig", str(self._kubeconfigs[account]))
        text = None if body is None else json.dumps(body)
        return self.cluster.kubectl(*flags, *command, input=text, check=False)

    @contextmanager
    def guard_off(self) -> Iterator[None]:
        """Take the policies of the guard away for a while, so that anyone may plant a Secret with our prefix."""
        self.remove_guard()
        try:
            yield
        finally:
            self._apply_guard()

    def _apply_guard(self) -> None:
        self.cluster.kubectl("apply", "-f", str(GUARD_MANIFEST))
        wait_until(self._is_guarded, "the policies of the guard are evaluated", seconds=_WEBHOOK_SECONDS)

    def remove_guard(self) -> None:
        """Take the policies of the guard away, until the next installation."""
        self.cluster.kubectl("delete", "--ignore-not-found", "-f", str(GUARD_MANIFEST))
        wait_until(lambda: not self._is_guarded(), "the policies of the guard are gone", seconds=_WEBHOOK_SECONDS)

    def _is_guarded(self) -> bool:
        metadata = {"name": f"{names.BUNDLE_PREFIX}probe", "namespace": "default"}
        return bool(self.cluster.refusal({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}))

    def wait_until_asked(self) -> None:
        """Wait until the API server asks us about pods, with the mutating configuration and with the validating one."""
        wait_until(lambda: all(self._refusals()), "the webhooks answer", seconds=_WEBHOOK_SECONDS)

    def _refusals(self) -> tuple[bool, bool]:
        """Tell of each configuration whether the API server asks us because of it."""
        policy = {"apiVersion": names.API_VERSION, "kind": names.SECRET_POLICY_KIND, "metadata": {"name": "probe"}}
        policy |= {"spec": {"secrets": {"names": ["*"]}}}
        # The namespace has no scope path, so that both are refused by the first webhook that sees them.
        return self._is_refused(_PROBE), self._is_refused(policy)

    def requires_injection(self) -> bool:
        """Tell whether the API server denies a pod because it opted in and was not injected."""
        return f"'{INJECTED_POLICY}'" in self.cluster.refusal(_PROBE)

    def _is_refused(self, body: Mapping[str, Any]) -> bool:
        return names.Reason.NAMESPACE_OUTSIDE in self.cluster.refusal(body)

    def _start(self, verb: str, account: str, flags: Sequence[str]) -> Process:
        port, metrics_port = free_port(), free_port()
        arguments = [sys.executable, "-m", "scoped_secrets", verb, "--kubeconfig", str(self._kubeconfigs[account])]
        arguments += ["--probe-host", _LOOPBACK, "--probe-port", str(port), "--log-level", "debug"]
        arguments += ["--metrics-host", _LOOPBACK, "--metrics-port", str(metrics_port), *flags]
        log = self._folder / f"{verb}-{len(self.logs)}.log"
        self.logs.append(log)
        environment = RunningOperator.environment(self.cluster)
        # The kubeconfig of the administrator must not be a way out.
        del environment["KUBECONFIG"]
        return Process(Program(f"scoped-secrets {verb}", arguments, log, environment), port, metrics_port)

    def _mount_material(self) -> bool:
        get = ("get", "secret", names.ADMISSION_SECRET, *_NAMESPACED, "-o", "json")
        result = self.cluster.kubectl(*get, check=False)
        if result.returncode != 0:
            for controller in self.controllers:
                if not controller.program.is_running:
                    raise StartError(f"the controller ended:\n{controller.program.last_log_lines()}")
            return False
        data = {key: base64.b64decode(encoded) for key, encoded in json.loads(result.stdout)["data"].items()}
        current = self._material / "..data"
        if data == {file.name: file.read_bytes() for file in current.glob("*")}:
            return True
        version = self._material / f"..{len(list(self._material.glob('..[0-9]*')))}"
        version.mkdir(0o700)
        for key, content in data.items():
            (version / key).write_bytes(content)
            if not (self._material / key).is_symlink():
                (self._material / key).symlink_to(Path("..data") / key)
        following = self._material / "..following"
        following.symlink_to(version.name)
        following.replace(current)
        return True

    def _webhooks(self) -> list[dict[str, Any]]:
        configurations = list(yaml.safe_load_all((ROOT / "manifests" / "40-webhooks.yaml").read_text()))
        for configuration in configurations:
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = {"url": f"https://{_LOOPBACK}:{self.recorder.port}{path}"}
        return configurations


def _list(items: Sequence[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}
