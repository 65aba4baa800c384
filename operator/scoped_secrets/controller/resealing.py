"""Reseals the values of a definition for the newest key when an annotation requests it.

Only the controller can unseal a value, so only the controller can reseal one. It replaces a ciphertext by another one
for the same entry: the only write of the operator to a spec. A fingerprint of the present key stays, one of a former
key or without a salt is replaced, and a value without a fingerprint stays without. The same patch removes the request.
The patch tests each value before it replaces it, so that a value that a user changes meanwhile is not overwritten.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from scoped_secrets import names
from scoped_secrets.controller.reconciler import Pending, Reconciler
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, Result
from scoped_secrets.core.entry import EntryKey, EntryPosition
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.resolution.definitions import Definition, SealedSource, SlottedDefinition
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey, new_salt
from scoped_secrets.crypto.sealing import parse_header, seal
from scoped_secrets.errors import ClusterError, SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.names import Reason

__all__ = ["ResealReconciler", "ResealedValue", "Resealing", "reseal_operations"]

_REQUEST_POINTER = json_pointer("metadata", "annotations", names.RESEAL_ANNOTATION)


@dataclass(frozen=True, slots=True)
class ResealedValue:
    """Two sealed texts that hold the same value."""

    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resealing:
    """What a request to reseal a definition requires.

    Attributes:
        operations: The JSON patch to send.
        not_unsealed: The entries that stay as they are, because their values cannot be unsealed.
        resealed: The values whose sealed text changes.
    """

    operations: tuple[PatchOperation, ...]
    not_unsealed: tuple[EntryKey, ...]
    resealed: tuple[ResealedValue, ...] = ()


class ResealReconciler(Reconciler):
    """Fulfils requests to reseal a definition; a key is its ``namespace/name``."""

    kind = "Reseal"

    async def reconcile(self, key: str) -> Outcome:
        """Fulfil the request for one definition, if there is one."""
        informer = self._context.informer
        request = informer.reseal_request(key)
        if request is None:
            return Done()
        entry = informer.inventory.get(key)
        slotted = entry if isinstance(entry, SlottedDefinition) else None
        unsealer, fingerprint_key = self._context.unsealer(), self._context.keys().fingerprint_key
        resealing = reseal_operations(slotted, request, unsealer, fingerprint_key)
        # Before they are stored: the status that follows must not take the new texts for new values.
        for value in resealing.resealed:
            self._context.resealed_texts.add(value.before, value.after)
        namespace, _, name = key.partition("/")
        try:
            await self._context.cluster.patch(paths.scoped_secrets(namespace, name), resealing.operations)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return Done()
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                # The object changed, and the watch has not shown it yet; most often the request is fulfilled.
                return Requeue()
            raise
        if slotted is not None and resealing.not_unsealed:
            await self._warn(slotted.definition, resealing.not_unsealed)
        return Done(result=Result.RESEALED)

    def pending(self) -> Iterator[Pending]:
        """Yield every definition with a request."""
        yield from (Pending(location) for location in [*self._context.informer.reseal_requests()])

    def on_changes(self, changes: Changes) -> Iterator[Pending]:
        """Yield the changed definitions that have a request."""
        informer = self._context.informer
        yield from (Pending(each) for each in changes.definitions if informer.reseal_request(each) is not None)

    async def _warn(self, definition: Definition, not_unsealed: tuple[EntryKey, ...]) -> None:
        involved = {
            "apiVersion": names.API_VERSION,
            "kind": names.SCOPED_SECRET_KIND,
            "namespace": definition.namespace,
            "name": definition.name,
            "uid": definition.uid,
        }
        first, others = not_unsealed[0], len(not_unsealed) - 1
        which = f"{first} and {others} more" if others else str(first)
        message = (
            f"{which} cannot be resealed for the newest key, because the stored value cannot be unsealed; "
            "store the value again"
        )
        await self._context.recorder.warn(involved, Reason.RESEAL_FAILED, message)


def reseal_operations(
    slotted: SlottedDefinition | None, request: str, unsealer: Unsealer, key: FingerprintKey
) -> Resealing:
    """Return the patch that reseals a definition's values for the newest keys and removes the request.

    Args:
        slotted: The definition; ``None`` for one without a slot, whose values cannot be unsealed.
        request: The text of the annotation.
        unsealer: Unseals values.
        key: The present fingerprint key.
    """
    operations: list[PatchOperation] = [
        {"op": "test", "path": _REQUEST_POINTER, "value": request},
        {"op": "remove", "path": _REQUEST_POINTER},
    ]
    not_unsealed: list[EntryKey] = []
    resealed: list[ResealedValue] = []
    for position, entry in slotted.definition.enumerate_entries() if slotted is not None else ():
        source = entry.source
        if slotted is None or not isinstance(source, SealedSource) or not source.text:
            continue
        text = _reseal(slotted, entry.key, source.text, unsealer, key)
        if text is None:
            not_unsealed.append(entry.key)
        elif text != source.text:
            value = ResealedValue(source.text, text)
            operations += _replacement(position, entry.key, value)
            resealed.append(value)
    return Resealing(tuple(operations), tuple(not_unsealed), tuple(resealed))


def _replacement(position: EntryPosition, entry: EntryKey, value: ResealedValue) -> Iterator[PatchOperation]:
    member, name = entry.naming_member
    # The API server compares the JSON texts, in which the client writes other characters as escapes. The sealed text
    # is that of this entry alone, so that its test suffices then.
    if name.isascii():
        yield {"op": "test", "path": position.pointer(member), "value": name}
    yield {"op": "test", "path": position.pointer("sealed"), "value": value.before}
    yield {"op": "replace", "path": position.pointer("sealed"), "value": value.after}


def _reseal(
    slotted: SlottedDefinition, entry: EntryKey, text: str, unsealer: Unsealer, key: FingerprintKey
) -> str | None:
    """Return the value sealed for the newest keys, or the text itself if it already is; ``None`` if unsealing fails."""
    definition, recipient = slotted.definition, unsealer.keys.active.public_key
    try:
        header = parse_header(text)
        value = unsealer.unseal_text(text, definition, slotted.slot, entry)
    except SealingError:
        return None
    mark = header.fingerprint
    if mark is not None:
        place = definition.namespace, definition.name, entry
        if not mark.salt or entry_fingerprint(key, *place, value, mark.salt) != mark:
            mark = entry_fingerprint(key, *place, value, new_salt())
    if header.key_id == recipient.key_id and mark == header.fingerprint:
        return text
    context = sealing_context(unsealer.cluster_id, definition.namespace, definition.name, slotted.slot, entry)
    return seal(value, context, recipient, mark)
