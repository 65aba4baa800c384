"""What the two ServiceAccounts must be allowed to do: the rules of the roles, as questions.

A test compares this with the roles of `manifests/`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scoped_secrets import names

__all__ = ["Right", "admission_rights", "controller_rights"]

_WEBHOOKS = "admissionregistration.k8s.io"
_LEASES = "coordination.k8s.io"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource.

    Attributes:
        verb: The verb.
        group: The API group; empty for the core.
        resource: The resource, with its subresource behind a slash.
        name: The only object that it is about; empty for all.
        namespace: The only namespace that it is about; empty for all.
    """

    verb: str
    group: str
    resource: str
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        """Return the right in words."""
        group = f".{self.group}" if self.group else ""
        name = f" '{self.name}'" if self.name else ""
        namespace = f" in namespace '{self.namespace}'" if self.namespace else ""
        return f"{self.verb} on {self.resource}{group}{name}{namespace}"


def admission_rights() -> tuple[Right, ...]:
    """Return what the admission process needs: the inventory, and no Secret."""
    return tuple(_inventory())


def controller_rights(
    namespace: str, configuration: str = names.WEBHOOK_CONFIGURATION, *, makes_certificates: bool, writes_bundle: bool
) -> tuple[Right, ...]:
    """Return what the controller needs.

    Args:
        namespace: The operator's namespace.
        configuration: Name of both webhook configurations.
        makes_certificates: Whether it makes the certificate of the webhooks itself.
        writes_bundle: Whether it writes the caBundle.
    """
    core = ""
    rights = [
        *_inventory(),
        Right("get", core, "namespaces", name="kube-system"),
        *_each(["list", "watch"], core, "pods"),
        Right("patch", names.GROUP, names.SCOPED_SECRET_PLURAL),
        Right("patch", names.GROUP, f"{names.SCOPED_SECRET_PLURAL}/status"),
        Right("patch", names.GROUP, f"{names.SECRET_POLICY_PLURAL}/status"),
        *_each(["create", "delete"], core, "secrets"),
        Right("create", core, "events"),
        Right("list", core, "secrets", namespace=namespace),
        *_each(["get", "patch"], core, "secrets", names.FINGERPRINT_KEY_SECRET, namespace),
        *_each(["get", "patch"], core, "secrets", names.ADMISSION_SECRET, namespace),
        *_each(["get", "create", "patch"], core, "configmaps", names.CERTIFICATE_CONFIG_MAP, namespace),
        Right("create", _LEASES, "leases", namespace=namespace),
        *_each(["get", "update"], _LEASES, "leases", names.LEASE_NAME, namespace),
    ]
    if makes_certificates:
        rights += _each(["get", "patch"], core, "secrets", names.CERTIFICATE_SECRET, namespace)
    if writes_bundle:
        for plural in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            rights += _each(["get", "patch"], _WEBHOOKS, plural, configuration)
    return tuple(rights)


def _inventory() -> Iterator[Right]:
    for plural in (names.SCOPED_SECRET_PLURAL, names.SECRET_POLICY_PLURAL):
        yield from _each(["list", "watch"], names.GROUP, plural)
    yield from _each(["list", "watch"], "", "namespaces")


def _each(verbs: Sequence[str], group: str, resource: str, name: str = "", namespace: str = "") -> list[Right]:
    return [Right(verb, group, resource, name, namespace) for verb in verbs]
