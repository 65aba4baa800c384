"""What to watch, and the function that receives the events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from scoped_secrets.kube.resources import Resource

__all__ = ["EventHandler", "WatchHandler", "unknown_version"]

EventHandler: TypeAlias = Callable[[str | None, dict[str, Any]], None]
"""Takes the type of a watch event and the object."""


def unknown_version() -> str:
    """Return the empty version: the watch first reports all objects that exist."""
    return ""


@dataclass(frozen=True, slots=True)
class WatchHandler:
    """One resource to watch in all namespaces. A supervisor takes at most one handler for each resource.

    Attributes:
        resource: The resource.
        handle: Receives every event. It must not block and must not raise.
        label_selector: Limits the watch to the objects that the selector matches; empty for all objects.
        listed_version: Returns the resourceVersion of the last complete list, at which the watch begins.
    """

    resource: Resource
    handle: EventHandler
    label_selector: str = ""
    listed_version: Callable[[], str] = unknown_version
