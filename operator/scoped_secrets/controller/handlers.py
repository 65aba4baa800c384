"""What kopf watches for the controller: events only, which leave no trace in any object (DESIGN section 9)."""

import asyncio
from collections.abc import Callable
from typing import Any

import kopf

from scoped_secrets.kube.informer import Informer
from scoped_secrets.kube.watches import PODS, watch, watch_inventory

__all__ = ["build_registry"]


def build_registry(
    loop: asyncio.AbstractEventLoop, informer: Informer, on_pod: Callable[[str | None, dict[str, Any]], None]
) -> kopf.OperatorRegistry:
    """Return the handlers: definitions, policies and namespaces go to the feed, pods to a callback.

    Args:
        loop: Where they are called: the loop that owns the inventories.
        informer: The inventory's feed.
        on_pod: Takes an event's type and the pod.
    """
    registry = kopf.OperatorRegistry()
    watch_inventory(registry, loop, informer)
    watch(registry, loop, PODS, on_pod)
    return registry
