"""The only module that imports kopf, and the list of what the operator relies on in it.

kopf serves here as a watch client only: event handlers, no finalizers, no annotations, no peering. Part of what that
takes is private in kopf, so that its version is pinned to one minor release (pyproject.toml), and
tests/kube/test_kopf_adapter.py compares every private name and signature used here with the installed version.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

import kopf

# Types of arguments of kopf.operator that kopf does not export.
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from scoped_secrets import names
from scoped_secrets.kube.client import PAGE_OBJECTS
from scoped_secrets.kube.library import load_configuration
from scoped_secrets.kube.watch_handlers import EventHandler, WatchHandler

__all__ = ["Dispatch", "run_kopf", "watch_settings"]

Dispatch: TypeAlias = Callable[[EventHandler, str | None, dict[str, Any]], None]
"""Calls a handler with an event's type and object, or has another thread call it."""

_TOKEN: Final = "BearerToken"  # noqa: S105 - the library's name of the token, not a token.
# Closing a TLS connection takes several iterations of the event loop, and aiohttp does not report when it is done.
_CLOSE_SECONDS: Final = 0.25
_NOT_SERVED: Final = "the API server does not serve one of the resources"


async def run_kopf(
    handlers: Iterable[WatchHandler], dispatch: Dispatch, *, kubeconfig: str | None, stop: asyncio.Event
) -> str | None:
    """Watch the resources of all handlers until told to stop or until kopf ends.

    kopf cancels the other tasks of its event loop when it ends, so that this needs a loop of its own.

    Args:
        handlers: What to watch, at most one handler for each resource.
        dispatch: Delivers each event to its handler.
        kubeconfig: As for `load_configuration`.
        stop: Ends the watches.

    Returns:
        Why the watches ended by themselves, None when kopf gave no reason.
    """
    handlers = tuple(handlers)
    registry, settings, insights = _registry(handlers, dispatch, kubeconfig), watch_settings(handlers), Insights()
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


def _registry(handlers: Iterable[WatchHandler], dispatch: Dispatch, kubeconfig: str | None) -> kopf.OperatorRegistry:
    """Return kopf's registry with event handlers only: all other handlers write to the objects."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(id="login", registry=registry)(_login_handler(kubeconfig))
    for handler in handlers:
        on_event = _event_handler(handler.handle, dispatch)
        kopf.on.event(*handler.resource, id=f"watch-{handler.resource.plural}", registry=registry)(on_event)
    return registry


def _event_handler(handle: EventHandler, dispatch: Dispatch) -> Callable[..., Awaitable[None]]:
    # A coroutine only because kopf calls a plain function in a new thread for each event.
    async def on_event(event: kopf.RawEvent, **_: object) -> None:
        dispatch(handle, event["type"], dict(event["object"]))

    return on_event


def _login_handler(kubeconfig: str | None) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    """Return a handler that loads the operator's own credentials; kopf calls it again when they are refused.

    kopf's login handlers read the person's default kubeconfig and accept no other.
    """

    async def log_in(**_: object) -> kopf.ConnectionInfo:
        configuration = await load_configuration(kubeconfig)
        scheme, _separator, token = (await configuration.get_api_key_with_prefix(_TOKEN) or "").partition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
            proxy_url=configuration.proxy,
        )

    return log_in


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
    settings.watching.chunk_size = PAGE_OBJECTS
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
