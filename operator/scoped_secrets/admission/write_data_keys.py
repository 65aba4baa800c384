"""The data keys of one write of a ScopedSecret (DESIGN section 7).

A write makes at most one data key, for the values that it seals. Unchanged entries keep their texts and so need the
stored data keys, which manifests in plain text do not have: those that the update leaves out are restored from the
stored object, and those that no entry names are dropped. So `spec.dataKeys` follows from the entries, whatever an
update does to the field.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.data_keys import NewDataKey, data_key_context
from scoped_secrets.crypto.entry_header import named_data_key
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.fingerprints import Fingerprint
from scoped_secrets.crypto.keys import PublicKeyRing
from scoped_secrets.crypto.sealed_texts import TextHeader, matches_context, parse_header
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError

__all__ = ["DATA_KEYS", "WriteDataKeys"]

DATA_KEYS: Final = "dataKeys"
_POINTER: Final = json_pointer("spec", DATA_KEYS)


class WriteDataKeys:
    """Seals the values of one write under one data key, and decides which data keys are stored."""

    def __init__(self, model: ScopedSecret, old: ScopedSecret | None, recipients: PublicKeyRing) -> None:
        """Take the object, the stored one and the sealing keys."""
        self._recipients = recipients
        self._stored = {} if old is None else {each.id: each.sealed for each in old.spec.data_keys}
        self._given = {each.id: each.sealed for each in model.spec.data_keys}
        self._new: NewDataKey | None = None
        self._new_text = ""
        self._usable: dict[str, bool] = {}

    @property
    def has_sealed(self) -> bool:
        """Tell whether this write has sealed a value."""
        return self._new is not None

    def seal(self, value: SecretValue, context: SealingContext, fingerprint: Fingerprint | None) -> str:
        """Return the value under the data key of this write, which the first value makes."""
        if self._new is None:
            self._new = NewDataKey()
            self._new_text = self._new.sealed(context, self._recipients.active)
        return self._new.seal(value, context, fingerprint)

    def can_open(self, text: str, context: SealingContext) -> bool:
        """Tell whether a stored text is for this context, and sealed for a known key.

        A data key that the update replaces does not count: only the controller could tell whether it is the same one.
        """
        header = parse_header(text)
        if not matches_context(header, context):
            return False
        if isinstance(header, SealedHeader):
            return self._recipients.get(header.key_id) is not None
        data_key_id = header.data_key_id
        if data_key_id not in self._usable:
            self._usable[data_key_id] = self._is_usable(data_key_id, context)
        return self._usable[data_key_id]

    def operations(self, body: Mapping[str, Any], texts: Iterable[str]) -> list[PatchOperation]:
        """Return the operations that give the object the data keys that its sealed texts name, and no others.

        Args:
            body: The object.
            texts: The sealed texts that it keeps, without those of this write.
        """
        needed = {named_data_key(text) for text in texts}
        given: list[dict[str, Any]] = body["spec"].get(DATA_KEYS) or []
        kept = [each for each in given if each["id"] in needed]
        restored = [
            {"id": data_key_id, "sealed": sealed}
            for data_key_id, sealed in self._stored.items()
            if data_key_id in needed and data_key_id not in self._given
        ]
        made = [] if self._new is None else [{"id": str(self._new.data_key_id), "sealed": self._new_text}]
        wanted = [*kept, *restored, *made]
        if wanted == given:
            return []
        return [{"op": "add", "path": _POINTER, "value": wanted} if wanted else {"op": "remove", "path": _POINTER}]

    def _is_usable(self, data_key_id: str, context: SealingContext) -> bool:
        text = self._stored.get(data_key_id)
        if text is None or self._given.get(data_key_id, text) != text:
            return False
        try:
            header: TextHeader = parse_header(text)
        except SealingError:
            return False
        return (
            isinstance(header, SealedHeader)
            and matches_context(header, data_key_context(context, data_key_id))
            and self._recipients.get(header.key_id) is not None
        )
