"""Keeps the managed fields true although values are sealed after the API server has computed them.

The API server computes `metadata.managedFields` before the webhook runs, from an object that holds plain text. Two
things in them are then wrong:

- Ownership of fields that are not stored. Data keys that no entry names are dropped, and their managers must not own
  them. An entry's `value` is replaced by `sealed`, but its manager would keep
  `f:value`. As the stored object has no such field, every later server-side apply of another manager would conflict,
  also with the same value, and also `kubectl apply --server-side` after `kubectl apply`.
- The order. When the same plain text is applied again, the API server gives the manager a new time and sorts the
  managers by time. It ignores new times, but it stores an object whose order of managers differs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from scoped_secrets.admission.plaintext import PLAINTEXT_MEMBERS
from scoped_secrets.admission.review import Operation, Review
from scoped_secrets.core.entry import EntryKind
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer, parse_json_pointer

__all__ = ["correct_managers"]

_POINTER: Final = json_pointer("metadata", "managedFields")
_VARIABLES: Final = f"f:{EntryKind.ENV.spec_list}"
_FILES: Final = f"f:{EntryKind.FILE.spec_list}"
_DATA_KEYS: Final = "f:dataKeys"
_FILES_POINTER: Final = json_pointer("spec", EntryKind.FILE.spec_list)


def correct_managers(
    review: Review, body: Mapping[str, Any], operations: Sequence[PatchOperation]
) -> Iterator[PatchOperation]:
    """Yield the operation that corrects the managed fields, if they need it.

    Args:
        review: The review.
        body: Its object.
        operations: The operations that seal the object.
    """
    managers = body.get("metadata", {}).get("managedFields")
    if not isinstance(managers, list):
        return
    after = _after(body, operations)
    seals_files = any(str(operation["path"]).startswith(f"{_FILES_POINTER}/") for operation in operations)
    corrected = [
        kept
        for kept in (_corrected(manager, after, seals_files=seals_files) for manager in managers)
        if kept is not None
    ]
    if operations:
        corrected = _in_stored_order(review, after, corrected)
    if corrected != managers:
        yield {"op": "replace", "path": _POINTER, "value": corrected}


def _corrected(manager: Any, after: Mapping[str, Any], *, seals_files: bool) -> Any:
    """Return a manager without the fields that are not stored; ``None`` when it owns nothing else."""
    spec = _member(_member(manager, "fieldsV1"), "f:spec")
    variables = _member(spec, _VARIABLES)
    stale = [key for key, fields in variables.items() if _owns_value(fields) and not _stores_value(key, after)]
    # A list of files has one owner as a whole. A manager of server-side apply needs it to remove the list; a manager of
    # updates does not, and would conflict with everyone who applies the same plain text.
    drops_files = seals_files and _FILES in spec and manager.get("operation") == "Update"
    stored = {each.get("id") for each in after["spec"].get("dataKeys") or ()}
    dropped = [key for key in _member(spec, _DATA_KEYS) if not stored or _key_member(key, "id") not in {None, *stored}]
    if not stale and not drops_files and not dropped:
        return manager
    copied = deepcopy(manager)
    for key in stale:
        for member in PLAINTEXT_MEMBERS[EntryKind.ENV]:
            _remove(copied, "fieldsV1", "f:spec", _VARIABLES, key, f"f:{member}")
    if drops_files:
        _remove(copied, "fieldsV1", "f:spec", _FILES)
    for key in dropped:
        _remove(copied, "fieldsV1", "f:spec", _DATA_KEYS, key)
    return copied if "fieldsV1" in copied else None


def _remove(parent: dict[str, Any], member: str, *members: str) -> None:
    """Remove a field, and every set of fields that is empty then: an empty set means the field itself."""
    if members:
        _remove(_member(parent, member), *members)
    if not members or not parent.get(member):
        parent.pop(member, None)


def _owns_value(fields: Any) -> bool:
    return isinstance(fields, dict) and any(f"f:{member}" in fields for member in PLAINTEXT_MEMBERS[EntryKind.ENV])


def _stores_value(key: str, after: Mapping[str, Any]) -> bool:
    """Tell whether the variable with a key such as `k:{"name":"TOKEN"}` is stored with a value in plain text."""
    name = _key_member(key, "name")
    return name is None or any(
        entry.get("name") == name and any(entry.get(member) is not None for member in PLAINTEXT_MEMBERS[EntryKind.ENV])
        for entry in after["spec"].get(EntryKind.ENV.spec_list) or ()
    )


def _key_member(key: str, member: str) -> str | None:
    """Return a member of a key such as `k:{"name":"TOKEN"}`; ``None`` for what is no such key."""
    try:
        return str(json.loads(key.removeprefix("k:"))[member])
    except (ValueError, TypeError, KeyError):
        return None


def _in_stored_order(review: Review, after: Mapping[str, Any], managers: list[Any]) -> list[Any]:
    """Return the stored managers, if nothing but their times and their order differs, and these managers otherwise."""
    old = review.old_object
    if review.operation is not Operation.UPDATE or old is None:
        return managers
    before = old.get("metadata", {}).get("managedFields")
    if not isinstance(before, list) or _timeless(before) != _timeless(managers):
        return managers
    return before if _without_managers(after) == _without_managers(old) else managers


def _member(parent: Any, name: str) -> dict[str, Any]:
    child = parent.get(name) if isinstance(parent, dict) else None
    return child if isinstance(child, dict) else {}


def _after(body: Mapping[str, Any], operations: Sequence[PatchOperation]) -> Mapping[str, Any]:
    if not operations:
        return body
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


def _timeless(managers: Sequence[Any]) -> list[str]:
    """Return what managers own, in an order that does not depend on their times."""
    return sorted(json.dumps({**manager, "time": None}, sort_keys=True) for manager in managers)
