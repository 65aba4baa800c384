"""Organizations, definitions and runs of jobs, and the check of everything that ever ran."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.cluster.errors import CommandError, StartError
from tests.cluster.processes import wait_until
from tests.e2e.probe import HOLDING, RELEASE_PATH, container, documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.e2e.probe import Probe
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

RUN_LABEL = "e2e/run"
KNOWN_SECONDS = 30.0
FINISHED_SECONDS = 120.0
FINAL_PHASES = ("Succeeded", "Failed")


@dataclass(slots=True)
class Run:
    """One pod and what each of its containers must print.

    Attributes:
        name: Of the pod or of what makes it; the pod is found by a label with this value.
        body: What is created: a pod, or an object with a pod template.
        pod_body: The pod, or the template as a pod.
        probes: The questions by container.
    """

    name: str
    namespace: str
    body: dict[str, Any]
    pod_body: dict[str, Any]
    probes: dict[str, Probe]
    is_checked: bool = field(default=False)


class Lab:
    """The running operator, and everything that tests start under it."""

    def __init__(self, cluster: Cluster, node: Node, operator: InstalledOperator, canary: Canary) -> None:
        """Begin without any organization."""
        self.cluster = cluster
        self.node = node
        self.operator = operator
        self.canary = canary
        self.namespaces: list[str] = []
        self._runs: dict[tuple[str, str], Run] = {}
        self._numbers = itertools.count(1)

    def value(self, text: str = "") -> str:
        """Return a secret value that no other call returns, with the canary's mark around the text."""
        return f"{self.canary.value(str(next(self._numbers)))}{text}{self.canary.mark}"

    def organization(self) -> Organization:
        """Return a new organization with a home namespace."""
        return Organization(self, f"org-{secrets.token_hex(4)}")

    def namespace(self, prefix: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
        """Create a namespace, which lasts until everything was checked."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.namespaces.append(self.cluster.create_namespace(name, labels, annotations))
        return name

    def define(self, *definitions: Mapping[str, Any]) -> None:
        """Store definitions, and wait until each of them is Ready as it now is."""
        self.apply(*definitions)
        wait_until(lambda: all(map(self._is_ready, definitions)), "the definitions to be Ready", seconds=KNOWN_SECONDS)

    def apply(self, *bodies: Mapping[str, Any]) -> None:
        """Store objects; server-side, because the annotation of client-side apply cannot hold a large file."""
        self.cluster.kubectl("apply", "--server-side", "-f", "-", input=_list(bodies))

    def start(self, *runs: Run) -> None:
        """Create runs as soon as admission knows the definitions that they name."""
        self.wait_until_known(*runs)
        self.create(*runs)

    def wait_until_known(self, *runs: Run) -> None:
        """Wait until admission knows the definitions that runs name."""
        wait_until(lambda: self._is_known(runs), "admission to know the definitions", seconds=KNOWN_SECONDS)

    def create(self, *runs: Run) -> None:
        """Create runs."""
        for run in runs:
            self._runs[run.namespace, run.name] = run
        self.cluster.kubectl("create", "-f", "-", input=_list([run.body for run in runs]))

    def pod(self, run: Run) -> dict[str, Any]:
        """Return the only pod of a run, once it exists."""
        wait_until(lambda: bool(self.pods(run)), f"the pod of {run.name}", seconds=KNOWN_SECONDS)
        (pod,) = self.pods(run)
        return pod

    def pods(self, *runs: Run) -> list[dict[str, Any]]:
        """Return the pods of runs of one namespace as they are now."""
        (namespace,) = {run.namespace for run in runs}
        selector = f"{RUN_LABEL} in ({','.join(run.name for run in runs)})"
        items: list[dict[str, Any]] = self.cluster.get("pods", "-n", namespace, "-l", selector)["items"]
        return items

    def finish(self, *runs: Run) -> dict[str, Any]:
        """Wait for the end of runs of one namespace and check what their containers printed.

        Returns:
            The documents that the last run's container ``main`` printed, by path.
        """
        printed = ""
        pods = self._finished_pods(runs)
        for run in runs:
            (pod,) = (pod for pod in pods if pod["metadata"]["labels"][RUN_LABEL] == run.name)
            for name, probe in run.probes.items():
                log = self.log(pod, name)
                probe.check(log)
                printed = log if name == "main" else printed
            assert pod["status"]["phase"] == "Succeeded"
            run.is_checked = True
        return documents(printed)

    def log(self, pod: Mapping[str, Any], container: str = "main") -> str:
        """Return what a container of a pod has printed."""
        metadata = pod["metadata"]
        return self.node.pod_log(metadata["namespace"], metadata["name"], container)

    def events(self, namespace: str, name: str) -> dict[str, list[str]]:
        """Return the messages of the operator's events about a pod, by reason."""
        found: dict[str, list[str]] = {}
        for event in self.cluster.get("events", "-n", namespace)["items"]:
            if event["involvedObject"]["name"] == name and event["reportingComponent"] == names.EVENT_REPORTER:
                found.setdefault(event["reason"], []).append(event["message"])
        return found

    def wait_for_event(self, run: Run, reason: names.Reason) -> str:
        """Return the message of the only event of a reason about a run's pod, once it exists."""
        name = self.pod(run)["metadata"]["name"]
        wait_until(
            lambda: reason in self.events(run.namespace, name), f"event {reason} about {name}", seconds=KNOWN_SECONDS
        )
        (message,) = self.events(run.namespace, name)[reason]
        return message

    def try_create(self, run: Run) -> tuple[bool, str]:
        """Create a run as a dry run, and return whether that succeeds, and what kubectl says beside the result."""
        arguments = ("create", "--dry-run=server", "-o", "name", "-f", "-")
        answer = self.cluster.kubectl(*arguments, input=json.dumps(run.body), check=False)
        return answer.returncode == 0, answer.stderr

    def annotated_resolution(self, run: Run) -> dict[str, Any]:
        """Return what the annotation of a run's pod says."""
        annotation = self.pod(run)["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]
        resolution: dict[str, Any] = json.loads(annotation)
        return resolution

    def sweep(self) -> list[str]:
        """Return every place but containers and bundle Secrets in which a value stands."""
        logs = [*self.operator.logs, *self.cluster.logs().values(), *self.node.logs().values()]
        answers = {
            f"answer {number} to {answer.path}": answer.searchable()
            for number, answer in enumerate(self.operator.recorder.answers)
        }
        return [str(finding) for finding in self.canary.sweep(self.cluster, logs, answers)]

    def wait_until_held(self, run: Run) -> None:
        """Wait until the run's container has answered everything and holds."""
        pod = self.pod(run)["metadata"]["name"]
        logs = ("logs", pod, "-n", run.namespace, "-c", "main")
        wait_until(
            lambda: HOLDING in self.cluster.kubectl(*logs, check=False).stdout.splitlines(),
            f"{run.name} to hold",
            seconds=FINISHED_SECONDS,
        )

    def release(self, run: Run) -> None:
        """Let a run's container go on."""
        pod = self.pod(run)["metadata"]["name"]
        self.cluster.kubectl("exec", pod, "-n", run.namespace, "-c", "main", "--", "touch", RELEASE_PATH)

    def check_everything(self) -> None:
        """Check every container that ran and that no test has checked: none ran with missing or wrong values."""
        for namespace in self.namespaces:
            for pod in self.cluster.get("pods", "-n", namespace)["items"]:
                run = self._runs[namespace, pod["metadata"]["labels"][RUN_LABEL]]
                if run.is_checked:
                    continue
                for status in container_statuses(pod):
                    assert "running" not in status["state"], f"{run.name} still runs"
                    if "terminated" in status["state"]:
                        run.probes[status["name"]].check(self.log(pod, status["name"]))

    def bundle_secrets(self, *namespaces: str) -> list[str]:
        """Return the names of the bundle Secrets in namespaces, in all of the lab's by default."""
        listed = itertools.chain.from_iterable(
            self.cluster.get("secrets", "-n", namespace)["items"] for namespace in namespaces or self.namespaces
        )
        found = (secret["metadata"]["name"] for secret in listed)
        return [name for name in found if name.startswith(names.BUNDLE_PREFIX)]

    def close(self) -> None:
        """Delete all namespaces."""
        for namespace in self.namespaces:
            self.cluster.delete_namespace(namespace)

    def _finished_pods(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = []

        def are_finished() -> bool:
            pods[:] = self.pods(*runs)
            return len(pods) == len(runs) and all(pod["status"]["phase"] in FINAL_PHASES for pod in pods)

        try:
            wait_until(are_finished, "the end of the runs", seconds=FINISHED_SECONDS)
        except StartError:
            unfinished = [pod for pod in pods if pod["status"]["phase"] not in FINAL_PHASES]
            described = self.cluster.kubectl("describe", "pods,jobs", "-n", runs[0].namespace, check=False).stdout
            raise AssertionError(f"{len(unfinished)} of {len(pods)} pods do not end:\n{described}") from None
        return pods

    def _is_ready(self, definition: Mapping[str, Any]) -> bool:
        metadata = definition["metadata"]
        stored = self.cluster.get("scopedsecret", metadata["name"], "-n", metadata["namespace"])
        return any(
            condition["type"] == names.ConditionType.READY
            and condition["status"] == "True"
            and condition["observedGeneration"] == stored["metadata"]["generation"]
            for condition in stored.get("status", {}).get("conditions", ())
        )

    def _is_known(self, runs: Iterable[Run]) -> bool:
        """Ask admission about the pods; it learns of a definition a moment after its storage.

        Raises:
            CommandError: A pod is refused for another reason than a definition that is not known.
        """
        asked = ("create", "--dry-run=server", "-o", "name", "-f", "-")
        answer = self.cluster.kubectl(*asked, input=_list([run.pod_body for run in runs]), check=False)
        if answer.returncode != 0 and names.Reason.NOT_FOUND not in answer.stderr:
            raise CommandError(f"a pod is refused: {answer.stderr.strip()}")
        return answer.returncode == 0


class Organization:
    """One organization with namespaces of its own; no other test sees its definitions."""

    def __init__(self, lab: Lab, name: str) -> None:
        """Create the home namespace."""
        self.lab = lab
        self.name = name
        self.home = lab.namespace("home", {names.ORGANIZATION_LABEL: name}, {})

    def namespace(self, project: str, environment: str | None = None, **annotations: str) -> str:
        """Create a namespace of a project, or of one of its environments; annotations without their prefix."""
        labels = {names.ORGANIZATION_LABEL: self.name, names.PROJECT_LABEL: project}
        if environment is not None:
            labels[names.ENVIRONMENT_LABEL] = environment
        prefixed = {f"{names.GROUP}/{key.replace('_', '-')}": text for key, text in annotations.items()}
        return self.lab.namespace(project, labels, prefixed)


def definition(
    namespace: str,
    name: str,
    scope: str = "Project",
    *,
    env: Mapping[str, str] | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    **spec: Any,
) -> dict[str, Any]:
    """Return the body of a ScopedSecret; ``env`` maps variables to values, all of them sensitive."""
    variables = [{"name": variable, "value": value} for variable, value in (env or {}).items()]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scope": scope, "env": variables, "files": list(files), **spec},
    }


def file(path: str | None, content: str | bytes, mode: str | None = None, env: str | None = None) -> dict[str, str]:
    """Return a file's entry; bytes go as base64, and without a mode the default of 0600 holds."""
    entry = {key: text for key, text in (("path", path), ("env", env)) if text is not None}
    if isinstance(content, bytes):
        entry["contentBase64"] = base64.b64encode(content).decode()
    else:
        entry["content"] = content
    return entry if mode is None else {**entry, "mode": mode}


def pod_run(
    namespace: str,
    name: str,
    bundles: str,
    probe: Probe,
    *,
    containers: Mapping[str, tuple[Probe, Mapping[str, Any]]] | None = None,
    annotations: Mapping[str, str] | None = None,
    main: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Run:
    """Return a bare pod.

    Args:
        namespace: Where it runs.
        name: Of the pod.
        bundles: The text of its annotation.
        probe: The questions to its container ``main``.
        containers: Probes and bodies of more containers; names that begin with ``init`` are init containers.
        annotations: More annotations, without their prefix.
        main: More of the body of container ``main``.
        spec: More of the pod's spec.
    """
    bodies = {"main": container(probe, **(main or {}))}
    probes = {"main": probe}
    for other, (questions, fields) in (containers or {}).items():
        bodies[other] = container(questions, other, **fields)
        probes[other] = questions
    initial = [body for other, body in bodies.items() if other.startswith("init")]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.INJECT_LABEL: names.INJECT_VALUE, RUN_LABEL: name},
            "annotations": {
                names.SECRETS_ANNOTATION: bundles,
                **{f"{names.GROUP}/{key}": text for key, text in (annotations or {}).items()},
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            **({"initContainers": initial} if initial else {}),
            "containers": [body for body in bodies.values() if body not in initial],
            **spec,
        },
    }
    return Run(name, namespace, body, body, probes)


def job_run(run: Run) -> Run:
    """Return a Job that makes the pod of a run."""
    return Run(
        run.name, run.namespace, {**_job(run), "apiVersion": "batch/v1", "kind": "Job"}, run.pod_body, run.probes
    )


def cron_job_run(run: Run) -> Run:
    """Return a CronJob whose Jobs make the pod of a run; it makes none by itself."""
    job = _job(run)
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": job["metadata"],
        "spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": job["spec"]}},
    }
    return Run(run.name, run.namespace, body, run.pod_body, run.probes)


def generated_run(run: Run) -> Run:
    """Return a pod that gets its name from the API server."""
    metadata = {key: value for key, value in run.pod_body["metadata"].items() if key != "name"}
    body = {**run.pod_body, "metadata": {**metadata, "generateName": f"{run.name}-"}}
    return Run(run.name, run.namespace, body, body, run.probes)


def _job(run: Run) -> dict[str, Any]:
    metadata = run.pod_body["metadata"]
    template = {"metadata": {key: metadata[key] for key in ("labels", "annotations")}, "spec": run.pod_body["spec"]}
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace")},
        "spec": {"backoffLimit": 0, "template": template},
    }


def _list(bodies: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})


def container_statuses(pod: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Return the statuses of all containers of a pod, init containers first."""
    status = pod["status"]
    return itertools.chain(status.get("initContainerStatuses", ()), status.get("containerStatuses", ()))
