"""The permissions that the shipped roles give the ServiceAccounts, adapted to how an installation is configured.

The roles themselves are in ``manifests/10-roles.yaml``; a changed rule needs no change here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from scoped_secrets import names

__all__ = ["Configuration", "Right", "parse_roles", "required_rights"]

_COMPONENT_LABEL: Final = "app.kubernetes.io/component"
_WEBHOOK_GROUP: Final = "admissionregistration.k8s.io"
_POLICIES: Final = frozenset({"validatingadmissionpolicies", "validatingadmissionpolicybindings"})


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource.

    Attributes:
        verb: The verb.
        group: The API group; empty for the core group.
        resource: The resource, with its subresource behind a slash.
        name: The only object that the right covers; empty for all.
        namespace: The only namespace that the right covers; empty for all.
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


@dataclass(frozen=True, slots=True)
class Configuration:
    """How an installation differs from the shipped manifests.

    Attributes:
        namespace: The operator's namespace.
        webhooks: Name of both webhook configurations.
        makes_certificates: Whether the controller makes the certificate of the webhooks itself.
        writes_bundle: Whether the controller writes the caBundle.
        gates: Whether pods are gated until their bundle exists.
    """

    namespace: str = names.DEFAULT_NAMESPACE
    webhooks: str = names.WEBHOOK_CONFIGURATION
    makes_certificates: bool = True
    writes_bundle: bool = True
    gates: bool = True


def parse_roles(documents: Iterable[Mapping[str, Any]]) -> Mapping[str, tuple[Right, ...]]:
    """Return the rights of each component, `controller` and `admission`, from the roles of a manifest.

    Roles without the label of a component are for people and are left out.
    """
    rights: dict[str, list[Right]] = defaultdict(list)
    for document in documents:
        component = (document["metadata"].get("labels") or {}).get(_COMPONENT_LABEL)
        if component is not None and document["kind"] in {"ClusterRole", "Role"}:
            rights[component] += _parse_rules(document["rules"], document["metadata"].get("namespace", ""))
    return {component: tuple(dict.fromkeys(found)) for component, found in rights.items()}


def required_rights(shipped: Iterable[Right], configuration: Configuration) -> tuple[Right, ...]:
    """Return the rights that one component needs in an installation.

    Args:
        shipped: The rights that the shipped roles give the component.
        configuration: How the installation differs.
    """
    return tuple(_adapt(right, configuration) for right in shipped if _is_needed(right, configuration))


def _parse_rules(rules: Iterable[Mapping[str, Any]], namespace: str) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or ("",):
                    for verb in rule["verbs"]:
                        yield Right(verb, group, resource, name, namespace)


def _is_needed(right: Right, configuration: Configuration) -> bool:
    """Tell whether an installation needs a right: some are only for certificates that the controller manages."""
    if right.resource in _POLICIES or (right.resource, right.verb) == ("pods", "patch"):
        return configuration.gates
    if right.group == _WEBHOOK_GROUP:
        return configuration.writes_bundle
    if (right.resource, right.name) == ("secrets", names.CERTIFICATE_SECRET):
        return configuration.makes_certificates
    return True


def _adapt(right: Right, configuration: Configuration) -> Right:
    end = right.name.removeprefix(names.WEBHOOK_CONFIGURATION)
    return replace(
        right,
        name=f"{configuration.webhooks}{end}" if right.group == _WEBHOOK_GROUP else right.name,
        namespace=configuration.namespace if right.namespace else "",
    )
