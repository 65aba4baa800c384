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
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic_core import from_json

from scoped_secrets.admission.plaintext import PLAINTEXT_MEMBERS
from scoped_secrets.admission.review import Operation, Review
from scoped_secrets.core.entry import EntryKind
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer, parse_json_pointer

__all__ = ["correct_managers", "patched_object"]

_POINTER: Final = json_pointer("metadata", "managedFields")
_VARIABLES: Final = f"f:{EntryKind.ENV.spec_list}"
_FILES: Final = f"f:{EntryKind.FILE.spec_list}"
_DATA_KEYS: Final = "f:dataKeys"
_VALUE_FIELDS: Final = frozenset(f"f:{member}" for member in PLAINTEXT_MEMBERS[EntryKind.ENV])
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
    after = patched_object(body, operations)
    stored = _Stored.of(after["spec"])
    seals_files = any(operation["path"] == _FILES_POINTER for operation in operations)
    corrected = [
        kept
        for kept in (_corrected(manager, stored, seals_files=seals_files) for manager in managers)
        if kept is not None
    ]
    if operations:
        corrected = _in_stored_order(review, after, corrected)
    if corrected != managers:
        yield {"op": "replace", "path": _POINTER, "value": corrected}


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored of a spec, as far as managers may own it.

    Attributes:
        plain_variables: The names of the variables in plain text.
        data_keys: The ids of the data keys.
    """

    plain_variables: frozenset[str]
    data_keys: frozenset[str]

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """Return what is stored of a spec."""
        (member,) = PLAINTEXT_MEMBERS[EntryKind.ENV]
        variables = spec.get(EntryKind.ENV.spec_list) or ()
        return cls(
            frozenset(str(entry.get("name")) for entry in variables if entry.get(member) is not None),
            frozenset(str(each.get("id")) for each in spec.get("dataKeys") or ()),
        )


def _corrected(manager: Any, stored: _Stored, *, seals_files: bool) -> Any:
    """Return a manager without the fields that are not stored; ``None`` when it owns nothing else."""
    spec = _member(_member(manager, "fieldsV1"), "f:spec")
    lists = {
        _VARIABLES: _without_values(_member(spec, _VARIABLES), stored.plain_variables),
        _DATA_KEYS: _without_dropped(_member(spec, _DATA_KEYS), stored.data_keys),
    }
    # A list of files has one owner as a whole. A manager of server-side apply needs it to remove the list; a manager of
    # updates does not, and would conflict with everyone who applies the same plain text.
    if seals_files and _FILES in spec and manager.get("operation") == "Update":
        lists[_FILES] = {}
    changed = {name: fields for name, fields in lists.items() if name in spec and fields != spec[name]}
    changed |= {_FILES: {}} if _FILES in lists else {}
    if not changed:
        return manager
    # An empty set means the field itself, so that a set goes when it becomes empty.
    kept = {name: fields for name, fields in {**spec, **changed}.items() if name not in changed or fields}
    fields = {**manager["fieldsV1"], "f:spec": kept}
    if not kept:
        del fields["f:spec"]
    return {**manager, "fieldsV1": fields} if fields else None


def _without_values(variables: Mapping[str, Any], plain: AbstractSet[str]) -> dict[str, Any]:
    """Return the owned fields of variables without the values that are not stored."""
    kept = {}
    for key, fields in variables.items():
        owned = fields
        # Keys are read only where some variable is in plain text.
        if _owns_value(fields) and not (plain and _key_member(key, "name") in plain):
            owned = {field: each for field, each in fields.items() if field not in _VALUE_FIELDS}
        if owned or not fields:
            kept[key] = owned
    return kept


def _without_dropped(data_keys: Mapping[str, Any], stored: AbstractSet[str]) -> dict[str, Any]:
    """Return the owned data keys that are stored."""
    if not stored:
        return {}
    return {key: fields for key, fields in data_keys.items() if _key_member(key, "id") in {None, *stored}}


def _owns_value(fields: Any) -> bool:
    return isinstance(fields, dict) and not _VALUE_FIELDS.isdisjoint(fields)


def _key_member(key: str, member: str) -> str | None:
    """Return a member of a key such as `k:{"name":"TOKEN"}`; ``None`` for what is no such key."""
    try:
        return str(from_json(key.removeprefix("k:"))[member])
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


def patched_object(body: Mapping[str, Any], operations: Sequence[Mapping[str, object]]) -> Mapping[str, Any]:
    """Return the object after the operations; what they leave alone is shared with the object as it is."""
    if not operations:
        return body
    result: dict[str, Any] = dict(body)
    copies: dict[tuple[str, ...], Any] = {(): result}
    for operation in operations:
        *parents, member = parse_json_pointer(str(operation["path"]))
        parent: Any = result
        for depth, part in enumerate(parents, 1):
            place = tuple(parents[:depth])
            if place not in copies:
                index = int(part) if isinstance(parent, list) else part
                copies[place] = parent[index] = copy(parent[index])
            parent = copies[place]
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
