"""Single requests to the API server, with plain dictionaries for bodies."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, Self
from urllib.parse import urlencode

from scoped_secrets import names
from scoped_secrets.errors import (
    GoneError,
    UnavailableError,
)
from scoped_secrets.kube.credentials import Connection, chosen_kubeconfig, impersonation_of, read_access
from scoped_secrets.kube.direct import DirectTransport
from scoped_secrets.kube.proxies import ProxyRefusedError
from scoped_secrets.kube.response import Body, Response
from scoped_secrets.kube.transport import Request, Submitted, Transport
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["PAGE_OBJECTS", "Body", "Cluster", "Page"]

# A page is held in memory as a whole and parsed without a pause. Small pages cost the server no more: a list of 10,000
# ScopedSecrets takes as long in pages of 100 as in pages of 500, and the process stays 20 MB smaller.
PAGE_OBJECTS: Final = 100
_REQUEST_SECONDS: Final = 30.0
_PAGE_SECONDS: Final = 60.0
# A list that takes longer than the server's compaction interval expires every time.
_LIST_ATTEMPTS: Final = 5
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"
_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
# Responses without data: the command that lists the keys' Secrets for a person must not receive the keys.
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: The objects, without `apiVersion` and `kind`, as lists have them.
        resource_version: The resourceVersion of the list, the same on all of its pages.
        starts_list: Whether this is the first page of a list. When it comes again, the list was restarted, and the
            pages before it are void.
    """

    items: list[Body]
    resource_version: str
    starts_list: bool


class Cluster:
    """A client of the API server for one event loop.

    Every failure is a `ClusterError` whose message names verb, path and status, and nothing of any body.
    """

    def __init__(self, transport: Transport) -> None:
        """Take the connections to the server; `connect` makes them. Only requests need a running event loop.

        Args:
            transport: Carries the requests, with address and credentials.
        """
        self._transport = transport

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> Self:
        """Return a client for the kubeconfig, the variable KUBECONFIG or the pod's ServiceAccount, in this order.

        Raises:
            ConfigurationError: None of them can be used.
        """
        return cls(await _library_transport(Connection(kubeconfig)))

    @classmethod
    async def connect_as(cls, connection: Connection) -> Self:
        """Return a client for what a person states about the cluster; the errors are those of `connect`."""
        return cls(await _library_transport(connection))

    @classmethod
    def connect_directly(cls, connection: Connection) -> Self | None:
        """Return a client for `pipelining.run`; ``None`` where a person's kubeconfig needs the client library.

        Raises:
            ConfigurationError: The kubeconfig cannot be used.
        """
        chosen = chosen_kubeconfig(connection.kubeconfig)
        access = read_access(chosen, connection.context) if chosen else None
        if access is None or (access.proxy or "").startswith("https:"):
            # TLS inside TLS takes more than a socket.
            return None
        return cls(DirectTransport(access, impersonation_of(connection).headers))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the connections."""
        await self.close()

    async def get(self, path: str, *, metadata_only: bool = False, seconds: float = _REQUEST_SECONDS) -> Body | None:
        """Return an object, or None when it does not exist.

        Args:
            path: The object's path.
            metadata_only: Return its metadata only.
            seconds: The timeout, with the time that the request waits for a connection.
        """
        response = await self._send("GET", path, accept=_METADATA if metadata_only else _JSON, seconds=seconds)
        return None if response.status == HTTPStatus.NOT_FOUND else response.body("GET", path)

    async def pages(
        self,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE_OBJECTS,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Page, None]:
        """Yield all objects of a collection at one resourceVersion, page by page.

        When that resourceVersion expires before the last page, the list is restarted: see `Page.starts_list`.

        Args:
            path: The collection's path.
            label_selector: Limits the list to the objects whose labels match.
            field_selector: Limits the list to the objects whose fields match.
            limit: How many objects a page has.
            metadata_only: Return the objects' metadata only.

        Raises:
            GoneError: The list expired several times.
            ClusterError: A page could not be read.
        """
        for attempt in range(1, _LIST_ATTEMPTS + 1):
            try:
                selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
                async for page in self._pages_once(path, selectors, limit, _METADATA_LIST if metadata_only else _JSON):
                    yield page
            except GoneError:
                if attempt == _LIST_ATTEMPTS:
                    raise
                _log_restart(path)
            else:
                return

    async def list_all(
        self, path: str, *, label_selector: str = "", field_selector: str = "", metadata_only: bool = False
    ) -> list[Body]:
        """Return all objects of a collection in one list; the arguments and errors are those of `pages`."""
        items: list[Body] = []
        async for page in self.pages(
            path, label_selector=label_selector, field_selector=field_selector, metadata_only=metadata_only
        ):
            if page.starts_list:
                items.clear()
            items += page.items
        return items

    async def create(
        self, path: str, body: Mapping[str, Any], *, dry_run: bool = False, metadata_only: bool = False
    ) -> Body:
        """Create an object in a collection and return it.

        Args:
            path: The collection's path.
            body: The object.
            dry_run: Do everything except storing the object, to find out whether it could be created.
            metadata_only: Return the metadata only. Otherwise the response repeats the body, with the values of a
                Secret.

        Raises:
            ConflictError: It exists.
        """
        query = {"fieldManager": names.FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        accept = _METADATA if metadata_only else _JSON
        return (await self._send("POST", path, body=body, query=query, accept=accept)).body("POST", path)

    async def dry_run_create(self, path: str, body: Mapping[str, Any]) -> tuple[int, Body]:
        """Create an object as a dry run, and return the HTTP status and the response, also when it is denied.

        Only for objects without values: unlike our exceptions, the server's message may quote the object.

        Raises:
            UnavailableError: The server did not respond.
        """
        query = {"fieldManager": names.FIELD_MANAGER, "dryRun": "All"}
        return (await self._send("POST", path, body=body, query=query)).status_and_object()

    async def apply(self, path: str, body: Mapping[str, Any], *, force: bool = True) -> Body:
        """Apply an object's fields with our field manager (server-side apply), and return the whole object.

        Args:
            path: The object's path, or the path of its status.
            body: `apiVersion`, `kind`, `metadata.name` and exactly the fields that our field manager is to own.
            force: Take over fields of other field managers instead of failing.

        Raises:
            ConflictError: Another field manager owns a field, and `force` is off.
        """
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true" if force else "false"}
        response = await self._send("PATCH", path, body=body, query=query, content_type=_APPLY)
        return response.body("PATCH", path)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Body:
        """Replace an object that was read before and has not changed since: see its `metadata.resourceVersion`.

        Raises:
            ConflictError: The object has changed since it was read.
        """
        query = {"fieldManager": names.FIELD_MANAGER}
        return (await self._send("PUT", path, body=body, query=query)).body("PUT", path)

    async def patch(
        self, path: str, patch: Sequence[Mapping[str, Any]] | Mapping[str, Any], *, metadata_only: bool = False
    ) -> Body:
        """Change single fields of an object, and return the object or its metadata only.

        Args:
            path: The object's path.
            patch: The operations of a JSON patch, or a merge patch.
            metadata_only: Whether to return the metadata only.

        Raises:
            ConflictError: The object has another `metadata.uid` than a merge patch says.
            ClusterError: With status 422 when a `test` operation fails.
        """
        query = {"fieldManager": names.FIELD_MANAGER}
        response = await self._send(
            "PATCH",
            path,
            body=patch if isinstance(patch, Mapping) else list(patch),
            query=query,
            content_type=_MERGE_PATCH if isinstance(patch, Mapping) else _PATCH,
            accept=_METADATA if metadata_only else _JSON,
        )
        return response.body("PATCH", path)

    async def submit(
        self, verb: Literal["POST", "PUT", "PATCH"], path: str, body: Submitted, *, dry_run: bool = False
    ) -> tuple[Body, tuple[str, ...]]:
        """Write an object for a person, and return it with the warnings of admission.

        The body must hold no value in plain text: the errors have the server's message, which may quote it.

        Args:
            verb: Create (POST), replace (PUT) or change with a JSON patch (PATCH).
            path: The path of the collection (POST) or of the object.
            body: The object, or the operations of the patch.
            dry_run: Do everything except storing the object.

        Raises:
            ConflictError: The object exists already (POST), or has changed since it was read.
            ClusterError: With status 422 when a `test` operation of a patch fails, or when the object is not valid.
        """
        query = {"fieldManager": names.PERSON_FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        content_type = _PATCH if verb == "PATCH" else _JSON
        response = await self._send(verb, path, body=body, query=query, content_type=content_type)
        return response.body(verb, path, shows_message=True), response.warnings

    async def delete(
        self, path: str, *, uid: str | None = None, version: str | None = None, dry_run: bool = False
    ) -> bool:
        """Delete an object; return False when it does not exist.

        Args:
            path: The object's path.
            uid: Delete the object only if it has this UID.
            version: Delete the object only if it has this resourceVersion.
            dry_run: Do everything except deleting the object.

        Raises:
            ConflictError: An object with another UID has the name now, or the object has another version.
        """
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        preconditions = {"uid": uid, "resourceVersion": version}
        given = {name: text for name, text in preconditions.items() if text is not None}
        if given:
            options["preconditions"] = given
        if dry_run:
            # The API server ignores the query of a deletion that has a body.
            options["dryRun"] = ["All"]
        response = await self._send("DELETE", path, body=options)
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        response.body("DELETE", path)
        return True

    async def uid_of(self, path: str) -> str | None:
        """Return the UID of an object of a kind without graceful deletion, such as a Secret, or None without it.

        A dry run of a deletion tells the UID and nothing else, and needs no right to read the object.
        """
        response = await self._send("DELETE", path, query={"dryRun": "All"})
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        uid = (response.body("DELETE", path).get("details") or {}).get("uid")
        if not isinstance(uid, str) or not uid:
            raise UnavailableError(f"DELETE {path}: the answer has no UID", status=response.status)
        return uid

    async def _pages_once(
        self, path: str, selectors: Mapping[str, str], limit: int, accept: str
    ) -> AsyncGenerator[Page, None]:
        """Yield the pages of one list; fail when it expires."""
        query = {"limit": str(limit), **{name: text for name, text in selectors.items() if text}}
        starts_list = True
        while True:
            response = await self._send("GET", path, query=query, seconds=_PAGE_SECONDS, accept=accept)
            content = response.body("LIST", path)
            metadata, items = content.get("metadata"), content.get("items")
            if not isinstance(metadata, dict) or not isinstance(items, list | None):
                raise UnavailableError(f"LIST {path}: the answer is no list", status=response.status)
            yield Page(items or [], str(metadata.get("resourceVersion", "")), starts_list)
            starts_list = False
            if not metadata.get("continue"):
                return
            query["continue"] = str(metadata["continue"])

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Submitted | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        seconds: float = _REQUEST_SECONDS,
    ) -> Response:
        """Send one request and read the whole response, whatever its status."""
        request = Request(
            method,
            path + (f"?{urlencode(query)}" if query else ""),
            {"Accept": accept, "Content-Type": content_type},
            body,
            seconds,
        )
        result: Response | None = None
        try:
            result = await self._transport.send(request)
        except ProxyRefusedError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - every traceback holds the body in frames of transports.
            failure = f"the API server does not answer ({type(error).__name__})"
        # Raised outside the handler, so that the exception, which may hold the request, is not its context.
        if result is None:
            raise UnavailableError(f"{method} {path}: {failure}")
        return result


def _log_restart(path: str) -> None:
    # Imported here: commands write no logs, and seldom come here.
    import logging  # noqa: PLC0415

    from scoped_secrets.logs import context  # noqa: PLC0415

    logging.getLogger(__name__).info("an expired list is restarted", extra=context(path=path))


async def _library_transport(connection: Connection) -> Transport:
    from scoped_secrets.kube.library import LibraryTransport, load_configuration  # noqa: PLC0415 - see that module.

    configuration = await load_configuration(connection.kubeconfig, connection.context)
    return LibraryTransport(configuration, impersonation_of(connection).headers)
