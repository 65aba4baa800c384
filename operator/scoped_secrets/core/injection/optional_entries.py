"""Which optional entries a job runs without.

An entry is optional with ``valueFrom.secretKeyRef.optional``: jobs run without it while its Secret or key is missing.
Admission cannot read Secrets, and a Secret may appear or vanish at any time. The decision is therefore made once, when
a pod is injected, from what the controller reports in the definition's status. From then on the pod itself records it:
the pod gets every entry that it references, and runs without the others. A second pass of admission and the controller
read the decision from the pod, so that both reach the same result without communicating.

Two consequences: a pod whose optional source vanishes after injection waits, like any other pod with a missing source.
And until the controller has checked a definition that has just been written, admission denies pods that would get the
entry: with the entry the pod could wait forever, and without it the pod could run with too little.

The entry keeps its place in resolution and in the order of bundles: there is no fallback to a value of a wider
definition or of another bundle (DESIGN section 4, rule A.6).
"""

from datetime import datetime

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import BundleEntry
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.definitions import Entry, SecretKeySource
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["has_ended", "is_left_out", "referenced_data_keys"]


def referenced_data_keys(pod: Pod, base: str) -> frozenset[str] | None:
    """Return the data keys of its bundle that an injected pod references; ``None`` for a pod not injected yet."""
    volume = next((volume for volume in pod.volumes if volume.name == names.VOLUME_NAME), None)
    if volume is None:
        return None
    files = {item.key for item in volume.items or () if part_base(item.secret) == base}
    variables = {
        variable.key
        for container in pod.containers
        for variable in container.env
        if variable.key is not None and variable.secret is not None and part_base(variable.secret) == base
    }
    return frozenset(files | variables)


def has_ended(entry: Entry, data_key: str, referenced: frozenset[str] | None, now: datetime) -> bool:
    """Tell whether an entry is a former value that a job does not get any more.

    As with optional sources, the pod itself records the decision: it keeps what it got when it was injected.

    Args:
        entry: The entry.
        data_key: Its data key in the bundle.
        referenced: What ``referenced_data_keys`` returns for the pod.
        now: The present time.
    """
    if entry.previous is None:
        return False
    return now >= entry.previous.until if referenced is None else data_key not in referenced


def is_left_out(bundle_entry: BundleEntry, referenced: frozenset[str] | None) -> bool:
    """Tell whether a job runs without an entry.

    Args:
        bundle_entry: The entry.
        referenced: What ``referenced_data_keys`` returns for the pod.

    Raises:
        DeniedError: It is not known yet whether the source of the entry exists.
    """
    source = bundle_entry.resolved.entry.source
    if not isinstance(source, SecretKeySource) or not source.is_optional:
        return False
    if referenced is not None:
        return bundle_entry.data_key not in referenced
    if source.is_missing is None:
        resolved = bundle_entry.resolved
        raise DeniedError(
            Reason.NOT_READY,
            f"bundle '{bundle_entry.bundle}': definition '{resolved.definition.location}' has just changed, and it is "
            f"not known yet whether the Secret of its optional {resolved.entry.key} is there; create the pod again in "
            "a moment",
        )
    return source.is_missing
