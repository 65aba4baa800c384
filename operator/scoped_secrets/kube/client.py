"""Single requests to the API server, with plain dictionaries for bodies.

Only the library's connection and credentials are used. Its generated models would validate and copy every body, and its
exceptions carry bodies: a refused Secret would be in the message.
"""

import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from scoped_secrets import names
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    GoneError,
    UnavailableError,
)
from scoped_secrets.kube.credentials import load_configuration
from scoped_secrets.logs import context
from scoped_secrets.redaction import RedactedDict

__all__ = ["PAGE_OBJECTS", "Body", "Cluster", "Page"]

Body: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON."""

_logger = logging.getLogger(__name__)

# The knee: more requests at once wait in the server instead of here (DESIGN section 9).
_CONNECTIONS: Final = 16
# A page is in memory as a whole and decoded without a pause, and small ones cost the server no more: 10,000
# ScopedSecrets take it as long in pages of 100 as in pages of 500, and leave the process 20 MB smaller.
PAGE_OBJECTS: Final = 100
_CONNECT_SECONDS: Final = 10.0
_REQUEST_SECONDS: Final = 30.0
_PAGE_SECONDS: Final = 60.0
# A list that takes longer than the server's compaction interval loses its place each time.
_LIST_ATTEMPTS: Final = 5
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"
_PATCH: Final = "application/json-patch+json"
# Answers without data: what lists the Secrets of keys for a person must not hold the keys.
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_AUTHENTICATION: Final = ["BearerToken"]
_EXISTS: Final = "AlreadyExists"
_STATUS_REASON: Final = re.compile(r"[A-Za-z]{1,40}")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: The objects, without `apiVersion` and `kind`, as lists have them.
        resource_version: The moment of the whole list, the same on all of its pages.
        is_first: Whether a list begins here. When it does so again, the list was begun anew and what came before counts
            for nothing.
    """

    items: list[Body]
    resource_version: str
    is_first: bool


class Cluster:
    """The API server, as one event loop sees it.

    Every failure is a `ClusterError` whose message names verb, path and status, and nothing of any body.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Take where the server is; `connect` finds it out. Needs a running event loop only for requests."""
        configuration.connection_pool_maxsize = _CONNECTIONS
        # Whoever calls knows whether and when a request is worth repeating.
        configuration.retries = None
        self._client = ApiClient(configuration)
        self._client.user_agent = names.DISTRIBUTION
        self._host = configuration.host

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> Self:
        """Return a client for the kubeconfig, the variable KUBECONFIG or the pod's ServiceAccount, in this order.

        Raises:
            ConfigurationError: None of them can be used.
        """
        return cls(await load_configuration(kubeconfig))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]  # The library has no types there.

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the connections."""
        await self.close()

    async def get(self, path: str, *, metadata_only: bool = False) -> Body | None:
        """Return an object, or None when there is none; on request without anything but its metadata."""
        response = await self._send("GET", path, accept=_METADATA if metadata_only else _JSON)
        return None if response.status == HTTPStatus.NOT_FOUND else response.body("GET", path)

    async def pages(
        self, path: str, *, label_selector: str = "", limit: int = PAGE_OBJECTS, metadata_only: bool = False
    ) -> AsyncGenerator[Page, None]:
        """Yield all objects of a collection as they were at one moment, page by page; on request only their metadata.

        When the server has forgotten that moment before the last page, the list begins anew: see `Page.is_first`.

        Raises:
            GoneError: That happened several times.
            ClusterError: A page could not be read.
        """
        for attempt in range(1, _LIST_ATTEMPTS + 1):
            try:
                async for page in self._pages_once(
                    path, label_selector, limit, _METADATA_LIST if metadata_only else _JSON
                ):
                    yield page
            except GoneError:
                if attempt == _LIST_ATTEMPTS:
                    raise
                _logger.info("a list was too slow and begins anew", extra=context(path=path))
            else:
                return

    async def create(
        self, path: str, body: Mapping[str, Any], *, dry_run: bool = False, metadata_only: bool = False
    ) -> Body:
        """Create an object in a collection and return it.

        Args:
            path: The collection's path.
            body: The object.
            dry_run: Let the server go through everything but the writing, to learn whether it could be created.
            metadata_only: Have nothing but the metadata returned. Otherwise the answer repeats the body: a Secret's
                values would come back once more.

        Raises:
            ConflictError: It exists.
        """
        query = {"fieldManager": names.FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        accept = _METADATA if metadata_only else _JSON
        return (await self._send("POST", path, body=body, query=query, accept=accept)).body("POST", path)

    async def create_dry_run(self, path: str, body: Mapping[str, Any]) -> tuple[int, Body]:
        """Create an object as a dry run, and return the HTTP status and whatever the server says to it.

        For an object without any value: unlike our exceptions, the server's words may quote it.

        Raises:
            UnavailableError: There was no answer.
        """
        query = {"fieldManager": names.FIELD_MANAGER, "dryRun": "All"}
        return (await self._send("POST", path, body=body, query=query)).said()

    async def apply(self, path: str, body: Mapping[str, Any], *, force: bool = True) -> Body:
        """Apply an object's fields as ours (server-side apply), and return the whole object.

        Args:
            path: The object's path, or the path of its status.
            body: `apiVersion`, `kind`, `metadata.name` and exactly the fields that shall be ours.
            force: Take fields from other managers instead of failing.

        Raises:
            ConflictError: Another manager has a field, and `force` is off.
        """
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true" if force else "false"}
        response = await self._send("PATCH", path, body=body, query=query, content_type=_APPLY)
        return response.body("PATCH", path)

    async def replace(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Body:
        """Replace an object that was read before; its `metadata.resourceVersion` guards it.

        Args:
            path: The object's path.
            body: The whole object.
            dry_run: Return what would be stored, after admission, and store nothing.

        Raises:
            ConflictError: It has changed since it was read.
        """
        query = {"fieldManager": names.FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return (await self._send("PUT", path, body=body, query=query)).body("PUT", path)

    async def patch(self, path: str, operations: Sequence[Mapping[str, Any]], *, metadata_only: bool = False) -> Body:
        """Change single fields of an object that is not ours as a whole (JSON patch); the answer may be only metadata.

        Raises:
            ClusterError: With status 422, when a `test` among the operations fails.
        """
        query = {"fieldManager": names.FIELD_MANAGER}
        response = await self._send(
            "PATCH",
            path,
            body=list(operations),
            query=query,
            content_type=_PATCH,
            accept=_METADATA if metadata_only else _JSON,
        )
        return response.body("PATCH", path)

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        """Delete an object; return False when it was not there.

        Args:
            path: The object's path.
            uid: Delete only the object of this identity.

        Raises:
            ConflictError: There is another object of this name now.
        """
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        response = await self._send("DELETE", path, body=options)
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        response.body("DELETE", path)
        return True

    async def _pages_once(self, path: str, label_selector: str, limit: int, accept: str) -> AsyncGenerator[Page, None]:
        """Yield the pages of one list; fail when the server forgets where it was."""
        query = {"limit": str(limit)}
        if label_selector:
            query["labelSelector"] = label_selector
        is_first = True
        while True:
            response = await self._send("GET", path, query=query, seconds=_PAGE_SECONDS, accept=accept)
            content = response.body("LIST", path)
            metadata, items = content.get("metadata"), content.get("items")
            if not isinstance(metadata, dict) or not isinstance(items, list | None):
                raise UnavailableError(f"LIST {path}: the answer is no list", status=response.status)
            yield Page(items or [], str(metadata.get("resourceVersion", "")), is_first)
            is_first = False
            if not metadata.get("continue"):
                return
            query["continue"] = str(metadata["continue"])

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | list[Mapping[str, Any]] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        seconds: float = _REQUEST_SECONDS,
    ) -> "_Answer":
        """Send one request and read the whole answer, whatever its status."""
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {**self._client.default_headers, "Accept": accept, "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(total=seconds, connect=_CONNECT_SECONDS)
        answer: _Answer | None = None
        try:
            await self._client.update_params_for_auth(headers, [], _AUTHENTICATION, path, method, None)
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]  # The library has no types there.
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
            content = await response.response.read()
            answer = _Answer(response.status, SecretValue(content), response.headers.get("Retry-After"))
            del content
        except Exception as error:  # noqa: BLE001 - whatever it is, its traceback holds the body in frames of libraries.
            failure = type(error).__name__
        # Raised outside of the handler, so that the exception, which holds the request, is not its context.
        if answer is None:
            raise UnavailableError(f"{method} {path}: the API server does not answer ({failure})")
        return answer


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer of the server, read but not yet judged."""

    status: int
    content: SecretValue
    retry_after: str | None

    def body(self, verb: str, path: str) -> Body:
        """Return the object in a good answer.

        Raises:
            ClusterError: The answer is a refusal.
        """
        content = self._object()
        if not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._error(verb, path, content)
        if content is None:
            raise UnavailableError(f"{verb} {path}: the answer is no JSON object", status=self.status)
        return content

    def said(self) -> tuple[int, Body]:
        """Return status and object of any answer; an empty object when there is none."""
        return self.status, self._object() or {}

    def _object(self) -> Body | None:
        try:
            content = json.loads(self.content.reveal())
        except ValueError:
            return None
        return RedactedDict.of(content) if isinstance(content, dict) else None

    def _error(self, verb: str, path: str, content: Body | None) -> ClusterError:
        """Return the exception for a refusal."""
        reason = content.get("reason") if content is not None else None
        # One CamelCase word is the server's own vocabulary; anything else might quote a body.
        known = isinstance(reason, str) and _STATUS_REASON.fullmatch(reason) is not None
        message = f"{verb} {path}: {self.status}" + (f" {reason}" if known else "")
        match self.status:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                return ForbiddenError(message, status=self.status)
            case HTTPStatus.CONFLICT:
                # A creation that fails so for another reason met a conflict on its way, such as a quota's.
                is_there = verb != "POST" or reason == _EXISTS
                return (ConflictError if is_there else UnavailableError)(message, status=self.status)
            case HTTPStatus.GONE:
                return GoneError(message, status=self.status)
            case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
                return UnavailableError(message, status=self.status, retry_after=self._seconds_to_wait())
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return UnavailableError(message, status=self.status, retry_after=self._seconds_to_wait())
            case _:
                return ClusterError(message, status=self.status)

    def _seconds_to_wait(self) -> float | None:
        """Return the Retry-After in seconds; the API server never sends a date there."""
        return float(self.retry_after) if self.retry_after is not None and self.retry_after.isdecimal() else None
