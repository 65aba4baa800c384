"""Which optional entries a job goes without.

An entry is optional by ``valueFrom.secretKeyRef.optional``: jobs go without it while its Secret or key is missing.
Admission cannot read Secrets, and what is missing may change between any two looks. So it is decided once, when a pod
is injected, from what the controller has reported in the definition's status; from then on the pod itself tells: what
it refers to, it has to get, and what it does not refer to, it goes without. A second pass of admission and the
controller read it there, so that both plan alike without talking to each other.

What follows from it: a pod whose optional source vanishes after it was injected waits, like any other one. And while
nobody has looked yet, because the definition has just been written, a pod that would get the entry is refused for that
moment: to let it in with the entry could make it wait for ever, and without would be silently too little.

The entry keeps its place in resolution and in the order of bundles: no value of a wider definition or of another bundle
comes in its stead (DESIGN section 4, rule A.6: there is no fallback to a wider value).
"""

from scoped_secrets import names
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.core.pod import Pod
from scoped_secrets.core.resolution.definitions import SecretKeySource, describe_entry
from scoped_secrets.core.resolution.resolve import Contribution
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["is_left_out", "keys_referred_to"]


def keys_referred_to(pod: Pod, base: str) -> frozenset[str] | None:
    """Return the data keys that an injected pod refers to in its bundle, ``None`` for a pod not injected yet."""
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


def is_left_out(bundle: str, key: str, contribution: Contribution, referred: frozenset[str] | None) -> bool:
    """Tell whether a job goes without an entry.

    Args:
        bundle: The name of the bundle that it is in, for messages.
        key: Its data key.
        contribution: The entry.
        referred: What ``keys_referred_to`` returns for the pod.

    Raises:
        DeniedError: Nobody knows yet whether the entry's source is there.
    """
    source = contribution.entry.source
    if not isinstance(source, SecretKeySource) or not source.is_optional:
        return False
    if referred is not None:
        return key not in referred
    if source.is_missing is None:
        raise DeniedError(
            Reason.NOT_READY,
            f"bundle '{bundle}': definition '{contribution.definition.location}' has just changed, and it is not known "
            f"yet whether the Secret of its optional {describe_entry(contribution.entry)} is there; create the pod "
            "again in a moment",
        )
    return source.is_missing
