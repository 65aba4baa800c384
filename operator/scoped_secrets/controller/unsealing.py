"""The only module that unseals values (DESIGN section 7). No message or exception holds a plaintext.

An `Unsealer` lives as long as one rendering or one reseal. It keeps the data keys that it has opened, so that each
costs one decapsulation, and goes with them; no value stays in it.
"""

from dataclasses import dataclass, field
from typing import Final, assert_never

from scoped_secrets.controller.value_from import Sources
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.resolution.definitions import Definition, PlainSource, SealedSource, SecretKeySource
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import OpenedDataKey, data_key_context, open_data_key
from scoped_secrets.crypto.entry_header import named_data_key
from scoped_secrets.crypto.envelope_header import SealedHeader
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing import unseal
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError, SealingError
from scoped_secrets.names import Reason

__all__ = ["UnsealError", "Unsealer"]

_MAX_OPENED: Final = 256
"""How many opened data keys an unsealer keeps: more than a job's bundles have, unless each entry had a write of its
own."""


class UnsealError(ScopedSecretsError):
    """A value that cannot be unsealed, or whose Secret was not read.

    Attributes:
        reason: ``KeyLost`` when no key of the ring can unseal it, ``SourceMissing`` when its Secret was not read,
            otherwise ``BundleFailed``.
        resolved: The entry and its definition.
    """

    def __init__(self, reason: Reason, resolved: ResolvedEntry) -> None:
        """Keep names, for a message."""
        super().__init__("a value cannot be unsealed")
        self.reason = reason
        self.resolved = resolved


@dataclass(frozen=True, slots=True)
class Unsealer:
    """Unseals the values of one cluster.

    Attributes:
        keys: The sealing keys.
        cluster_id: The cluster that values are sealed for.
    """

    keys: KeyRing
    cluster_id: str
    _opened: dict[tuple[str, SealingContext], OpenedDataKey] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def unseal(self, resolved: ResolvedEntry, slot: Slot, sources: Sources) -> SecretValue:
        """Return the value of one entry.

        Args:
            resolved: The entry and its definition.
            slot: The slot of the definition.
            sources: The values that were read from native Secrets for this rendering.

        Raises:
            UnsealError: The value cannot be read.
        """
        match resolved.entry.source:
            case SealedSource(text):
                try:
                    return self.unseal_text(text, resolved.definition, slot, resolved.entry.sealing_key)
                except SealingError:
                    reason = self._failure_reason(text, resolved.definition)
                raise UnsealError(reason, resolved)
            case PlainSource(data):
                return SecretValue(data)
            case SecretKeySource() as source:
                value = sources.get((resolved.definition.namespace, source))
                if value is None:
                    raise UnsealError(Reason.SOURCE_MISSING, resolved)
                return value
            case other:
                assert_never(other)

    def unseal_text(self, text: str, definition: Definition, slot: Slot, entry: EntryKey) -> SecretValue:
        """Return the value of one sealed text.

        Args:
            text: The sealed text.
            definition: The definition that the text belongs to.
            slot: The slot of the definition.
            entry: The entry that the text belongs to.

        Raises:
            SealingError: The text cannot be unsealed.
        """
        context = sealing_context(self.cluster_id, definition.namespace, definition.name, slot, entry)
        data_key_id = named_data_key(text)
        if data_key_id is None:
            return unseal(text, context, self.keys)
        return self.data_key(data_key_id, definition, context).unseal(text, context)

    def data_key(self, data_key_id: str, definition: Definition, place: SealingContext) -> OpenedDataKey:
        """Return a data key of a definition, opened once.

        Args:
            data_key_id: Its id.
            definition: The definition.
            place: The context of any entry of the definition.

        Raises:
            SealingError: The definition does not have it, or it cannot be unsealed.
        """
        stored = definition.data_key(data_key_id)
        if stored is None:
            raise SealingError
        known_by = stored.text, data_key_context(place, data_key_id)
        opened = self._opened.get(known_by)
        if opened is None:
            opened = open_data_key(data_key_id, stored.text, place, self.keys)
            if len(self._opened) >= _MAX_OPENED:
                self._opened.clear()
            self._opened[known_by] = opened
        return opened

    def _failure_reason(self, text: str, definition: Definition) -> Reason:
        data_key_id = named_data_key(text)
        if data_key_id is not None:
            data_key = definition.data_key(data_key_id)
            text = "" if data_key is None else data_key.text
        try:
            header = parse_header(text)
        except SealingError:
            return Reason.BUNDLE_FAILED
        is_lost = isinstance(header, SealedHeader) and self.keys.get(header.key_id) is None
        return Reason.KEY_LOST if is_lost else Reason.BUNDLE_FAILED
