"""Reseals the data keys and values of a definition for the newest key when an annotation requests it.

Only the controller can unseal a value, so only the controller can reseal one. It replaces a ciphertext by another one
of the same data key or entry: the only write of the operator to a spec. Where a new sealing key is all that changed,
it seals the data keys again and leaves the entries as they are. Values that are sealed one by one come under a data
key, and so do values whose fingerprint is of a former key: a fingerprint of the present key stays, one of a former key
or without a salt is replaced, and a value without a fingerprint stays without. The same patch removes the request. The
patch tests each text before it replaces it, so that a value that a user changes meanwhile is not overwritten.

Fingerprints that the controller recorded in the status, of values without one, are renewed there for the present key
before the request is removed (`controller.scopedsecret_status`): the request is what remembers that they are to be.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from scoped_secrets import names
from scoped_secrets.controller.reconciler import Pending, Reconciler
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.value_age import entry_states
from scoped_secrets.controller.value_fingerprints import with_fingerprints
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Requeue, Result
from scoped_secrets.core.entry import EntryKey, EntryPosition
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.resolution.definitions import (
    Definition,
    SealedDataKey,
    SealedSource,
    SlottedDefinition,
)
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.entry_header import named_data_key
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey, new_salt
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError, SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.changes import Changes
from scoped_secrets.kube.resources import Kind
from scoped_secrets.names import Reason

__all__ = ["ResealReconciler", "ResealedValue", "Resealing", "reseal_operations"]

_DATA_KEYS_POINTER = json_pointer("spec", "dataKeys")
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
        if slotted is not None and self._awaits_fingerprints(slotted, unsealer, fingerprint_key):
            self._context.enqueue(Kind.SCOPED_SECRET.value, Pending(key))
            return Requeue(result=Result.WAITING)
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

    def _awaits_fingerprints(self, slotted: SlottedDefinition, unsealer: Unsealer, key: FingerprintKey) -> bool:
        """Tell whether the status has a recorded fingerprint of a former key."""
        if not self._context.records_fingerprints:
            return False
        observed = self._context.informer.observed_status(slotted.definition.location)
        known = entry_states(slotted.definition, observed, self._context.now(), self._context.resealed_texts)
        recorded = tuple(state for state in known if state.recorded is not None)
        return with_fingerprints(slotted, recorded, unsealer, key, renew=True) != recorded

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
    """Return the patch that reseals a definition for the newest keys and removes the request.

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
    if slotted is None:
        return Resealing(tuple(operations), ())
    work = _Reseal(slotted, unsealer, key)
    not_unsealed: list[EntryKey] = []
    resealed: list[ResealedValue] = []
    for position, entry in slotted.definition.enumerate_entries():
        source = entry.source
        if not isinstance(source, SealedSource) or not source.text:
            continue
        text = work.text_of(entry.sealing_key, source.text)
        if text is None:
            not_unsealed.append(entry.key)
        elif text != source.text:
            value = ResealedValue(source.text, text)
            operations += _replacement(position, entry.key, value)
            resealed.append(value)
    operations += work.data_key_operations()
    return Resealing(tuple(operations), tuple(not_unsealed), tuple(resealed))


def _replacement(position: EntryPosition, entry: EntryKey, value: ResealedValue) -> Iterator[PatchOperation]:
    member, name = entry.naming_member
    # The API server compares the JSON texts, in which the client writes other characters as escapes. The sealed text
    # is that of this entry alone, so that its test suffices then.
    if name.isascii():
        yield {"op": "test", "path": position.pointer(member), "value": name}
    yield {"op": "test", "path": position.pointer("sealed"), "value": value.before}
    yield {"op": "replace", "path": position.pointer("sealed"), "value": value.after}


class _Reseal:
    """Reseals the values of one definition, which all come under one new data key, and its other data keys."""

    def __init__(self, slotted: SlottedDefinition, unsealer: Unsealer, key: FingerprintKey) -> None:
        self._definition = slotted.definition
        self._slot = slotted.slot
        self._unsealer = unsealer
        self._fingerprint_key = key
        self._recipient = unsealer.keys.active.public_key
        self._new: NewDataKey | None = None
        self._new_text = ""
        self._kept: dict[str, SealingContext] = {}

    def text_of(self, entry: EntryKey, text: str) -> str | None:
        """Return the text that an entry should have, its own if it is right; ``None`` if unsealing fails."""
        definition = self._definition
        context = sealing_context(self._unsealer.cluster_id, definition.namespace, definition.name, self._slot, entry)
        data_key_id = named_data_key(text)
        try:
            header = parse_header(text)
            value = self._unsealer.unseal_text(text, definition, self._slot, entry)
        except SealingError:
            if data_key_id is not None:
                self._kept[data_key_id] = context
            return None
        mark = self._present_mark(entry, value, header.fingerprint)
        if data_key_id is not None and mark == header.fingerprint:
            self._kept[data_key_id] = context
            return text
        if self._new is None:
            self._new = NewDataKey()
            self._new_text = self._new.sealed(context, self._recipient)
        return self._new.seal(value, context, mark)

    def data_key_operations(self) -> Iterator[PatchOperation]:
        """Yield the operations that leave the data keys that entries name, sealed for the newest key."""
        stored = [{"id": each.id, "sealed": each.text} for each in self._definition.data_keys]
        wanted = [
            {"id": each.id, "sealed": self._present_text(each, self._kept[each.id])}
            for each in self._definition.data_keys
            if each.id in self._kept
        ]
        if self._new is not None:
            wanted.append({"id": str(self._new.data_key_id), "sealed": self._new_text})
        if wanted == stored:
            return
        if stored:
            yield {"op": "test", "path": _DATA_KEYS_POINTER, "value": stored}
        if wanted:
            yield {"op": "add", "path": _DATA_KEYS_POINTER, "value": wanted}
        else:
            yield {"op": "remove", "path": _DATA_KEYS_POINTER}

    def _present_mark(self, entry: EntryKey, value: SecretValue, mark: Fingerprint | None) -> Fingerprint | None:
        """Return a fingerprint of the present key with a salt, which may be the stored one; none if it had none."""
        if mark is None:
            return None
        key, place = self._fingerprint_key, (self._definition.namespace, self._definition.name, entry)
        if mark.salt and entry_fingerprint(key, *place, value, mark.salt) == mark:
            return mark
        return entry_fingerprint(key, *place, value, new_salt())

    def _present_text(self, stored: SealedDataKey, place: SealingContext) -> str:
        """Return the text of a data key for the newest sealing key; its own if it is right or cannot be unsealed."""
        try:
            header = parse_header(stored.text)
            if isinstance(header, SealedHeader) and header.key_id == self._recipient.key_id:
                return stored.text
            return self._unsealer.data_key(stored.id, self._definition, place).sealed(place, self._recipient)
        except SealingError:
            return stored.text
