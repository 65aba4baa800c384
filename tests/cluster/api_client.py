"""The requests that tests make most often, without a kubectl process for each of them.

A kubectl process takes a tenth of a second of processor time before it asks anything, and tests ask until a condition
comes true. `ApiClient` asks the API server itself and answers as `kubectl get -o json` prints. It knows the forms of
the command that the tests use; for every other form it returns `None`, and the caller runs kubectl.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from tests.cluster.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 60.0
# What a write without a persisted result is made with, as kubectl does it.
_DRY_RUN = {"dryRun": "All", "fieldManager": "kubectl-create", "fieldValidation": "Strict"}


@dataclass(frozen=True, slots=True)
class _Resource:
    """A kind of objects, and where they are."""

    prefix: str
    plural: str
    api_version: str
    kind: str
    is_namespaced: bool

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of one object, or of all in a namespace, or of all there are."""
        within = f"/namespaces/{quote(namespace)}" if self.is_namespaced and namespace is not None else ""
        return f"{self.prefix}{within}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


@dataclass(frozen=True, slots=True)
class _Query:
    """The arguments of `kubectl get`."""

    kind: str
    name: str
    namespace: str | None
    parameters: Mapping[str, str]
    shows_managed_fields: bool


class ApiClient:
    """Asks an API server as an administrator, with one connection for each thread."""

    def __init__(self, server: str, certificate_authority: Path, token: str) -> None:
        """Take the server's address, the authority of its certificate and the token of an administrator."""
        self._address = urlsplit(server)
        self._authority = certificate_authority
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._local = threading.local()
        self._connections: list[http.client.HTTPSConnection] = []
        self._resources: dict[str, _Resource] = {}

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def get(self, *arguments: str) -> dict[str, Any] | None:
        """Return what `kubectl get ARGUMENTS -o json` prints; `None` where only kubectl knows.

        Raises:
            CommandError: The API server refuses, or does not answer.
        """
        query = _parse(arguments)
        resource = self._resource(query.kind) if query is not None else None
        if query is None or resource is None:
            return None
        path = resource.path(query.namespace, query.name)
        if query.parameters:
            path += f"?{urlencode(query.parameters)}"
        status, answer = self._request("GET", path)
        if status != HTTPStatus.OK:
            raise CommandError(f"kubectl get {' '.join(arguments[:2])} (1): {_refusal(answer)}")
        if not query.name:
            # The items of a list do not repeat its kind.
            items = [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in answer["items"]]
            answer = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
        if not query.shows_managed_fields:
            for body in [answer] if query.name else answer["items"]:
                body["metadata"].pop("managedFields", None)
        return answer

    def refusal(self, body: Mapping[str, Any]) -> str:
        """Return why the creation of an object would be refused, as kubectl would print it; "" when it would not."""
        try:
            status, answer = self._request("POST", f"{self._path(body)}?{urlencode(_DRY_RUN)}", body)
        except CommandError as error:
            return str(error)
        return "" if status < HTTPStatus.BAD_REQUEST else _refusal(answer)

    def create(self, body: Mapping[str, Any]) -> None:
        """Create an object.

        Raises:
            CommandError: The API server refuses, or does not answer.
        """
        # A new connection: a request that is lost with an old one must not be repeated.
        self._connection().close()
        self._change("POST", body, self._path(body))

    def delete(self, body: Mapping[str, Any]) -> None:
        """Begin to delete an object; an absent one is fine.

        Raises:
            CommandError: The API server refuses, or does not answer.
        """
        self._change("DELETE", body, self._path(body, body["metadata"]["name"]), HTTPStatus.NOT_FOUND)

    def _change(self, method: str, body: Mapping[str, Any], path: str, *also_fine: HTTPStatus) -> None:
        content = body if method == "POST" else None
        status, answer = self._request(method, path, content, is_repeatable=method != "POST")
        if status >= HTTPStatus.BAD_REQUEST and status not in also_fine:
            raise CommandError(f"{method} {path}: {_refusal(answer)}")

    def _path(self, body: Mapping[str, Any], name: str = "") -> str:
        resource = self._resource(body["kind"], body["apiVersion"])
        if resource is None:
            raise CommandError(f"the server has no kind {body['kind']}")
        return resource.path(body["metadata"].get("namespace", "default"), name)

    def _resource(self, kind: str, api_version: str = "") -> _Resource | None:
        """Return the resource of a name by which kubectl knows it; kinds that are new are looked for."""
        key = f"{api_version}/{kind}" if api_version else kind.lower()
        if key not in self._resources:
            self._resources = dict(self._discover())
        return self._resources.get(key)

    def _discover(self) -> Iterator[tuple[str, _Resource]]:
        found: dict[str, _Resource] = {}
        for root in ("/api", "/apis"):
            status, listed = self._request("GET", root, accept=_DISCOVERY)
            if status != HTTPStatus.OK:
                raise CommandError(f"discovery of {root}: {_refusal(listed)}")
            for group in listed["items"]:
                for name, resource in _resources_of(root, group):
                    # The first group with a name has it: events are those of the core.
                    found.setdefault(name, resource)
        yield from found.items()

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: str = "application/json",
        is_repeatable: bool = True,
    ) -> tuple[int, dict[str, Any]]:
        """Return status and answer of a request.

        Raises:
            CommandError: There is no answer.
        """
        content = None if body is None else json.dumps(body).encode()
        try:
            try:
                return self._exchange(method, path, content, accept)
            except (http.client.HTTPException, OSError):
                if not is_repeatable:
                    raise
                # A connection that was kept does not outlive the API server.
                return self._exchange(method, path, content, accept)
        except (http.client.HTTPException, OSError) as error:
            raise CommandError(f"the server {self._address.netloc} does not answer: {error}") from error

    def _exchange(self, method: str, path: str, content: bytes | None, accept: str) -> tuple[int, dict[str, Any]]:
        connection = self._connection()
        try:
            connection.request(method, path, content, {**self._headers, "Accept": accept})
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            connection.close()
            raise
        try:
            return response.status, json.loads(answer)
        except ValueError:
            return response.status, {"message": answer.decode(errors="replace")}

    def _connection(self) -> http.client.HTTPSConnection:
        if not hasattr(self._local, "connection"):
            context = ssl.create_default_context(cafile=self._authority)
            self._local.connection = http.client.HTTPSConnection(
                self._address.hostname or "", self._address.port, timeout=_SECONDS, context=context
            )
            self._connections.append(self._local.connection)
        connection: http.client.HTTPSConnection = self._local.connection
        return connection


def _parse(arguments: tuple[str, ...]) -> _Query | None:
    """Read the arguments of `kubectl get`; `None` for a form that is not known here."""
    words: list[str] = []
    namespace: str | None = "default"
    parameters: dict[str, str] = {}
    shows_managed_fields = False
    selectors = {"-l": "labelSelector", "--selector": "labelSelector", "--field-selector": "fieldSelector"}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        if not flag.startswith("-"):
            words.append(flag + has_value + value)
        elif flag == "-A" and not has_value:
            namespace = None
        elif flag == "--show-managed-fields" and not has_value:
            shows_managed_fields = True
        elif flag in ("-n", *selectors) and (has_value or rest):
            value = value if has_value else rest.pop(0)
            if flag == "-n":
                namespace = value
            else:
                parameters[selectors[flag]] = value
        else:
            return None
    is_known = len(words) in (1, 2) and not any(mark in word for word in words for mark in "/,")
    if not is_known or (len(words) == 2 and parameters):
        return None
    name = words[1] if len(words) == 2 else ""
    return _Query(words[0], name, namespace, parameters, shows_managed_fields)


def _resources_of(root: str, group: Mapping[str, Any]) -> Iterator[tuple[str, _Resource]]:
    """Yield the resources of an API group by all their names, those of the preferred version first."""
    group_name = group["metadata"].get("name", "")
    for version in group["versions"]:
        api_version = f"{group_name}/{version['version']}" if group_name else version["version"]
        for found in version.get("resources", ()):
            kind = found["responseKind"]["kind"]
            resource = _Resource(
                f"{root}/{api_version}", found["resource"], api_version, kind, found["scope"] == "Namespaced"
            )
            names = [resource.plural, found.get("singularResource"), kind.lower(), *found.get("shortNames", ())]
            for name in filter(None, names):
                yield name, resource
                yield f"{name}.{group_name}", resource
            yield f"{api_version}/{kind}", resource


def _refusal(answer: Mapping[str, Any]) -> str:
    """Return what kubectl prints about a refusal."""
    reason = f" ({answer['reason']})" if answer.get("reason") else ""
    return f"Error from server{reason}: {answer.get('message', '')}"
