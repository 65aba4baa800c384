"""Finds the bundle Secrets of other pods in the body of a pod.

A bundle Secret belongs to one pod. Any other pod of the namespace could mount it by name, so a pod that names the
bundle Secret of another pod is denied (DESIGN section 9).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.errors import DeniedError
from scoped_secrets.names import Reason

__all__ = ["refuse_foreign_bundles"]

_CONTAINER_FIELDS: Final = ("initContainers", "containers", "ephemeralContainers")
# The members of volume sources that refer to a Secret by `name`; others have a `secretName`.
_NAMED_SECRETS: Final = frozenset({"secret", "secretRef", "nodePublishSecretRef"})


def refuse_foreign_bundles(body: Mapping[str, Any], base: str | None) -> None:
    """Deny a pod that names a Secret with the reserved prefix, except its own bundle where injection puts it.

    Args:
        body: The pod as JSON, in the shape that ``parse_pod`` accepts.
        base: The common name of its own bundle Secrets, whose tag was verified; ``None`` before injection.

    Raises:
        DeniedError: A name is reserved; the message says where it is.
    """
    try:
        for place, secret, may_be_own in _secrets(body["spec"]):
            if secret.startswith(names.BUNDLE_PREFIX) and not (may_be_own and base and part_base(secret) == base):
                raise DeniedError(
                    Reason.RESERVED_NAME,
                    f"{place} names a Secret with the reserved prefix '{names.BUNDLE_PREFIX}' that does not belong to "
                    f"this pod; name the bundle in annotation {names.SECRETS_ANNOTATION} instead",
                )
    except (AttributeError, KeyError, TypeError):
        raise DeniedError(
            Reason.INVALID_POD, "the object is not a valid pod; compare its spec with the Pod API"
        ) from None


def _secrets(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for volume in spec.get("volumes") or ():
        name = volume["name"]
        for secret in _in_volume(volume):
            yield f"volume '{name}'", secret, name == names.VOLUME_NAME
    for field in _CONTAINER_FIELDS:
        for container in spec.get(field) or ():
            name = container["name"]
            for variable in container.get("env") or ():
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
                yield f"variable '{variable['name']}' of container '{name}'", reference.get("name") or "", True
            for source in container.get("envFrom") or ():
                reference = source.get("secretRef") or {}
                yield f"`envFrom` of container '{name}'", reference.get("name") or "", False
    for reference in spec.get("imagePullSecrets") or ():
        yield "`imagePullSecrets`", reference.get("name") or "", False


def _in_volume(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _in_volume(item)
    elif isinstance(part, dict):
        for field, member in part.items():
            if field == "secretName" and isinstance(member, str):
                yield member
            elif field in _NAMED_SECRETS and isinstance(member, dict):
                yield member.get("name") or ""
            yield from _in_volume(member)
