"""Keeps a repeated apply from being stored because the order of its managed fields differs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from scoped_secrets.admission.review import Operation, Review
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import parse_json_pointer

__all__ = ["restore_order"]


def restore_order(
    review: Review, body: Mapping[str, Any], operations: Sequence[PatchOperation]
) -> Iterator[PatchOperation]:
    """Yield the operation that restores the stored managed fields, if only their times and their order differ.

    The API server cannot know that the applied plain text equals the stored sealed text, so it gives the manager a new
    time and sorts managers by time. It ignores new times, but stores an object whose order of managers differs.
    """
    old = review.old_object
    if review.operation is not Operation.UPDATE or old is None or not operations:
        return
    # An "add" operation writes a newly sealed value.
    if any(operation["op"] == "add" for operation in operations):
        return
    before, after = old.get("metadata", {}).get("managedFields"), body.get("metadata", {}).get("managedFields")
    if before == after or _timeless(before) != _timeless(after):
        return
    if _without_managers(_after(body, operations)) == _without_managers(old):
        yield {"op": "replace", "path": "/metadata/managedFields", "value": before}


def _after(body: Mapping[str, Any], operations: Sequence[PatchOperation]) -> dict[str, Any]:
    result: dict[str, Any] = deepcopy(dict(body))
    for operation in operations:
        *parents, member = parse_json_pointer(str(operation["path"]))
        parent: Any = result
        for part in parents:
            parent = parent[int(part) if isinstance(parent, list) else part]
        if operation["op"] == "remove":
            del parent[member]
        else:
            parent[member] = operation["value"]
    return result


def _without_managers(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in body.get("metadata", {}).items() if key != "managedFields"}
    return {**body, "metadata": metadata}


def _timeless(managers: object) -> list[str]:
    """Return what managers own, in an order that does not depend on their times."""
    entries = managers if isinstance(managers, list) else []
    return sorted(json.dumps({**entry, "time": None}, sort_keys=True) for entry in entries)
