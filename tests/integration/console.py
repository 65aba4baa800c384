"""What a person does with kubectl, and what containers would find."""

from __future__ import annotations

import base64
import copy
import json
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.support.builders import pod_body
from tests.support.container_view import View, views_of
from tests.support.installed import CONTROLLER_USER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.cluster.control_plane import ControlPlane

SECONDS = 20.0
# The native Secrets that `valueFrom` names in these tests: the only ones of others that the operator reads.
SOURCES = ("source", "token", "database")
# What is refused while a namespace has just got its labels: the admission server hears of it a moment later.
_NOT_YET = (names.Reason.NAMESPACE_OUTSIDE, names.Reason.NOT_SYNCHRONIZED)
_API_VERSIONS = {"CronJob": "batch/v1", "Job": "batch/v1", "ReplicationController": "v1"}


class Console:
    """An administrator's kubectl."""

    def __init__(self, cluster: ControlPlane) -> None:
        """Take the cluster."""
        self.cluster = cluster

    def apply(self, *bodies: Mapping[str, Any], flags: Sequence[str] = ()) -> str:
        """Apply objects and return what kubectl printed."""
        return self.write("apply", *flags, bodies=bodies)

    def create(self, *bodies: Mapping[str, Any]) -> str:
        """Create objects and return what kubectl printed."""
        return self.write("create", bodies=bodies)

    def write(self, *command: str, bodies: Sequence[Mapping[str, Any]]) -> str:
        """Run a command that must succeed with objects as its input."""
        text = document(bodies)
        printed: list[str] = []

        def is_done() -> bool:
            result = self.cluster.kubectl(*command, "-f", "-", input=text, check=False)
            printed[:] = [result.stdout]
            if result.returncode != 0 and not any(reason in result.stderr for reason in _NOT_YET):
                raise AssertionError(result.stderr)
            return result.returncode == 0

        wait_until(is_done, f"kubectl {command[0]} succeeds", seconds=SECONDS)
        return printed[0]

    def refusal(self, *bodies: Mapping[str, Any], command: Sequence[str] = ("create",)) -> str:
        """Run a command that must fail, and return what the person reads."""
        result = self.cluster.kubectl(*command, "-f", "-", input=document(bodies), check=False)
        assert result.returncode != 0, f"this was not refused: {result.stdout}"
        return result.stderr

    def is_refused(self, body: Mapping[str, Any], *words: str) -> bool:
        """Tell whether an object would be refused now, in these words; nothing is stored."""
        refusal = self.cluster.refusal(body)
        return bool(refusal) and all(word in refusal for word in words)

    def exists(self, kind: str, namespace: str, name: str) -> bool:
        """Tell whether an object is there."""
        return name in self.items(kind, namespace)

    def items(self, kind: str, namespace: str, *flags: str) -> dict[str, dict[str, Any]]:
        """Return the objects of one kind by their names."""
        listed = self.cluster.get(kind, "-n", namespace, *flags)["items"]
        return {item["metadata"]["name"]: item for item in listed}

    def bundles(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return the bundle Secrets of a namespace."""
        return {
            name: secret
            for name, secret in self.items("secrets", namespace).items()
            if name.startswith(names.BUNDLE_PREFIX)
        }

    def delivered(self, namespace: str, *pods: str) -> dict[str, dict[str, View]]:
        """Wait for the bundles of pods, and return by pod and container what would be seen there."""
        bodies = self.items("pods", namespace)
        wanted = {secret for pod in pods for secret in named_secrets(bodies[pod])}
        assert all(named_secrets(bodies[pod]) for pod in pods), "a pod without secrets was asked for"

        def are_there() -> bool:
            return wanted <= self.items("secrets", namespace).keys()

        wait_until(are_there, f"the bundles of {', '.join(pods)}", seconds=SECONDS)
        secrets = {name: decoded(body) for name, body in self.items("secrets", namespace).items()}
        return {pod: views_of(bodies[pod], secrets) for pod in pods}

    def seen(self, namespace: str, pod: str) -> View:
        """Wait for the bundle of a pod, and return what its first container would see."""
        view, *_ = self.delivered(namespace, pod)[pod].values()
        return view

    def conditions(self, definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the conditions of an object by type."""
        return {condition["type"]: condition for condition in definition.get("status", {}).get("conditions", ())}

    def wait_condition(self, namespace: str, name: str, kind: str, status: str) -> dict[str, Any]:
        """Wait for a condition of a ScopedSecret, and return it."""
        found: dict[str, Any] = {}

        def is_met() -> bool:
            body = self.cluster.get("ssec", name, "-n", namespace)
            found.clear()
            found.update(self.conditions(body).get(kind, {}))
            # What is said of an older generation does not count, as for kubectl wait.
            return found.get("status") == status and found["observedGeneration"] >= body["metadata"]["generation"]

        wait_until(is_met, f"{kind}={status} of {namespace}/{name}", seconds=SECONDS)
        return found

    def wait_current(self, namespace: str, name: str) -> None:
        """Wait until the status of a ScopedSecret is about its present generation, and says that it is ready."""

        def is_current() -> bool:
            body = self.cluster.get("ssec", name, "-n", namespace)
            status = body.get("status", {})
            ready = self.conditions(body).get("Ready", {})
            return status.get("observedGeneration") == body["metadata"]["generation"] and ready.get("status") == "True"

        wait_until(is_current, f"the status of {namespace}/{name}", seconds=SECONDS)

    def events(self, namespace: str, name: str, reason: str) -> list[dict[str, Any]]:
        """Return the events with one reason about an object."""
        selector = f"involvedObject.name={name},reason={reason}"
        return list(self.items("events", namespace, f"--field-selector={selector}").values())

    def wait_event(self, namespace: str, name: str, reason: str) -> dict[str, Any]:
        """Wait for an event about an object, and return it."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = self.events(namespace, name, reason)
            return bool(found)

        wait_until(is_there, f"an event {reason} about {namespace}/{name}", seconds=SECONDS)
        return found[0]

    def wait_gone(self, kind: str, namespace: str, *objects: str) -> None:
        """Wait until objects are gone."""
        what = f"{', '.join(objects)} are gone"
        wait_until(lambda: not self.items(kind, namespace).keys() & set(objects), what, seconds=SECONDS)

    def set_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Change a ScopedSecret's status as the controller, because the guard lets nobody else."""
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        # kubectl reads before it patches, which the controller's roles do not allow.
        actor: dict[str, Any] = {"user": CONTROLLER_USER, "groups": ("system:masters",)}
        self.cluster.kubectl("patch", "ssec", name, "-n", namespace, *patch, **actor)

    def set_phase(self, namespace: str, pod: str, phase: str, *, started: bool = False) -> None:
        """Say of a pod what a kubelet would say."""
        status: dict[str, Any] = {"phase": phase}
        if started:
            state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
            fields = {"ready": True, "restartCount": 0, "image": "busybox", "imageID": "busybox"}
            status["containerStatuses"] = [{"name": "job", "state": state, **fields}]
        patch = json.dumps({"status": status})
        self.cluster.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def scoped_secret(
    location: str,
    scope: str = "Project",
    *,
    env: Mapping[str, str | Mapping[str, Any]] | None = None,
    files: Mapping[str, str | Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a ScopedSecret as a person writes it; entries are values, or fields of entries."""
    namespace, name = location.split("/")
    metadata = {"name": name, "namespace": namespace, **({"labels": dict(labels)} if labels else {})}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": metadata,
        "spec": {
            "scope": scope,
            **spec,
            **({"env": list(_entries("name", "value", env))} if env else {}),
            **({"files": list(_entries("path", "content", files))} if files else {}),
        },
    }


def secret_policy(location: str, *secrets: str, **spec: Any) -> dict[str, Any]:
    """Return a SecretPolicy about bundles of these names."""
    namespace, name = location.split("/")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SECRET_POLICY_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**({"secrets": {"names": list(secrets)}} if secrets else {}), **spec},
    }


def pod(location: str, secrets: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a pod that opts in; annotations are given by their names without the prefix."""
    namespace, name = location.split("/")
    annotations = {f"{names.GROUP}/{key}": text for key, text in fields.pop("annotations", {}).items()}
    labels = {names.INJECT_LABEL: names.INJECT_VALUE, **fields.pop("labels", {})}
    metadata = {"name": name, "labels": labels}
    return pod_body(secrets, namespace=namespace, metadata=metadata, annotations=annotations, **fields)


def workload(kind: str, location: str, secrets: str = "aws") -> dict[str, Any]:
    """Return a workload whose template opts in."""
    namespace, name = location.split("/")
    template = pod(location, secrets)
    template["metadata"] = {
        "labels": {**template["metadata"]["labels"], "app": name},
        "annotations": template["metadata"]["annotations"],
    }
    del template["apiVersion"], template["kind"]
    template["spec"]["restartPolicy"] = "Never" if kind in {"Job", "CronJob"} else "Always"
    spec: dict[str, Any] = {"template": template}
    match kind:
        case "CronJob":
            spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
        case "ReplicationController":
            spec["selector"] = {"app": name}
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet":
            spec["selector"] = {"matchLabels": {"app": name}}
        case _:
            pass
    return {
        "apiVersion": _API_VERSIONS.get(kind, "apps/v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def resubmitted(stored: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return a stored pod as somebody submits it who has copied it."""
    body = copy.deepcopy(dict(stored))
    del body["status"]
    kept = ("namespace", "labels", "annotations", "generateName")
    body["metadata"] = {key: body["metadata"][key] for key in kept if key in body["metadata"]}
    if name is not None:
        body["metadata"]["name"] = name
    return body


def named_secrets(body: Mapping[str, Any]) -> set[str]:
    """Return the bundle Secrets that a pod refers to, found without knowing where injection puts them."""
    return {text for text in _texts(body["spec"]) if text.startswith(names.BUNDLE_PREFIX)}


def decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """Return the data of a Secret; bytes that are no UTF-8 become lone surrogates."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(text).decode(errors="surrogateescape") for key, text in data.items()}


def document(bodies: Iterable[Mapping[str, Any]]) -> str:
    """Return objects as the input of kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})


def _entries(key: str, source: str, given: Mapping[str, str | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for name, value in given.items():
        # A file without a path is named by its variable.
        naming = {"env": name[1:]} if name.startswith("$") else {key: name}
        yield {**naming, **({source: value} if isinstance(value, str) else value)}


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, (dict, list)):
        for member in part.values() if isinstance(part, dict) else part:
            yield from _texts(member)
