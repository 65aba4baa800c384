"""Where a value belongs, in the one form that sealing and opening share (DESIGN section 7)."""

from scoped_secrets import names
from scoped_secrets.core.resolution.definitions import EnvEntry, FileEntry
from scoped_secrets.core.scope.slot import Slot
from scoped_secrets.crypto.sealing import SealingContext

__all__ = ["ENV_ENTRY", "FILE_ENTRY", "entry_context", "entry_place", "sealing_context"]

ENV_ENTRY = "env"
FILE_ENTRY = "file"


def sealing_context(
    cluster_id: str, namespace: str, name: str, slot: Slot, entry_kind: str, entry_name: str
) -> SealingContext:
    """Return the context of one entry of a ScopedSecret.

    Args:
        cluster_id: UID of the namespace ``kube-system``.
        namespace: The object's namespace.
        name: The object's name.
        slot: The place that the namespace's binding gives the object.
        entry_kind: ``ENV_ENTRY`` or ``FILE_ENTRY``.
        entry_name: The variable's name or the file's path, as written.
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
        entry_kind=entry_kind,
        entry_name=entry_name,
    )


def entry_context(
    cluster_id: str, namespace: str, name: str, slot: Slot, entry: EnvEntry | FileEntry
) -> SealingContext:
    """Return the context of an entry as the core knows it."""
    return sealing_context(cluster_id, namespace, name, slot, *entry_place(entry))


def entry_place(entry: EnvEntry | FileEntry) -> tuple[str, str]:
    """Return kind and name of an entry, as contexts and fingerprints have them."""
    return (ENV_ENTRY, entry.name) if isinstance(entry, EnvEntry) else (FILE_ENTRY, entry.path)
