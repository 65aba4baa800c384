"""The only module that unseals values (DESIGN section 7). No attribute, message or exception holds a plaintext."""

from dataclasses import dataclass
from typing import assert_never

from scoped_secrets.controller.value_from import Sources
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.resolution.definitions import Definition, PlainSource, SealedSource, SecretKeySource
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import parse_header, unseal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError, SealingError
from scoped_secrets.names import Reason

__all__ = ["UnsealError", "Unsealer"]


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
    """Unseals the values of one cluster."""

    keys: KeyRing
    cluster_id: str

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
                    return self.unseal_text(text, resolved.definition, slot, resolved.entry.key)
                except SealingError:
                    reason = self._failure_reason(text)
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
        return unseal(text, context, self.keys)

    def _failure_reason(self, text: str) -> Reason:
        try:
            key = self.keys.get(parse_header(text).key_id)
        except SealingError:
            return Reason.BUNDLE_FAILED
        return Reason.KEY_LOST if key is None else Reason.BUNDLE_FAILED
