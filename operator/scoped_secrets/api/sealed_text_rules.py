"""The rules for sealed texts and data keys of a ScopedSecret, as far as headers tell (DESIGN section 7)."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.storage_state import StorageState, slot_of
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import data_key_context
from scoped_secrets.crypto.entry_header import DataKeyId, named_data_key
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.sealed_texts import TextHeader, matches_context, parse_header
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.errors import DeniedError, InvalidObjectError, SealingError
from scoped_secrets.names import Reason

__all__ = ["check_data_keys", "check_sealed_texts"]

_SEALED_TEXT: Final = re.compile(r"v[12]:[A-Za-z0-9_-]+")


def check_sealed_texts(
    model: ScopedSecret,
    changed: ScopedSecret,
    old: ScopedSecret | None,
    namespace: str,
    state: StorageState,
    just_sealed: AbstractSet[str] = frozenset(),
) -> None:
    """Deny texts and data keys that jobs could not use, as far as their headers tell.

    Args:
        model: The object as it would be stored.
        changed: The object with unchanged entries emptied.
        old: The stored object.
        namespace: The namespace of the request.
        state: What the rules depend on beside the object.
        just_sealed: Texts that this process has sealed for their entries in this write, with a data key of the object.
    """
    sealed = [
        (position, entry)
        for position, entry in changed.enumerate_entries()
        if entry.sealed is not None and entry.sealed not in just_sealed
    ]
    before = () if old is None else old.spec.data_keys
    suspects = {each.id for each in model.spec.data_keys if each not in before}
    given = {each.id for each in model.spec.data_keys}
    _check_none_is_removed(model, {each.id for each in before} - given)
    if not sealed and not suspects:
        return
    slot = slot_of(changed, namespace, state)
    place = sealing_context(state.cluster_id, namespace, changed.metadata.name, slot, _ANY_ENTRY)
    for position, entry in sealed:
        field = f"`{position.field}.sealed`"
        header = _checked_header(field, entry.sealed or "")
        _check_is_for(field, header, place.of_entry(entry.kind.context_word, entry.sealing_key.name))
        if isinstance(header, SealedHeader):
            _check_key_is_known(field, header, state)
        elif header.data_key_id in given:
            suspects.add(header.data_key_id)
        else:
            raise _without_data_key(field, header.data_key_id)
    for index, data_key in enumerate(model.spec.data_keys):
        if data_key.id in suspects:
            field = f"`spec.dataKeys[{index}].sealed`"
            header = _checked_header(field, data_key.sealed)
            _check_is_for(field, header, data_key_context(place, data_key.id))
            _check_key_is_known(field, header, state)


def check_data_keys(model: ScopedSecret) -> None:
    """Check that the object has the data key of each of its sealed texts.

    Raises:
        InvalidObjectError: One is missing; the message has the entry.
    """
    given = {each.id for each in model.spec.data_keys}
    for position, entry in model.enumerate_entries():
        data_key_id = None if entry.sealed is None else named_data_key(entry.sealed)
        if data_key_id is not None and data_key_id not in given:
            raise _without_data_key(f"`{position.field}.sealed`", data_key_id)


# The context of an object is that of any of its entries, with another entry.
_ANY_ENTRY: Final = EntryKey(EntryKind.ENV, "")


def _check_none_is_removed(model: ScopedSecret, removed: AbstractSet[str]) -> None:
    """Deny an update that removes a data key which an entry still needs; the mutating webhook restores it."""
    for position, entry in model.enumerate_entries() if removed else ():
        data_key_id = None if entry.sealed is None else named_data_key(entry.sealed)
        if data_key_id is not None and data_key_id in removed:
            raise _without_data_key(f"`{position.field}.sealed`", data_key_id)


def _without_data_key(field: str, data_key_id: DataKeyId) -> InvalidObjectError:
    return InvalidObjectError(
        f"{field} needs the data key '{data_key_id}', which `spec.dataKeys` does not have; copy it from the object or "
        "file that the text comes from, or seal the value again"
    )


def _checked_header(field: str, text: str) -> TextHeader:
    try:
        header = parse_header(text)
    except SealingError:
        header = None
    if header is None or _SEALED_TEXT.fullmatch(text) is None:
        raise InvalidObjectError(
            f"{field} must be a sealed text as `kubectl scoped-secrets seal` prints it; seal the value again"
        )
    return header


def _check_is_for(field: str, header: TextHeader, context: SealingContext) -> None:
    if not matches_context(header, context):
        raise DeniedError(
            Reason.SEALED_FOR_ANOTHER,
            f"{field} was sealed for another cluster, object, scope or entry and opens only there; seal the value "
            "again for this one",
        )


def _check_key_is_known(field: str, header: TextHeader, state: StorageState) -> None:
    if not isinstance(header, SealedHeader) or state.recipients.get(header.key_id) is None:
        raise DeniedError(
            Reason.KEY_LOST,
            f"{field} was sealed for a key that this cluster does not have; seal the value again with its present "
            "public key",
        )
