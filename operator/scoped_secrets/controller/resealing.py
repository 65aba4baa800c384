"""Reseals the values of definitions for the newest key, on request by an annotation.

Only the controller can unseal a value, so only the controller can reseal it. It replaces ciphertext by ciphertext for
the same sealing context: the only write of the operator to a spec. A value with a fingerprint gets one of the current
fingerprint key; a value without one stays without. The same write removes the request. A value that changes meanwhile
fails the test in front of its own replacement, so that no newer value is overwritten.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from scoped_secrets import names
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Result, Retry
from scoped_secrets.core.entry import EntryKey, EntryPosition
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.core.resolution.definitions import Definition, SealedSource, SlottedDefinition
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.sealing import parse_header, seal, unseal
from scoped_secrets.errors import ClusterError, SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.names import Reason

__all__ = ["ResealedValue", "Resealer", "Resealing", "reseal_operations"]

_REQUEST_POINTER = json_pointer("metadata", "annotations", names.RESEAL_ANNOTATION)


@dataclass(frozen=True, slots=True)
class ResealedValue:
    """Two sealed texts that hold the same value."""

    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resealing:
    """The write that fulfils one request.

    Attributes:
        operations: A JSON patch.
        not_unsealed: The entries that stay as they are, because their values cannot be unsealed.
        resealed: The values whose sealed text changes.
    """

    operations: tuple[PatchOperation, ...]
    not_unsealed: tuple[EntryKey, ...]
    resealed: tuple[ResealedValue, ...] = ()


class Resealer:
    """Fulfils the requests; the queue calls it for one definition at a time."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        informer: Informer,
        unsealer: Callable[[], Unsealer],
        fingerprint_key: Callable[[], FingerprintKey],
        recorder: EventRecorder,
        on_moved: Callable[[str, str], None],
    ) -> None:
        """Take what is needed.

        Args:
            cluster: Where definitions are patched.
            informer: The definitions and the requests.
            unsealer: Returns what opens values.
            fingerprint_key: Returns what fingerprints are made with.
            recorder: Tells people which values do not open.
            on_moved: Is told, before they are stored, of two sealed texts that hold the same value.
        """
        self._cluster = cluster
        self._feed = informer
        self._opener = unsealer
        self._fingerprint_key = fingerprint_key
        self._recorder = recorder
        self._on_moved = on_moved

    async def work(self, location: str) -> Outcome:
        """Fulfil the request for one definition, if there is one."""
        request = self._feed.reseal_request(location)
        if request is None:
            return Done()
        entry = self._feed.inventory.get(location)
        slotted = entry if isinstance(entry, SlottedDefinition) else None
        resealing = reseal_operations(slotted, request, self._opener(), self._fingerprint_key())
        for value in resealing.resealed:
            self._on_moved(value.before, value.after)
        namespace, _, name = location.partition("/")
        try:
            await self._cluster.patch(paths.scoped_secrets(namespace, name), resealing.operations)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return Done()
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                # It has changed, and the watch has not told us yet; most often the request is fulfilled.
                return Retry()
            raise
        if slotted is not None and resealing.not_unsealed:
            await self._tell(slotted.definition, resealing.not_unsealed)
        return Done(result=Result.RESEALED)

    async def _tell(self, definition: Definition, not_unsealed: tuple[EntryKey, ...]) -> None:
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
            f"{which} cannot be sealed for the newest key, because the present value does not open; store it again"
        )
        await self._recorder.warn(involved, Reason.RESEAL_FAILED, message)


def reseal_operations(
    slotted: SlottedDefinition | None, request: str, unsealer: Unsealer, key: FingerprintKey
) -> Resealing:
    """Return the patch that reseals a definition's values for the newest keys and removes the request.

    Args:
        slotted: The definition; ``None`` for one that has no slot, whose values cannot be unsealed.
        request: The text of the annotation.
        unsealer: Unseals the values.
        key: The current fingerprint key.
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
    yield {"op": "test", "path": position.pointer(entry.kind.name_field), "value": entry.name}
    yield {"op": "test", "path": position.pointer("sealed"), "value": value.before}
    yield {"op": "replace", "path": position.pointer("sealed"), "value": value.after}


def _reseal(
    slotted: SlottedDefinition, entry: EntryKey, text: str, unsealer: Unsealer, key: FingerprintKey
) -> str | None:
    """Return the value sealed for the newest keys, or the text itself if it already is; ``None`` if unsealing fails."""
    definition, recipient = slotted.definition, unsealer.keys.active.public_key
    context = sealing_context(unsealer.cluster_id, definition.namespace, definition.name, slotted.slot, entry)
    try:
        header = parse_header(text)
        value = unseal(text, context, unsealer.keys)
    except SealingError:
        return None
    mark = header.fingerprint
    if mark is not None:
        mark = entry_fingerprint(key, definition.namespace, definition.name, entry, value)
    is_newest = header.key_id == recipient.key_id and mark == header.fingerprint
    return text if is_newest else seal(value, context, recipient, mark)
