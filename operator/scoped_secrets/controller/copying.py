"""Completes copies: seals the values of one definition again for another one that admission allowed to copy it.

A new ScopedSecret with `spec.copyFrom` has no entries. The controller opens the values of the source, seals them for
the place of the copy under one data key, and writes them with one JSON patch, which also removes the request. The
patch tests the UID and the request, so that it changes no other object, and a second one changes nothing.

The grant in the request proves that admission asked whether the person may copy the source. The values are those of the
generation of the source that the grant names: a source that has changed since is not copied.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, assert_never

from scoped_secrets import names
from scoped_secrets.controller.reconciler import Pending, Reconciler
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, RequeueAfter, Result
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.inventory import Inventory, RejectedDefinition
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.resolution.definitions import (
    CopyRequest,
    Definition,
    Entry,
    PlainSource,
    SealedSource,
    SecretKeySource,
    SlottedDefinition,
)
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.copy_grants import CopyGrant, CopyPlace, open_copy_grant
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.fingerprints import FingerprintKey, new_salt
from scoped_secrets.errors import ClusterError, SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.keys import Keys
from scoped_secrets.kube.resources import Kind
from scoped_secrets.names import Reason
from scoped_secrets.timestamps import parse_timestamp, rfc3339

__all__ = ["CopyReconciler", "copy_operations", "copy_problem"]

_COPY_POINTER: Final = json_pointer("spec", "copyFrom")
_GRANT_SECONDS: Final = 120
"""How far the time of a grant may be from the creation of the object: the clocks of two machines differ a little."""

_RETRY_SECONDS: Final = 15.0
"""The longest delay until a copy that failed is tried again: a key may be restored."""


class CopyReconciler(Reconciler):
    """Completes copies; a key is the ``namespace/name`` of the copy."""

    kind = "Copy"

    async def reconcile(self, key: str) -> Outcome:
        """Complete one copy, if it is one."""
        inventory, keys = self._context.informer.inventory, self._context.keys()
        target = inventory.get(key)
        if not isinstance(target, SlottedDefinition) or target.definition.copy_request is None:
            return Done()
        source = _source_of(target, inventory, keys)
        if isinstance(source, _Problem):
            return await self._report(target.definition, source.message)
        operations = copy_operations(target, source, self._context.unsealer(), keys.fingerprint_key)
        if isinstance(operations, EntryKey):
            return await self._report(target.definition, _cannot_open(target.definition, operations))
        return await self._write(key, operations)

    def pending(self) -> Iterator[Pending]:
        """Yield every copy that is to be completed."""
        yield from (Pending(location) for location in [*self._context.informer.copies()])

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the copies that are new, and those whose source changed."""
        for location, source in [*self._context.informer.copies().items()]:
            if location in changes.definitions or source in changes.definitions:
                yield Pending(location)

    async def _write(self, key: str, operations: list[PatchOperation]) -> Outcome:
        namespace, _, name = key.partition("/")
        try:
            await self._context.cluster.patch(paths.scoped_secrets(namespace, name), operations, metadata_only=True)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return Done()
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                # The object changed, and the watch has not shown it yet; most often the copy is complete.
                return Requeue()
            raise
        return Done(result=Result.COPIED)

    async def _report(self, definition: Definition, message: str) -> Outcome:
        """Report why a copy cannot be completed, as an event and in the status."""
        involved = {
            "apiVersion": names.API_VERSION,
            "kind": names.SCOPED_SECRET_KIND,
            "namespace": definition.namespace,
            "name": definition.name,
            "uid": definition.uid,
        }
        await self._context.recorder.warn(involved, Reason.COPY_FAILED, message)
        # The status follows from the source too, whose changes do not concern the copy otherwise.
        self._context.enqueue(Kind.SCOPED_SECRET.value, Pending(definition.location))
        return RequeueAfter(_RETRY_SECONDS, result=Result.REFUSED, reason=Reason.COPY_FAILED)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a copy cannot be made, in one sentence with the remedy."""

    message: str


def copy_problem(entry: SlottedDefinition | RejectedDefinition, inventory: Inventory, keys: Keys) -> str | None:
    """Return why the copy that a definition asks for cannot be made; ``None`` if it can, or if it asks for none.

    Args:
        entry: The definition.
        inventory: All definitions.
        keys: The operator's keys.
    """
    if not isinstance(entry, SlottedDefinition) or entry.definition.copy_request is None:
        return None
    source = _source_of(entry, inventory, keys)
    if isinstance(source, _Problem):
        return source.message
    unreadable = _first_unreadable(source, Unsealer(keys.ring, keys.cluster_id))
    return None if unreadable is None else _cannot_open(entry.definition, unreadable)


def copy_operations(
    target: SlottedDefinition, source: SlottedDefinition, unsealer: Unsealer, key: FingerprintKey
) -> list[PatchOperation] | EntryKey:
    """Return the patch that completes a copy, or the first entry of the source whose value cannot be opened.

    Args:
        target: The copy.
        source: The source.
        unsealer: Unseals values.
        key: The present fingerprint key.
    """
    definition, request = target.definition, target.definition.copy_request
    if request is None:
        return []
    data_key: NewDataKey | None = None
    sealed_data_key = ""
    lists: dict[EntryKind, list[dict[str, Any]]] = {}
    for position, entry in source.definition.enumerate_entries():
        sealed = None
        if isinstance(entry.source, SealedSource):
            context = sealing_context(
                unsealer.cluster_id, definition.namespace, definition.name, target.slot, entry.sealing_key
            )
            try:
                value = unsealer.unseal_text(entry.source.text, source.definition, source.slot, entry.sealing_key)
            except SealingError:
                return entry.key
            if data_key is None:
                data_key = NewDataKey()
                sealed_data_key = data_key.sealed(context, unsealer.keys.active.public_key)
            mark = entry_fingerprint(key, definition.namespace, definition.name, entry.sealing_key, value, new_salt())
            sealed = data_key.seal(value, context, mark)
        lists.setdefault(position.kind, []).append(_entry_body(entry, sealed))
    operations: list[PatchOperation] = [
        {"op": "test", "path": json_pointer("metadata", "uid"), "value": definition.uid},
        {"op": "test", "path": _COPY_POINTER, "value": _request_body(request)},
        {"op": "remove", "path": _COPY_POINTER},
    ]
    operations += [
        {"op": "add", "path": json_pointer("spec", kind.spec_list), "value": entries} for kind, entries in lists.items()
    ]
    if data_key is not None:
        stored = [{"id": str(data_key.data_key_id), "sealed": sealed_data_key}]
        operations.append({"op": "add", "path": json_pointer("spec", "dataKeys"), "value": stored})
    return operations


def _source_of(target: SlottedDefinition, inventory: Inventory, keys: Keys) -> SlottedDefinition | _Problem:
    """Return the source of a copy, or why it cannot be copied.

    One watch brings all definitions in the order in which they were stored. So the controller knows the source as it
    was when the copy was created, or later.
    """
    request = target.definition.copy_request
    grant = None if request is None else _grant_of(target.definition, request, keys)
    if request is None or grant is None:
        return _Problem(
            "`spec.copyFrom` has no valid grant of admission, which asks whether you may copy; delete this object and "
            "create it again while the operator's webhooks run"
        )
    source = inventory.get(request.location)
    if source is None or source.definition.uid != grant.uid:
        return _Problem(
            f"the source '{request.location}' does not exist any more; delete this object and store the values in a "
            "new one"
        )
    if isinstance(source, RejectedDefinition):
        return _Problem(
            f"the source '{request.location}' is not ready; see its condition Ready, then delete this object and "
            "create it again"
        )
    if source.definition.generation != grant.generation or source.definition.copy_request is not None:
        return _Problem(
            f"the source '{request.location}' changed after this object was created, or is itself not copied yet; "
            "delete this object and create it again"
        )
    return source


def _grant_of(definition: Definition, request: CopyRequest, keys: Keys) -> CopyGrant | None:
    place = CopyPlace(
        source=request.location,
        target=definition.location,
        scope=definition.scope.value,
        project=definition.project or "",
        environment=definition.environment or "",
        secret_name=definition.secret_name,
    )
    grant = open_copy_grant((keys.fingerprint_key, *keys.former_fingerprint_keys), place, request.grant)
    created = parse_timestamp(definition.created)
    if grant is None or created is None or not _is_near(grant, created):
        return None
    return grant


def _is_near(grant: CopyGrant, created: datetime) -> bool:
    """Tell whether an object was created when its grant was made: an older grant is of another object."""
    return abs(created.timestamp() - grant.granted) <= _GRANT_SECONDS


def _first_unreadable(source: SlottedDefinition, unsealer: Unsealer) -> EntryKey | None:
    for entry in source.definition.entries:
        if isinstance(entry.source, SealedSource):
            try:
                unsealer.unseal_text(entry.source.text, source.definition, source.slot, entry.sealing_key)
            except SealingError:
                return entry.key
    return None


def _cannot_open(definition: Definition, entry: EntryKey) -> str:
    source = "" if definition.copy_request is None else definition.copy_request.location
    return (
        f"{entry} of the source '{source}' cannot be opened, because its key is lost or it is sealed for another "
        "place; restore the key, or store the value in the source and create this object again"
    )


def _entry_body(entry: Entry, sealed: str | None) -> dict[str, Any]:
    """Return an entry as it stands in a spec."""
    body: dict[str, Any] = {}
    if entry.kind is EntryKind.ENV:
        body["name"] = entry.name
        if entry.previous is not None:
            body |= {"previousOf": entry.previous.of, "expireTime": rfc3339(entry.previous.until)}
    else:
        given = {"path": entry.path, "env": entry.env, "mode": None if entry.mode is None else f"{entry.mode:04o}"}
        body.update({member: text for member, text in given.items() if text is not None})
    match entry.source:
        case SealedSource():
            body["sealed"] = sealed
        case PlainSource(data):
            body["sensitive"] = False
            if entry.kind is EntryKind.ENV:
                body["value"] = data.decode()
            else:
                body["contentBase64"] = base64.b64encode(data).decode("ascii")
        case SecretKeySource() as source:
            optional = {"optional": True} if source.is_optional else {}
            body["valueFrom"] = {"secretKeyRef": {"name": source.secret, "key": source.key, **optional}}
        case other:
            assert_never(other)
    return body


def _request_body(request: CopyRequest) -> dict[str, str]:
    return {"namespace": request.namespace, "name": request.name, "grant": request.grant}
