"""Writes a status only if it differs from the stored one (DESIGN section 5).

Server-side apply leaves items of lists that another field manager added. A JSON patch then removes them, so that a
status holds only what the controller observed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from scoped_secrets import names
from scoped_secrets.controller.conditions import DesiredStatus, changed_status, newly_true
from scoped_secrets.controller.reconciler import ReconcilerContext
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.errors import ClusterError
from scoped_secrets.kube.resources import Kind
from scoped_secrets.names import ConditionType, Reason

__all__ = ["StatusWriter"]


@dataclass(frozen=True, slots=True)
class _Written:
    """A status that was written and that the watch has not delivered yet."""

    before: Mapping[str, Any]
    status: Mapping[str, Any]


class StatusWriter:
    """Writes the statuses of one kind of object, and counts their conditions; an object is its ``namespace/name``."""

    def __init__(
        self,
        context: ReconcilerContext,
        kind: Kind,
        *,
        path: Callable[[str, str], str],
        stored: Callable[[str], Mapping[str, Any]],
        uid: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Take what differs between kinds.

        Args:
            context: What reconcilers share.
            kind: The kind of the objects.
            path: Returns the path of an object's status, from its namespace and name.
            stored: Returns an object's status as the watch showed it last.
            uid: Returns an object's UID, empty when it is not known.
        """
        self._context = context
        self._kind = kind
        self._path = path
        self._stored = stored
        self._uid = uid
        self._type = {"apiVersion": names.API_VERSION, "kind": kind.value}
        self._written: dict[str, _Written] = {}

    def observed(self, location: str) -> Mapping[str, Any]:
        """Return an object's status: what the watch showed last, or what was written since."""
        stored = self._stored(location)
        written = self._written.get(location)
        if written is None:
            return stored
        if stored == written.before:
            return written.status
        del self._written[location]
        return stored

    def changed(self, location: str, desired: DesiredStatus | None, now: datetime) -> dict[str, Any] | None:
        """Return the status to write, ``None`` when the stored one is as desired.

        Args:
            location: The object.
            desired: What its status should be; ``None`` for an object that is deleted.
            now: The present time, for conditions that change.
        """
        key = self._kind.value, location
        if desired is None:
            self._written.pop(location, None)
            self._context.condition_counts.remove(self._kind.value, key)
            return None
        self._context.condition_counts.put(self._kind.value, key, desired.conditions)
        return changed_status(desired, self.observed(location), now)

    async def write(self, location: str, status: Mapping[str, Any]) -> None:
        """Write an object's status, and record an event for each condition that time has made true.

        Raises:
            ClusterError: The status was not written, or it is not known whether it was.
        """
        # The event comes first: once the status is written, nothing shows that the event is missing.
        await self._warn(location, status)
        before = self._stored(location)
        namespace, _, name = location.partition("/")
        body = {**self._type, "metadata": self._metadata(location), "status": status}
        path = self._path(namespace, name)
        try:
            written = await self._context.cluster.apply(path, body)
            foreign = _foreign_parts(status, written)
            if foreign:
                written = await self._context.cluster.patch(path, foreign)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            # After a conflict another object has the name; without an answer the result is unknown: the watch shows it.
            raise
        self._written[location] = _Written(before, written.get("status") or {})

    async def _warn(self, location: str, status: Mapping[str, Any]) -> None:
        """Record the events; the recorder joins equal ones, so a retry repeats none."""
        involved = {**self._type, **self._metadata(location)}
        for condition in newly_true(status, self.observed(location)):
            await self._context.recorder.warn(involved, Reason(condition["reason"]), condition["message"])

    def _metadata(self, location: str) -> dict[str, str]:
        namespace, _, name = location.partition("/")
        metadata = {"namespace": namespace, "name": name}
        uid = self._uid(location)
        # An object that was deleted and created again meanwhile is another one.
        return metadata | {"uid": uid} if uid else metadata


def _foreign_parts(status: Mapping[str, Any], written: Mapping[str, Any]) -> list[PatchOperation]:
    """Return the operations that remove from a status what server-side apply leaves there, because others own it.

    Conditions of types that the controller does not write stay.

    Args:
        status: What was applied.
        written: The object as it is stored now.
    """
    operations: list[PatchOperation] = []
    for field, value in (written.get("status") or {}).items():
        wanted = status.get(field)
        if field == "conditions" and isinstance(value, list):
            own = wanted or []
            wanted = [*own, *(each for each in value if each.get("type") not in tuple(ConditionType))]
        pointer = json_pointer("status", field)
        if wanted is None:
            operations.append({"op": "remove", "path": pointer})
        elif isinstance(wanted, list) and _sorted(wanted) != _sorted(value):
            operations.append({"op": "replace", "path": pointer, "value": wanted})
    if operations:
        version = {"op": "test", "path": "/metadata/resourceVersion", "value": written["metadata"]["resourceVersion"]}
        operations.insert(0, version)
    return operations


def _sorted(items: Any) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True) for item in items)
