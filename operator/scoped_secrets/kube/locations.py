"""The name by which tables have an object."""

from collections.abc import Mapping
from sys import intern
from typing import Any

__all__ = ["location_of"]


def location_of(body: Mapping[str, Any]) -> str:
    """Return `namespace/name` of an object, or the name of a cluster-scoped object.

    The string is interned: several tables of an inventory have it as a key.
    """
    metadata = body["metadata"]
    namespace = metadata.get("namespace")
    return intern(f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"]))
