"""Seals the values of definitions for the newest key, when somebody asks for it by an annotation.

The controller alone can open a value, so it alone can seal one anew. It writes ciphertext in the place of ciphertext,
made for the same place: the one thing that the operator ever writes into a spec. A value that has a fingerprint gets
one of the present fingerprint key; one that has none stays without. The request is removed by the same write. A value
that somebody changes meanwhile fails the test in front of its own replacement, so that nothing newer is overwritten.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from scoped_secrets import names
from scoped_secrets.controller.unsealing import Unsealer
from scoped_secrets.controller.workqueue.queue import Done, Outcome, Result, Retry
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.resolution.definitions import (
    Definition,
    EnvEntry,
    FileEntry,
    SealedSource,
    SlottedDefinition,
    describe_entry,
)
from scoped_secrets.crypto.contexts import entry_context, entry_place
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.sealing import parse_header, seal, unseal
from scoped_secrets.errors import ClusterError, SealingError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Cluster
from scoped_secrets.kube.events import EventRecorder
from scoped_secrets.kube.informer import Informer
from scoped_secrets.names import Reason

__all__ = ["Resealer", "Resealing", "reseal_operations"]

_POINTER = f"/metadata/annotations/{names.RESEAL_ANNOTATION.replace('/', '~1')}"


@dataclass(frozen=True, slots=True)
class Resealing:
    """What is to be written.

    Attributes:
        operations: A JSON patch.
        not_unsealed: The entries that stay as they are, because their values do not open.
        moved: The sealed texts before and after, of one value each.
    """

    operations: tuple[PatchOperation, ...]
    not_unsealed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...] = ()


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
        for before, after in resealing.moved:
            self._on_moved(before, after)
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

    async def _tell(self, definition: Definition, not_unsealed: tuple[str, ...]) -> None:
        involved = {
            "apiVersion": names.API_VERSION,
            "kind": names.SCOPED_SECRET_KIND,
            "namespace": definition.namespace,
            "name": definition.name,
            "uid": definition.uid,
        }
        first, others = not_unsealed[0], len(not_unsealed) - 1
        which = f"{first} and {others} more" if others else first
        message = (
            f"{which} cannot be sealed for the newest key, because the present value does not open; store it again"
        )
        await self._recorder.warn(involved, Reason.RESEAL_FAILED, message)


def reseal_operations(
    slotted: SlottedDefinition | None, request: str, unsealer: Unsealer, key: FingerprintKey
) -> Resealing:
    """Return the patch that moves a definition's values to the newest keys and removes the request.

    Args:
        slotted: The definition; ``None`` for one whose values open nowhere, because it has no place.
        request: The text of the annotation.
        unsealer: What opens values.
        key: What fingerprints are made with.
    """
    operations: list[PatchOperation] = [
        {"op": "test", "path": _POINTER, "value": request},
        {"op": "remove", "path": _POINTER},
    ]
    not_unsealed: list[str] = []
    moved: list[tuple[str, str]] = []
    for pointer, entry in _entries(slotted.definition) if slotted is not None else ():
        source = entry.source
        if slotted is None or not isinstance(source, SealedSource) or not source.text:
            continue
        text = _resealed(slotted, entry, source.text, unsealer, key)
        if text is None:
            not_unsealed.append(describe_entry(entry))
        elif text != source.text:
            operations += _replacement(pointer, entry, source.text, text)
            moved.append((source.text, text))
    return Resealing(tuple(operations), tuple(not_unsealed), tuple(moved))


def _entries(definition: Definition) -> Iterator[tuple[str, EnvEntry | FileEntry]]:
    """Yield each entry with its place in the object, which a definition's entries keep."""
    yield from ((f"/spec/env/{index}", entry) for index, entry in enumerate(definition.env))
    yield from ((f"/spec/files/{index}", entry) for index, entry in enumerate(definition.files))


def _replacement(pointer: str, entry: EnvEntry | FileEntry, before: str, text: str) -> Iterator[PatchOperation]:
    member, name = ("name", entry.name) if isinstance(entry, EnvEntry) else ("path", entry.path)
    yield {"op": "test", "path": f"{pointer}/{member}", "value": name}
    yield {"op": "test", "path": f"{pointer}/sealed", "value": before}
    yield {"op": "replace", "path": f"{pointer}/sealed", "value": text}


def _resealed(
    slotted: SlottedDefinition, entry: EnvEntry | FileEntry, text: str, unsealer: Unsealer, key: FingerprintKey
) -> str | None:
    """Return the value sealed for the newest keys, perhaps the text itself; ``None`` when it does not open."""
    definition, recipient = slotted.definition, unsealer.keys.active.public_key
    context = entry_context(unsealer.cluster_id, definition.namespace, definition.name, slotted.slot, entry)
    try:
        header = parse_header(text)
        value = unseal(text, context, unsealer.keys)
    except SealingError:
        return None
    mark = header.fingerprint
    if mark is not None:
        mark = fingerprint(key, definition.namespace, definition.name, *entry_place(entry), value)
    is_newest = header.key_id == recipient.key_id and mark == header.fingerprint
    return text if is_newest else seal(value, context, recipient, mark)
