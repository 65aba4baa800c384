"""The only module that imports kopf, and the list of what the operator relies on in it.

kopf serves here as a watch client only: event handlers, no finalizers, no annotations, no peering. Part of what that
takes is private in kopf, so that its version is pinned to one minor release (pyproject.toml), and
tests/kube/test_kopf_adapter.py compares every private name and signature used here with the installed version.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Self, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import kopf

# Types of arguments of kopf.operator that kopf does not export.
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from scoped_secrets import names
from scoped_secrets.kube.library import load_configuration
from scoped_secrets.kube.resources import Resource
from scoped_secrets.kube.tls import verify_like_kubectl
from scoped_secrets.kube.watch_handlers import EventHandler, WatchHandler

__all__ = ["Begin", "Dispatch", "run_kopf", "watch_settings"]

Dispatch: TypeAlias = Callable[[EventHandler, str | None, dict[str, Any]], None]
"""Calls a handler with an event's type and object, or has another thread call it."""

Begin: TypeAlias = Callable[[WatchHandler], Awaitable[str]]
"""Returns the resourceVersion of a complete list at which a watch begins, at its start and when it cannot continue."""

_TOKEN: Final = "BearerToken"  # noqa: S105 - the library's name of the token, not a token.
# Closing a TLS connection takes several iterations of the event loop, and aiohttp does not report when it is done.
_CLOSE_SECONDS: Final = 0.25
# How the names of kopf's tasks begin that watch.
_WATCH_TASK: Final = "watcher for "
_NOT_SERVED: Final = "the API server does not serve one of the resources"


async def run_kopf(
    handlers: Iterable[WatchHandler],
    dispatch: Dispatch,
    begin: Begin,
    *,
    kubeconfig: str | None,
    stop: asyncio.Event,
) -> str | None:
    """Watch the resources of all handlers until told to stop or until kopf ends.

    kopf cancels the other tasks of its event loop when it ends, so that this needs a loop of its own.

    Args:
        handlers: What to watch, at most one handler for each resource.
        dispatch: Delivers each event to its handler.
        begin: Tells where each watch begins.
        kubeconfig: As for `load_configuration`.
        stop: Ends the watches.

    Returns:
        Why the watches ended by themselves, None when kopf gave no reason.
    """
    handlers = tuple(handlers)
    login = _Login(kubeconfig, handlers, begin)
    registry, settings, insights = _registry(handlers, dispatch, login), watch_settings(handlers), Insights()
    # Started before kopf: kopf cancels the tasks that did not exist when it started.
    checking = asyncio.create_task(_stop_unless_served(registry, insights, stop))
    try:
        # Standalone and cluster-wide: kopf's peering is no leader election, and would pause a second replica.
        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=True,
            stop_flag=stop,
            insights=insights,
            memories=_NoMemories(),
            # Only peering uses it. By default kopf looks up the user's name, and a container's user has none.
            identity=Identity(names.DISTRIBUTION),
        )
    finally:
        checking.cancel()
        (is_served,) = await asyncio.gather(checking, return_exceptions=True)
        await login.close()
        await asyncio.sleep(_CLOSE_SECONDS)
    return _NOT_SERVED if is_served is False else None


async def _stop_unless_served(registry: kopf.OperatorRegistry, insights: Insights, stop: asyncio.Event) -> bool:
    """Stop kopf when the API server does not serve all resources; return whether it does.

    An API server that has just started serves the custom resources a moment later. kopf then logs a warning and never
    watches them.
    """
    await insights.ready_resources.wait()
    selectors = registry._watching.get_all_selectors()  # noqa: SLF001 - no public function returns them.
    is_served = all(selector.select(insights.watched_resources) for selector in selectors)
    if not is_served:
        stop.set()
    return is_served


def _registry(handlers: Iterable[WatchHandler], dispatch: Dispatch, login: "_Login") -> kopf.OperatorRegistry:
    """Return kopf's registry with event handlers only: all other handlers write to the objects."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(id="login", registry=registry)(login.log_in)
    kopf.on.cleanup(id="end", registry=registry)(_end_watches)
    for handler in handlers:
        on_event = _event_handler(handler.handle, dispatch)
        kopf.on.event(*handler.resource, id=f"watch-{handler.resource.plural}", registry=registry)(on_event)
    return registry


async def _end_watches(**_: object) -> None:
    """Cancel the watches that kopf has left, because another one failed.

    kopf would first close its session, and later cancel them together with the tasks that could pause them. A watch
    that waits for an answer just then takes the cancellation for a pause, and goes on alone: kopf would never end, and
    the other resources would have no watch.
    """
    watches = [task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCH_TASK)]
    for task in watches:
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


def _event_handler(handle: EventHandler, dispatch: Dispatch) -> Callable[..., Awaitable[None]]:
    # A coroutine only because kopf calls a plain function in a new thread for each event.
    async def on_event(event: kopf.RawEvent, **_: object) -> None:
        dispatch(handle, event["type"], dict(event["object"]))

    return on_event


class _Login:
    """Loads the operator's own credentials: kopf's login handlers read the person's default kubeconfig."""

    def __init__(self, kubeconfig: str | None, handlers: Iterable[WatchHandler], begin: Begin) -> None:
        """Take the kubeconfig, and what sessions need."""
        self._kubeconfig = kubeconfig
        self._handlers = {_path(handler.resource): handler for handler in handlers}
        self._begin = begin
        self._sessions: list[_Session] = []

    async def log_in(self, **_: object) -> kopf.AiohttpSession:
        """Return a session; kopf calls this at its start, and again when the credentials are refused."""
        configuration = await load_configuration(self._kubeconfig)
        scheme, _separator, token = (await configuration.get_api_key_with_prefix(_TOKEN) or "").partition(" ")
        connection = kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
            proxy_url=configuration.proxy,
        )
        session = _Session(connection, self._handlers, self._begin)
        self._sessions.append(session)
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=cast("aiohttp.ClientSession", session))

    async def close(self) -> None:
        """Close the sessions that kopf has left open."""
        for session in self._sessions:
            await session.close()


class _Session:
    """What kopf uses of an HTTP session, with the operator's own lists instead of kopf's.

    kopf lists a resource before it watches it, at ten times the cost of our list, and has no setting for the version at
    which a watch begins. So its lists are answered here: with no object, and with the version of a complete list of
    ours. kopf lists again only when a watch cannot continue, because its version has expired; our list then also tells
    what was deleted meanwhile. Everything else goes to the API server, and a watch that was cut off continues at the
    version of its last event.
    """

    def __init__(self, connection: kopf.ConnectionInfo, handlers: Mapping[str, WatchHandler], begin: Begin) -> None:
        """Open a session as kopf does; it needs the event loop.

        Args:
            connection: Address and credentials.
            handlers: The handler of each resource, by the path of its collection.
            begin: Returns the version at which a watch begins.
        """
        self._connection = connection
        self._root = urlsplit(connection.server).path.rstrip("/")
        self._handlers = handlers
        self._begin = begin
        self._session = aiohttp.ClientSession(
            # Each watch holds a connection.
            connector=aiohttp.TCPConnector(limit=0, ssl=verify_like_kubectl(connection.as_ssl_context())),
            headers=connection.as_http_headers(),
            proxy=connection.proxy_url,
        )
        self.headers = self._session.headers

    def __eq__(self, other: object) -> bool:
        """Compare the credentials: kopf ends instead of trying refused ones again."""
        return isinstance(other, _Session) and self._connection == other._connection

    __hash__ = None  # type: ignore[assignment]  # Sessions are not keys.

    @property
    def closed(self) -> bool:
        """Whether the session is closed."""
        return self._session.closed

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def request(self, method: str, url: str, **options: Any) -> "aiohttp.ClientResponse | _EmptyList":
        """Send a request, or answer a list."""
        target = urlsplit(url)
        handler = self._handlers.get(target.path.removeprefix(self._root))
        if handler is None or "watch" in parse_qs(target.query):
            return await self._session.request(method, url, **options)
        return _EmptyList(await self._begin(handler))


class _EmptyList:
    """What kopf uses of the response to a list."""

    status = HTTPStatus.OK

    def __init__(self, version: str) -> None:
        self._version = version

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def json(self) -> dict[str, Any]:
        """Return the list."""
        return {"metadata": {"resourceVersion": self._version}, "items": []}


def _path(resource: Resource) -> str:
    """Return the path of a resource's collection."""
    prefix = f"/apis/{resource.group}" if resource.group else "/api"
    return f"{prefix}/{resource.version}/{resource.plural}"


def watch_settings(handlers: Iterable[WatchHandler]) -> kopf.OperatorSettings:
    """Return settings with which kopf only watches, keeps little, writes nothing and can be started again.

    Each value was measured or is explained in DESIGN section 9.
    """
    settings = kopf.OperatorSettings()
    # Otherwise kopf kills the process ten minutes after it has ended by itself.
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.01
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    # Short, so that watches return soon after an outage; after about three minutes in all the supervisor takes over.
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, *[5] * 35)
    settings.persistence.finalizer = f"{names.GROUP}/never"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    for handler in handlers:
        if handler.label_selector:
            group, version, plural = handler.resource
            settings.watching.label_selectors[group, version, plural] = handler.label_selector
    return settings


class _NoMemories(ResourceMemories):
    """Remembers no object: kopf keeps a kilobyte for each, also for objects that were deleted while a watch was down.

    kopf uses memories for kinds of handlers that this operator has not, and for pauses after handlers that raise.
    """

    async def recall(self, raw_body: Any, **options: Any) -> ResourceMemory:
        """Return a new memory, as kopf does for objects that do not exist yet."""
        return await super().recall(raw_body, **options | {"ephemeral": True})


class _NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing: kopf deep-copies each object, and writes the copy into an annotation if it handles changes."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002 - kopf's signature.
        """Return an empty state."""
        return {}

    def fetch(self, *, body: Any) -> None:
        """Return no state."""

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Store no state."""
