"""Pods that are created one after the other while something else happens, and what came of each."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from scoped_secrets import names
from tests.cluster.processes import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.cluster.cluster import Cluster

# A scheduler that there is none of: the pods wait for ever, and no kubelet starts them.
SCHEDULER = "nobody"
REQUEST_SECONDS = 10.0
BUNDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Creation:
    """One attempt to create a pod.

    Attributes:
        status: Of the answer.
        body: Of the answer.
        created_at: When the answer came, by the clock of the machine.
        seconds: How long it took.
    """

    status: int
    body: dict[str, Any]
    created_at: float
    seconds: float

    @property
    def is_created(self) -> bool:
        """Whether there is a pod now."""
        return self.status == HTTPStatus.CREATED


class PodStream:
    """Creates pods that ask for bundles, at a steady pace, from a thread of its own until the end of a block."""

    def __init__(self, cluster: Cluster, namespace: str, bundles: str, *, per_second: float) -> None:
        """Take the cluster, where the pods are, what they ask for, and the pace."""
        self.creations: list[Creation] = []
        self._cluster = cluster
        self._namespace = namespace
        self._bundles = bundles
        self._pause = 1 / per_second
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._create, name="pod stream")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End after the present pod."""
        self._ended.set()
        self._thread.join()

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many pods were tried."""
        wait_until(lambda: len(self.creations) >= count, f"{count} pods", seconds=seconds)

    def refusals(self) -> list[str]:
        """Return why pods were not created."""
        return [str(one.body.get("message")) for one in self.creations if not one.is_created]

    def slowest(self) -> float:
        """Return the seconds of the slowest creation."""
        return max(one.seconds for one in self.creations)

    def delays(self, value: str) -> list[float]:
        """Wait for every pod's bundle and return how many seconds each came after its pod; less than a second is 0.

        Args:
            value: What every variable must be.

        Raises:
            AssertionError: A pod was refused, or a variable has another value.
        """
        refusals = self.refusals()
        assert not refusals, f"{len(refusals)} of {len(self.creations)} pods were refused: {refusals[:5]}"
        secrets: dict[str, dict[str, Any]] = {}

        def are_complete() -> bool:
            listed = self._cluster.get("secrets", "-n", self._namespace)["items"]
            secrets.update({secret["metadata"]["name"]: secret for secret in listed})
            return all(name in secrets for one in self.creations for name, _ in _references(one.body))

        wait_until(are_complete, "a bundle for each pod", seconds=BUNDLE_SECONDS)
        delays = []
        for creation in self.creations:
            references = _references(creation.body)
            assert references, "a pod was created without its variables"
            for name, key in references:
                assert base64.b64decode(secrets[name]["data"][key]).decode() == value
                delays.append(_timestamp(secrets[name]) - _timestamp(creation.body))
        return delays

    def delete(self) -> None:
        """Delete the pods."""
        arguments = ("pods", "--all", "-n", self._namespace, "--grace-period=0", "--force", "--wait=false")
        self._cluster.kubectl("delete", *arguments, timeout=120)

    def _create(self) -> None:
        connection = None
        while not self._ended.is_set():
            began = time.time()
            try:
                connection = connection or _connect(self._cluster)
                status, body = self._post(connection)
            except (OSError, http.client.HTTPException) as error:
                # An API server that restarts; the next attempt has a connection of its own.
                if connection is not None:
                    connection.close()
                connection, status, body = None, 0, {"message": f"no answer: {type(error).__name__}"}
            now = time.time()
            self.creations.append(Creation(status, body, now, now - began))
            self._ended.wait(max(0.0, self._pause - (now - began)))
        if connection is not None:
            connection.close()

    def _post(self, connection: http.client.HTTPConnection) -> tuple[int, dict[str, Any]]:
        content = json.loads(self._cluster.kubeconfig.read_text())
        headers = {
            "Authorization": f"Bearer {content['users'][0]['user']['token']}",
            "Content-Type": "application/json",
        }
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        connection.request("POST", path, json.dumps(self._pod()), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def _pod(self) -> dict[str, Any]:
        metadata = {
            "generateName": "stream-",
            "labels": {names.INJECT_LABEL: names.INJECT_VALUE},
            "annotations": {names.SECRETS_ANNOTATION: self._bundles},
        }
        container = {"name": "main", "image": "none"}
        spec = {"schedulerName": SCHEDULER, "automountServiceAccountToken": False, "containers": [container]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _connect(cluster: Cluster) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=cluster.certificate_authority)
    return http.client.HTTPSConnection(urlsplit(cluster.server).netloc, context=context, timeout=REQUEST_SECONDS)


def _references(pod: dict[str, Any]) -> list[tuple[str, str]]:
    """Return Secret and key of every variable that was injected."""
    variables = pod["spec"]["containers"][0].get("env", ())
    found = (variable.get("valueFrom", {}).get("secretKeyRef") for variable in variables)
    return [(reference["name"], reference["key"]) for reference in found if reference]


def _timestamp(body: dict[str, Any]) -> float:
    text = body["metadata"]["creationTimestamp"]
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
