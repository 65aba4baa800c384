"""The only module that unseals values: from a bundle layout to the bodies of bundle Secrets (DESIGN section 7).

Plaintext exists only while one body is made and sent. No attribute, message or exception holds it.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from scoped_secrets import names
from scoped_secrets.controller.pods import PodRecord
from scoped_secrets.controller.value_from import Sources
from scoped_secrets.core.decide import Granted
from scoped_secrets.core.injection.layout import BundlePart
from scoped_secrets.core.resolution.definitions import PlainSource, SealedSource, SecretKeySource
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import parse_header, unseal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ScopedSecretsError, SealingError
from scoped_secrets.names import Reason
from scoped_secrets.redaction import RedactedDict

__all__ = ["UnsealError", "Unsealer", "secret_bodies"]


class UnsealError(ScopedSecretsError):
    """A value that cannot be read.

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
                return self._unseal_text(text, resolved, slot)
            case PlainSource(data):
                return SecretValue(data)
            case SecretKeySource() as source:
                value = sources.get((resolved.definition.namespace, source))
                if value is None:
                    raise UnsealError(Reason.SOURCE_MISSING, resolved)
                return value
            case other:
                assert_never(other)

    def _unseal_text(self, text: str, resolved: ResolvedEntry, slot: Slot) -> SecretValue:
        definition = resolved.definition
        context = sealing_context(self.cluster_id, definition.namespace, definition.name, slot, resolved.entry.key)
        try:
            return unseal(text, context, self.keys)
        except SealingError:
            reason = self._failure_reason(text)
        raise UnsealError(reason, resolved)

    def _failure_reason(self, text: str) -> Reason:
        try:
            key = self.keys.get(parse_header(text).key_id)
        except SealingError:
            return Reason.BUNDLE_FAILED
        return Reason.KEY_LOST if key is None else Reason.BUNDLE_FAILED


def secret_bodies(record: PodRecord, granted: Granted, unsealer: Unsealer, sources: Sources) -> Iterator[RedactedDict]:
    """Yield the bodies of a pod's bundle Secrets, the first part last.

    The pod's volume waits for the first part, so that no container starts before all parts exist. Each body is made
    when the caller asks for it; the caller drops it before asking for the next one.

    Raises:
        UnsealError: A value cannot be read.
    """
    slots = {
        slotted.definition.location: slotted.slot
        for applied in granted.grant.applied
        for slotted in applied.resolution.contributors
    }
    first, *others = granted.injection.layout.parts
    for part in reversed(others):
        yield _secret_body(record, part.name, _unsealed(part, slots, unsealer, sources))
    data = _unsealed(first, slots, unsealer, sources)
    data[names.RESOLUTION_FILE] = _encoded(granted.injection.resolution.encode())
    yield _secret_body(record, first.name, data)


def _unsealed(part: BundlePart, slots: Mapping[str, Slot], unsealer: Unsealer, sources: Sources) -> RedactedDict:
    return RedactedDict(
        (
            each.data_key,
            _encoded(unsealer.unseal(each.resolved, slots[each.resolved.definition.location], sources).reveal()),
        )
        for each in part.entries
    )


def _secret_body(record: PodRecord, name: str, data: RedactedDict) -> RedactedDict:
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": record.name,
        "uid": record.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return RedactedDict(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": record.namespace,
                "labels": {names.MANAGED_BY_LABEL: names.DISTRIBUTION, names.POD_UID_LABEL: record.uid},
                "ownerReferences": [owner],
            },
            "type": "Opaque",
            "immutable": True,
            "data": data,
        }
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
