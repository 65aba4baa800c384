"""Lists a whole collection for an informer, and decodes the objects whose version is new."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.decoding import Record, version_of
from scoped_secrets.kube.locations import location_of
from scoped_secrets.kube.version_tracker import VersionTracker

__all__ = ["CompleteList", "all_or_nothing", "list_collection"]

# Decoding a thousand objects takes a while, in which requests must be answered.
_OBJECTS_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class CompleteList:
    """All objects of a collection at one resourceVersion.

    Attributes:
        resource_version: The resourceVersion of the list.
        versions: The version of each object, by location.
        records: The decoded objects, by location: only those whose version was not known.
    """

    resource_version: str
    versions: Mapping[str, str]
    records: Mapping[str, Record]


async def list_collection(
    cluster: Cluster, path: str, tracker: VersionTracker, decode: Callable[[Mapping[str, Any]], Record]
) -> CompleteList:
    """Read a whole collection.

    Args:
        cluster: The client.
        path: The collection's path.
        tracker: The known versions: objects of a known version are not decoded again.
        decode: Decodes one object.

    Raises:
        ClusterError: A page could not be read.
    """
    tracker.begin_list()
    versions: dict[str, str] = {}
    records: dict[str, Record] = {}
    resource_version = ""
    async with aclosing(cluster.pages(path)) as pages:
        async for page in pages:
            if page.starts_list:
                versions.clear()
                records.clear()
                resource_version = page.resource_version
                tracker.detect_rollback(resource_version)
            for number, body in enumerate(page.items, 1):
                location = location_of(body)
                versions[location] = version_of(body)
                if not tracker.is_known(location, versions[location]):
                    records[location] = decode(body)
                    if number % _OBJECTS_AT_ONCE == 0:
                        await asyncio.sleep(0)
    return CompleteList(resource_version, versions, records)


async def all_or_nothing(*lists: Coroutine[None, None, CompleteList]) -> list[CompleteList]:
    """Return the results of all; when one fails, stop the others and fail with its error."""
    tasks = [asyncio.ensure_future(each) for each in lists]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
