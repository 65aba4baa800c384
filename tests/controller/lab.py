"""The real controller in its own process, and helpers for tests around it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.processes import Program, free_port, wait_until
from tests.controller.snapshots import admitted
from tests.support.builders import entry_key, pod_body, scope_labels, slot_at

from scoped_secrets import names
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.kube.client import Cluster as Client
from scoped_secrets.kube.informer import Informer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.cluster.control_plane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
USER = f"system:serviceaccount:{names.DEFAULT_NAMESPACE}:{names.CONTROLLER_ACCOUNT}"
CHANGES = ("create", "update", "patch", "delete", "deletecollection")
SECONDS = 30.0


class Controller:
    """One process of the controller."""

    def __init__(self, name: str, plane: ControlPlane, kubeconfig: Path, folder: Path) -> None:
        self.port = free_port()
        self.program = Program(
            name,
            [
                *(sys.executable, "-m", "scoped_secrets", "controller", "--kubeconfig", str(kubeconfig)),
                *("--probe-host", "127.0.0.1", "--probe-port", str(self.port), "--log-level", "debug"),
                "--no-metrics",
                *("--lease-duration", "3", "--lease-renew-deadline", "2", "--lease-retry-period", "0.5"),
                *("--resync-seconds", "10"),
            ],
            folder / f"{name}.log",
            {**plane.run_directory.environment(), "PYTHONWARNINGS": "default"},
        )

    def probe(self, path: str) -> int:
        """Return the status of a probe, 0 without an answer."""
        return self._ask(path)[0]

    @property
    def missing(self) -> str:
        """What the readiness probe says is missing."""
        return self._ask("/readyz")[1]

    def _ask(self, path: str) -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        wait_until(
            lambda: self.probe("/readyz") == 200, "the controller ready", seconds=SECONDS, programs=[self.program]
        )

    @property
    def log(self) -> str:
        return self.program.log.read_text()

    @property
    def leads(self) -> bool:
        return self.log.count("leadership begins") > self.log.count("leadership ends")


class Lab:
    """The cluster as the tests of the controller use it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.controllers: list[Controller] = []
        self._started = 0

    # The controllers

    def install(self) -> None:
        """Apply CRDs, the operator's namespace and its roles."""
        self.plane.kubectl("apply", "-f", str(ROOT / "crds"))
        self.plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
        for manifest in ("00-namespace.yaml", "10-roles.yaml"):
            self.plane.kubectl("apply", "-f", str(ROOT / "manifests" / manifest))
        self.kubeconfig = self.plane.service_account_kubeconfig(names.DEFAULT_NAMESPACE, names.CONTROLLER_ACCOUNT)

    def start(self) -> Controller:
        """Start one more controller and wait until it is ready."""
        controller = self.begin()
        controller.wait_ready()
        return controller

    def begin(self, kubeconfig: Path | None = None) -> Controller:
        """Start one more controller, with another kubeconfig when one is given."""
        self._started += 1
        name = f"controller-{self._started}"
        controller = Controller(name, self.plane, kubeconfig or self.kubeconfig, self.folder)
        self.controllers.append(controller)
        return controller

    def ensure_running(self) -> None:
        """Run exactly one controller, which leads."""
        self.controllers = [controller for controller in self.controllers if controller.program.is_running]
        if not self.controllers:
            self.start()
        self.wait(lambda: self.controller.leads, "a leader")

    def stop_others(self) -> None:
        """Stop all controllers but the one that leads."""
        for controller in self.controllers:
            if not controller.leads:
                controller.program.stop()

    def close(self) -> None:
        """Stop all controllers."""
        for controller in self.controllers:
            controller.program.stop()

    @property
    def controller(self) -> Controller:
        return self.controllers[0]

    # Objects

    def namespace(
        self, organization: str | None = None, project: str | None = None, environment: str | None = None
    ) -> str:
        """Create a namespace with a scope path."""
        name = f"test-{secrets.token_hex(4)}"
        return self.plane.create_namespace(name, scope_labels(organization, project, environment))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(document))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        result = self.plane.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(result.stdout) if result.stdout else None

    def status(self, kind: str, namespace: str, name: str) -> dict[str, tuple[str, str]]:
        """Return the conditions of an object: status and reason by type."""
        body = self.get(kind, namespace, name) or {}
        conditions = body.get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in conditions}

    def sealed(self, value: bytes, namespace: str, name: str, variable: str, *, ring: KeyRing | None = None) -> str:
        """Return a value sealed for a variable of a definition that exists already."""
        informer = self._list_inventory()
        slot = slot_at(informer.inventory, f"{namespace}/{name}")
        context = sealing_context(informer.cluster_id, namespace, name, slot, entry_key("env", variable))
        return seal(SecretValue(value), context, (ring or self.ring).active.public_key, None)

    def admit(self, namespace: str, wanted: str, *, generate_name: str | None = None) -> dict[str, Any]:
        """Return a pod as admission stores it now, without creating it."""
        naming = {"generateName": generate_name} if generate_name else {"name": f"job-{secrets.token_hex(4)}"}
        body = pod_body(wanted, namespace=namespace, metadata=naming)
        if generate_name:
            del body["metadata"]["name"]
        return admitted(body, self._list_inventory().inventory, key=self.fingerprint_key)

    def create(self, *pods: Mapping[str, Any]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(pods)}
        self.plane.kubectl("create", "-f", "-", input=json.dumps(document))

    def finish(self, pod: Mapping[str, Any], phase: str = "Succeeded") -> None:
        """Set a pod's phase as a kubelet does."""
        metadata = pod["metadata"]
        patch = json.dumps({"status": {"phase": phase}})
        self.plane.kubectl(
            *("patch", "pod", metadata["name"], "-n", metadata["namespace"]),
            *("--subresource=status", "--type=merge", "-p", patch),
        )

    def bundle(self, pod: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the first of a pod's bundle Secrets."""
        return self.get("secret", pod["metadata"]["namespace"], part_names(pod)[0])

    def content(self, pod: Mapping[str, Any]) -> dict[str, bytes]:
        """Wait for a pod's bundle and return its values, without the resolution report."""
        self.wait(lambda: self.bundle(pod) is not None, "the bundle")
        bundle = self.bundle(pod)
        assert bundle is not None
        data = bundle["data"]
        return {key: base64.b64decode(value) for key, value in data.items() if key != names.RESOLUTION_FILE}

    def events(self, namespace: str, name: str) -> set[str]:
        """Return the reasons of the events about an object."""
        listed = self.plane.get("events", "-n", namespace)
        return {event["reason"] for event in listed["items"] if event["involvedObject"]["name"] == name}

    def messages(self, namespace: str, name: str) -> list[str]:
        """Return the messages of the events about an object."""
        listed = self.plane.get("events", "-n", namespace)
        return [event["message"] for event in listed["items"] if event["involvedObject"]["name"] == name]

    def create_generated(self, body: Mapping[str, Any]) -> str:
        """Create a pod with a generated name and return the name."""
        command = ("create", "-f", "-", "-o", "jsonpath={.metadata.name}")
        return self.plane.kubectl(*command, input=json.dumps(body)).stdout

    # The controller's own view

    @property
    def ring(self) -> KeyRing:
        return KeyRing.from_secret_data(self._own_secret(names.SEALING_KEY_SECRET))

    @property
    def fingerprint_key(self) -> FingerprintKey:
        (key,) = self._own_secret(names.FINGERPRINT_KEY_SECRET).values()
        return FingerprintKey.parse(key)

    def writes(self) -> list[dict[str, Any]]:
        """Return the writes of controllers from the audit log, without those to their Lease."""
        return [
            entry
            for entry in self.plane.audit_entries()
            if entry["user"]["username"] == USER
            and entry["verb"] in CHANGES
            and entry["responseStatus"]["code"] < 300
            and entry["objectRef"]["resource"] != "leases"
            and "dryRun=All" not in entry["requestURI"]
        ]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Wait for a condition while the controllers run."""
        wait_until(condition, what, seconds=seconds, programs=[c.program for c in self.controllers])

    def _own_secret(self, name: str) -> dict[str, bytes]:
        secret = self.get("secret", names.DEFAULT_NAMESPACE, name)
        assert secret is not None, name
        data = secret["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    def _list_inventory(self) -> Informer:
        async def relist() -> Informer:
            informer = Informer(Inventory(), default_organization="default", keep_sealed=True)
            async with await Client.connect(str(self.plane.kubeconfig)) as client:
                await informer.relist(client)
            return informer

        return asyncio.run(relist())


def scoped_secret(namespace: str, name: str, scope: str = "Project", **spec: Any) -> dict[str, Any]:
    """Return a ScopedSecret; ``env`` may be a mapping of variables to plain configuration."""
    env = spec.pop("env", {})
    if isinstance(env, dict):
        env = [{"name": key, "value": value, "sensitive": False} for key, value in env.items()]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scope": scope, "env": env, **spec},
    }


def part_names(pod: Mapping[str, Any]) -> list[str]:
    """Return the names of the bundle Secrets that a pod's volume refers to."""
    (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == names.VOLUME_NAME)
    return [source["secret"]["name"] for source in volume["projected"]["sources"]]
