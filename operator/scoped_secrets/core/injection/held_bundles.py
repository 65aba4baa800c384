"""Which bundles the containers of a stored pod hold, as its spec says.

The spec's references to Secrets cannot change once the pod is stored, unlike its labels and annotations. Each refers to
a data key, which begins with the name of its bundle. The spec is therefore the record that no editor of the pod can
change (DESIGN section 6).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from scoped_secrets import names
from scoped_secrets.core.injection.bundle_entry import bundle_of
from scoped_secrets.lazy_dataclasses import dataclass

__all__ = ["HeldBundles", "held_bundles"]


@dataclass(frozen=True, slots=True)
class HeldBundles:
    """The bundles that a pod holds.

    Attributes:
        names: The bundles that its references name.
        has_unknown: Whether the pod also has references that do not tell which bundle they read, such as a mount of a
            whole Secret. Such a pod may hold any bundle.
    """

    names: frozenset[str]
    has_unknown: bool = False

    def __bool__(self) -> bool:
        """Tell whether the pod holds any bundle."""
        return bool(self.names) or self.has_unknown


def held_bundles(spec: Mapping[str, Any]) -> HeldBundles:
    """Return the bundles that a pod's spec refers to, in containers of every kind and in volumes."""
    found = {bundle_of(key) if key is not None else None for key in _data_keys(spec) if key != names.RESOLUTION_FILE}
    return HeldBundles(frozenset(bundle for bundle in found if bundle is not None), has_unknown=None in found)


def _data_keys(part: Any) -> Iterator[str | None]:
    """Yield the data keys of bundle Secrets that a part of the spec refers to; ``None`` for a whole Secret.

    A reference is the value of a field, such as `secretKeyRef`, whatever the field's name: a kind of reference that a
    newer Kubernetes adds counts as a whole Secret. Items of lists, such as containers, have names of their own. A pod
    with another object of such a name, such as a ConfigMap, is taken to hold a bundle, which can deny and never allow.
    """
    if isinstance(part, list):
        for item in part:
            yield from _members(item)
    else:
        if isinstance(part, dict) and _names_bundle(part):
            yield from _keys_of(part)
        yield from _members(part)


def _members(part: Any) -> Iterator[str | None]:
    if isinstance(part, list):
        yield from _data_keys(part)
    elif isinstance(part, dict):
        for member in part.values():
            yield from _data_keys(member)


def _names_bundle(reference: Mapping[str, Any]) -> bool:
    texts = (reference.get("name"), reference.get("secretName"))
    return any(isinstance(text, str) and text.startswith(names.BUNDLE_PREFIX) for text in texts)


def _keys_of(reference: Mapping[str, Any]) -> Iterator[str | None]:
    key, items = reference.get("key"), reference.get("items")
    if isinstance(key, str):
        yield key
    elif isinstance(items, list) and items:
        for item in items:
            yield item["key"]
    else:
        yield None
