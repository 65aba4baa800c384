"""Apply the operations of a JSON Patch (RFC 6902) that injection produces: add, replace and remove."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["apply_operations"]


def apply_operations(body: Mapping[str, Any], operations: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Return a copy of an object with the operations applied in their order."""
    changed: dict[str, Any] = copy.deepcopy(dict(body))
    for operation in operations:
        *way, last = [_unescape(part) for part in str(operation["path"]).split("/")[1:]]
        target: Any = changed
        for part in way:
            target = target[int(part)] if isinstance(target, list) else target[part]
        _apply(target, last, operation)
    return changed


def _apply(target: Any, last: str, operation: Mapping[str, object]) -> None:
    value = copy.deepcopy(operation.get("value"))
    if operation["op"] == "remove":
        del target[int(last) if isinstance(target, list) else last]
    elif isinstance(target, list) and operation["op"] == "add":
        target.insert(len(target) if last == "-" else int(last), value)
    elif isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
