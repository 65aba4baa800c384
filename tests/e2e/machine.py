"""A cluster whose node runs the operator's own image, and the tools with which people install it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.cluster.assets import find_assets, helm_binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import CommandError, NodeUnavailableError
from tests.cluster.node import Node
from tests.cluster.operator_image import operator_image
from tests.cluster.processes import wait_until
from tests.cluster.run_directory import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

CHART = REPOSITORY / "helm" / "scoped-secrets"
EXAMPLES = REPOSITORY / "manifests" / "examples"
RELEASE = "scoped-secrets"
SYSTEM = names.DEFAULT_NAMESPACE
CRDS = tuple(f"{plural}.{names.GROUP}" for plural in (names.SCOPED_SECRET_PLURAL, names.SECRET_POLICY_PLURAL))
# The image of the examples, which is on no registry here.
EXAMPLE_IMAGE = "busybox:1.37"
INSTALL_SECONDS = 180
JOB_SECONDS = 120
SECONDS = 60.0
WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
# What Kubernetes makes by itself, and what other tests leave behind.
NOT_OURS = ("events", "events.events.k8s.io", "leases.coordination.k8s.io", "endpoints")


class Machine:
    """A control plane, a node with the operator's image, helm and kubectl."""

    def __init__(self, cluster: ControlPlane, node: Node, image: str, helm: Path) -> None:
        """Take what ``open`` has started."""
        self.cluster = cluster
        self.node = node
        self.image = image
        self._helm = helm

    @classmethod
    @contextmanager
    def open(cls, environment: Mapping[str, str]) -> Iterator[Machine]:
        """Start everything, and take it down at the end of the block.

        Raises:
            NodeUnavailableError: This machine cannot run the operator's pods; the message says what is missing.
        """
        if environment.get("USE_EXISTING_CLUSTER", "").lower() == "true":
            raise NodeUnavailableError("an existing cluster has nodes without our image: unset USE_EXISTING_CLUSTER")
        image = operator_image(environment)
        helm = helm_binary(environment)
        with (
            ControlPlane.start(find_assets(environment), purpose="installation tests", audit=True) as cluster,
            Node.start(cluster, environment) as node,
        ):
            node.load_image(image.archive)
            node.tag_image(node.image, EXAMPLE_IMAGE)
            yield cls(cluster, node, image.name, helm)

    def environment(self) -> dict[str, str]:
        """Return the environment of a person who works with this cluster, with the tools on the PATH."""
        home = self.cluster.run_directory.folder("person")
        own = self.cluster.run_directory.environment()
        folders = [str(self.cluster.assets.folder), str(self._helm.parent), own["PATH"]]
        return {**own, "HOME": str(home), "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": os.pathsep.join(folders)}

    def helm(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        """Run helm.

        Raises:
            CommandError: It failed; the message has what it wrote to standard error, and the state of our pods.
        """
        result = subprocess.run(
            [self._helm, *arguments],
            cwd=REPOSITORY,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS + 60,
        )
        if check and result.returncode != 0:
            message = f"helm {arguments[0]} ({result.returncode}): {result.stderr.strip()}\n{self.described()}"
            raise CommandError(message)
        return result

    def install(self, *arguments: str, chart: Path = CHART) -> None:
        """Install the chart as the release of our tests, and wait until its pods are Ready."""
        place = (RELEASE, str(chart), "--namespace", SYSTEM, "--create-namespace")
        self.helm("install", *place, "--wait", f"--timeout={INSTALL_SECONDS}s", *arguments)

    def upgrade(self, *arguments: str, chart: Path = CHART) -> None:
        """Upgrade the release, and wait until its pods are Ready."""
        place = (RELEASE, str(chart), "--namespace", SYSTEM)
        self.helm("upgrade", *place, "--wait", f"--timeout={INSTALL_SECONDS}s", *arguments)

    def uninstall(self) -> None:
        """Uninstall the release if there is one, and remove what it keeps."""
        self.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--ignore-not-found")
        self.remove_kept()

    def remove_kept(self) -> None:
        """Remove definitions, CRDs and the operator's namespace, as somebody does who wants nothing of it any more."""
        self.cluster.kubectl("delete", "crd", *CRDS, "--ignore-not-found", timeout=SECONDS * 2)
        self.cluster.kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", timeout=SECONDS * 2)

    @contextmanager
    def release(self, *arguments: str) -> Iterator[None]:
        """Have the release installed inside of the block."""
        try:
            self.install(*arguments)
            yield
        finally:
            self.uninstall()

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of a component that are not about to end."""
        selector = f"app.kubernetes.io/component={component}"
        items = self.cluster.get("pods", "-n", SYSTEM, "-l", selector)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def described(self) -> str:
        """Return the state of the operator's pods, and the ends of their logs, for a message."""
        described = self.cluster.kubectl("describe", "pods", "-n", SYSTEM, check=False).stdout
        selected = ("-l", "app.kubernetes.io/part-of=scoped-secrets", "--tail=15", "--prefix")
        logs = self.cluster.kubectl("logs", "-n", SYSTEM, *selected, "--all-containers", check=False).stdout
        return f"{described}\n{logs}"

    def project(self, name: str = "project") -> str:
        """Create a namespace with a scope path of its own, and return its name."""
        unique = f"{name}-{secrets.token_hex(4)}"
        labels = {names.ORGANIZATION_LABEL: unique, names.PROJECT_LABEL: "web"}
        return self.cluster.create_namespace(unique, labels)

    def define(self, namespace: str, value: str, name: str = "aws") -> None:
        """Store a definition of one variable and one file for everybody in a namespace, and wait until it is Ready."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.SCOPED_SECRET_KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "scope": "Project",
                "env": [{"name": "KEY", "value": value}],
                "files": [{"path": "/etc/app/key", "content": value}],
            },
        }
        policy = {
            "apiVersion": names.API_VERSION,
            "kind": names.SECRET_POLICY_KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"secrets": {"names": [name]}, "effect": "Allow", "rules": [{"name": "everybody"}]},
        }
        for each in (policy, body):
            self._apply_when_known(json.dumps(each))
        where = (f"scopedsecret/{name}", "-n", namespace)
        self.cluster.kubectl("wait", *where, "--for=condition=Ready", "--timeout=60s", timeout=90)

    def run_job(self, namespace: str, value: str, bundle: str = "aws") -> None:
        """Run a pod that reads the bundle's variable and file, and check both."""
        name = f"job-{secrets.token_hex(4)}"
        self.cluster.kubectl("create", "-f", "-", input=json.dumps(job_pod(namespace, name, bundle)))
        finished = ("--for=jsonpath={.status.phase}=Succeeded", f"--timeout={JOB_SECONDS}s")
        self.cluster.kubectl("wait", f"pod/{name}", "-n", namespace, *finished, timeout=JOB_SECONDS + 30)
        printed = self.cluster.kubectl("logs", name, "-n", namespace).stdout
        assert printed.split() == ["variable", value, "file", value]

    def objects(self) -> set[str]:
        """Return every object of the cluster as ``resource namespace/name``, but events and the like."""
        listed = self.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        resources = [resource for resource in listed if resource not in NOT_OURS and "metrics" not in resource]
        columns = "-o=custom-columns=K:.kind,N:.metadata.namespace,O:.metadata.name"
        lines = self.cluster.kubectl("get", ",".join(resources), "-A", "--no-headers", columns).stdout.splitlines()
        return {" ".join(line.split()) for line in lines}

    def webhooks(self) -> list[str]:
        """Return the names of the webhook configurations."""
        items = self.cluster.get(",".join(WEBHOOKS))["items"]
        return [item["metadata"]["name"] for item in items]

    def _apply_when_known(self, body: str) -> None:
        """Apply an object as soon as admission knows its namespace, a moment after the namespace was made."""

        def is_applied() -> bool:
            result = self.cluster.kubectl("apply", "-f", "-", input=body, check=False)
            if result.returncode != 0 and names.Reason.NAMESPACE_OUTSIDE not in result.stderr:
                raise CommandError(f"{result.stderr.strip()}\n{self.described()}")
            return result.returncode == 0

        wait_until(is_applied, "admission to know the namespace", seconds=SECONDS)


def job_pod(namespace: str, name: str, bundle: str, script: Sequence[str] = ()) -> dict[str, Any]:
    """Return a pod that prints what it got, or runs a script."""
    printing = ("echo variable $KEY", "echo file $(cat /etc/app/key)")
    container = {
        "name": "main",
        "image": EXAMPLE_IMAGE,
        "command": ["sh", "-ec", "\n".join(script or printing)],
    }
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {names.INJECT_LABEL: names.INJECT_VALUE},
        "annotations": {names.SECRETS_ANNOTATION: bundle},
    }
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
