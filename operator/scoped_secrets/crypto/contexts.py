"""What a sealed text and a fingerprint of an entry are bound to (DESIGN section 7)."""

from scoped_secrets import names
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey, fingerprint
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.crypto.values import SecretValue

__all__ = ["entry_fingerprint", "sealing_context"]


def sealing_context(cluster_id: str, namespace: str, name: str, slot: Slot, entry: EntryKey) -> SealingContext:
    """Return the context of one entry of a ScopedSecret.

    Args:
        cluster_id: The id stored with the sealing keys: the UID that namespace ``kube-system`` had when the first key
            was created. Restored keys keep it in another cluster.
        namespace: The object's namespace.
        name: The object's name.
        slot: The slot that the binding of the namespace assigns to the object.
        entry: The entry.
    """
    return SealingContext(
        cluster_id=cluster_id,
        group=names.GROUP,
        kind=names.SCOPED_SECRET_KIND,
        namespace=namespace,
        name=name,
        organization=slot.organization,
        scope=slot.scope.value,
        project=slot.project or "",
        environment=slot.environment or "",
        entry_kind=entry.kind.context_word,
        entry_name=entry.name,
    )


def entry_fingerprint(
    key: FingerprintKey, namespace: str, name: str, entry: EntryKey, value: SecretValue, salt: bytes
) -> Fingerprint:
    """Return the fingerprint of the value of one entry of a ScopedSecret, under a salt."""
    return fingerprint(key, namespace, name, entry.kind.context_word, entry.name, value, salt)
