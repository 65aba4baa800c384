"""One entry of a bundle that a job gets, and its data key in the bundle Secret."""

import hashlib

from scoped_secrets import names
from scoped_secrets.core.resolution.definitions import Entry
from scoped_secrets.core.resolution.references import SECRET_NAME
from scoped_secrets.core.resolution.resolve import ResolvedEntry
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["BundleEntry", "bundle_of", "data_key"]

_MAX_DATA_KEY = 253


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One entry of one bundle that the job gets.

    Attributes:
        bundle: The name of the bundle.
        data_key: The key of the value in the bundle Secret.
        resolved: The entry and the definition that contributes it.
        is_attached: Whether the job did not ask for the bundle.
    """

    bundle: str
    data_key: str
    resolved: ResolvedEntry
    is_attached: bool = False


def data_key(bundle: str, entry: Entry) -> str:
    """Return the key of an entry in the bundle Secret.

    The key consists of names, so that the kubelet's message about a missing key can be understood. A hash replaces
    names that are too long, reserved, or contain characters that are not allowed in a key.
    """
    if entry.path is not None:
        return f"{bundle}.file-{_digest(entry.path)}"
    # Of a bundle, a variable and a file that only a variable points to never have the same name.
    name = entry.env or entry.name
    key = f"{bundle}.{name}"
    # Bundle "resolution" may have a variable "json", whose key must not be that of the resolution report.
    is_usable = len(key) <= _MAX_DATA_KEY and key != names.RESOLUTION_FILE
    return key if is_usable else f"{bundle}.env-{_digest(name)}"


def bundle_of(key: str) -> str | None:
    """Return the bundle whose entry has this data key; ``None`` when no entry has such a key.

    The name of a bundle may contain dots. What follows its name never does, so the last dot is the end of the name.
    """
    bundle = key.rpartition(".")[0]
    return bundle if key != names.RESOLUTION_FILE and SECRET_NAME.fullmatch(bundle) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
